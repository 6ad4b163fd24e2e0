"""What is asked: a config file and overrides become one frozen `RunConfig`.

Nothing here imports torch or transformers, and nothing here decides: `auto` values are left to the plan.
"""

from trimtab.config.adapter import AdapterConfig
from trimtab.config.checks import ChecksConfig
from trimtab.config.data import DataConfig
from trimtab.config.dump import dump_yaml
from trimtab.config.guard import GuardConfig
from trimtab.config.loading import LoadedConfig, load_config
from trimtab.config.model import ModelConfig
from trimtab.config.paths import with_absolute_paths
from trimtab.config.run_config import RunConfig, differences
from trimtab.config.schema import json_schema
from trimtab.config.starter import starter_yaml
from trimtab.config.training import TrainingConfig

__all__ = [
    "AdapterConfig",
    "ChecksConfig",
    "DataConfig",
    "GuardConfig",
    "LoadedConfig",
    "ModelConfig",
    "RunConfig",
    "TrainingConfig",
    "differences",
    "dump_yaml",
    "json_schema",
    "load_config",
    "starter_yaml",
    "with_absolute_paths",
]
