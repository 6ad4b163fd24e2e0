"""The verbs, as a new user meets them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.cli import trimtab
from support.runs import sections, tensors, write_config
from support.tiny import TinyWorld

TUTORIAL = """
    num_train_epochs: 3
    per_device_train_batch_size: 4
    gradient_accumulation_steps: 4
    learning_rate: 2e-4
    lr_scheduler_type: cosine
    warmup_ratio: 0.03
    optim: paged_adamw_32bit
    weight_decay: 0.001
    max_grad_norm: 0.3
    gradient_checkpointing: true
    fp16: false
    bf16: true
    logging_steps: 10
    save_strategy: steps
    save_steps: 100
    save_total_limit: 3
    load_best_model_at_end: true
    evaluation_strategy: steps
    eval_steps: 50
    report_to: tensorboard
    run_name: mistral-7b-lora-v1
    output_dir: {output_dir}
"""


def test_the_block_from_tutorials_trains_as_it_stands(
    world: TinyWorld, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    head = f"model: {{name_or_path: {world.llama}}}\ndata: {{train: {world.train}, validation: {world.validation}}}\n"
    config = tmp_path / "tutorial.yaml"
    config.write_text(head + "training:" + TUTORIAL.format(output_dir=tmp_path / "qlora-output"))
    ended = trimtab("train", str(config), "--accept", "too-few-examples", capfd=capfd)
    assert ended.status == 0, ended.output
    for replaced in ("evaluation_strategy", "warmup_ratio", "paged_adamw_32bit"):
        assert replaced in ended.shown, f"nothing was said about {replaced}"
    verdict = json.loads((tmp_path / "qlora-output" / "verdict.json").read_text())
    assert verdict["status"] == "healthy"
    assert verdict["predicted_vs_measured"]["steps"] == {"predicted": 9, "measured": 9, "unit": "steps"}
    assert list((tmp_path / "qlora-output" / "tensorboard").glob("events.out.tfevents.*"))


def test_init_writes_a_config_that_trains(world: TinyWorld, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "trimtab.yaml"
    run = tmp_path / "first"
    written = trimtab(
        "init", str(world.train), "--model", str(world.llama), "-o", str(config), "--output-dir", str(run), capfd=capfd
    )
    assert written.status == 0, written.output
    quick = ("training.max_steps=2", "training.learning_rate=1e-2", "--accept", "too-few-examples")
    ended = trimtab("train", str(config), *quick, capfd=capfd)
    assert ended.status in (0, 1), ended.output  # two steps may not be enough to beat the base
    assert (run / "final" / "adapter_model.safetensors").exists()


def test_generate_and_export_a_run(world: TinyWorld, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    config = write_config(tmp_path / "config.yaml", sections(world, run))
    assert trimtab("train", str(config), capfd=capfd).status == 0
    spoken = trimtab("generate", str(run), "--prompt", "What does Ada do?", "--max-new-tokens", "8", capfd=capfd)
    assert spoken.status == 0 and spoken.shown.strip()
    exported = trimtab("export", str(run), capfd=capfd)
    assert exported.status == 0, exported.output
    assert "as trained" in exported.shown
    trained, merged = (
        float(word) for word in exported.shown.split() if word.replace(".", "").isdigit() and "." in word
    )
    assert merged == pytest.approx(trained, abs=2e-4)

    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    whole = AutoModelForCausalLM.from_pretrained(run / "merged")
    adapted = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(world.llama), run / "final"
    ).merge_and_unload()
    for name, tensor in adapted.state_dict().items():
        assert (tensor - whole.state_dict()[name]).abs().max() < 1e-6, name


def test_schema_and_doctor_print(capfd: pytest.CaptureFixture[str]) -> None:
    schema = trimtab("schema", capfd=capfd)
    assert schema.status == 0 and json.loads(schema.shown)["properties"].keys() >= {
        "model",
        "data",
        "adapter",
        "training",
    }
    doctor = trimtab("doctor", capfd=capfd)
    assert doctor.status == 0 and "torch" in doctor.shown and "device" in doctor.shown


def test_help_needs_no_torch() -> None:
    code = (
        "import sys; from trimtab.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: print(sorted({'torch', 'transformers', 'peft', 'numpy', 'datasets'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    assert "[]" in ran.stdout and "generate" in ran.stdout


def test_the_installed_script_answers() -> None:
    script = Path(sys.executable).with_name("trimtab")
    ran = subprocess.run([script, "--version"], capture_output=True, text=True, check=True, env=os.environ)
    assert ran.stdout.startswith("trimtab ")


def test_final_weights_are_the_best_ones(world: TinyWorld, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    config = write_config(tmp_path / "config.yaml", sections(world, run, learning_rate=0.3, eval_steps=1, save_steps=4))
    trimtab("train", str(config), capfd=capfd)
    verdict = json.loads((run / "verdict.json").read_text())
    best, final = tensors(run / "best"), tensors(run / "final")
    assert json.loads((run / "best" / "manifest.json").read_text())["step"] == verdict["best_step"]
    assert all((best[name] == final[name]).all() for name in best)
