"""One run of TRL's SFTTrainer, in a Python that has TRL: `python trl_run.py settings.json`. Knows nothing of Trimtab.

Settings: model, train (JSONL of messages), output, result (a file to write), max_length, learning_rate, epochs, seed,
lora_r, lora_alpha, load_in_4bit, device, dtype, sft (any SFTConfig arguments: what tells one variant from another).
"""

import json
import sys
import time
from pathlib import Path

started = time.perf_counter()

import torch  # noqa: E402
from datasets import load_dataset  # noqa: E402
from peft import LoraConfig  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback  # noqa: E402
from trl import SFTConfig, SFTTrainer  # noqa: E402


class Clock(TrainerCallback):
    """When each step ended (on a GPU: when it was queued)."""

    def __init__(self) -> None:
        self.ends = []

    def on_step_end(self, args, state, control, **kwargs) -> None:  # type: ignore[no-untyped-def]
        self.ends.append(time.perf_counter())


def main() -> None:
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    on_cpu = given["device"] == "cpu"
    dtype = getattr(torch, given["dtype"])
    options = {}
    if given.get("load_in_4bit"):
        from transformers import BitsAndBytesConfig

        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
        )
    model = AutoModelForCausalLM.from_pretrained(
        given["model"], dtype=dtype, device_map={"": given["device"]} if options or not on_cpu else None, **options
    )
    arguments = {
        "output_dir": given["output"],
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 4,
        "num_train_epochs": given["epochs"],
        "learning_rate": given["learning_rate"],
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.03,
        "max_length": given["max_length"],
        "assistant_only_loss": True,
        "seed": given["seed"],
        "use_cpu": on_cpu,
        "bf16": dtype == torch.bfloat16,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        **given["sft"],
    }
    adapter = LoraConfig(
        r=given["lora_r"],
        lora_alpha=given["lora_alpha"],
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(**arguments),
        train_dataset=load_dataset("json", data_files=given["train"], split="train"),
        processing_class=AutoTokenizer.from_pretrained(given["model"]),
        peft_config=adapter,
    )
    clock = Clock()
    trainer.add_callback(clock)
    if not on_cpu:
        torch.cuda.synchronize()
    before = time.perf_counter()
    summary = trainer.train()
    if not on_cpu:
        torch.cuda.synchronize()
    ended = time.perf_counter()
    trainer.save_model(given["output"])
    rows = trainer.train_dataset
    masks = [name for name in ("assistant_masks", "completion_mask") if name in rows.column_names]
    if "labels" in rows.column_names:
        targets = sum(label != -100 for row in rows["labels"] for label in row[1:])
    else:
        targets = sum(sum(row[1:]) for row in rows[masks[0]]) if masks else -1
    result = {
        "train_seconds": summary.metrics["train_runtime"],
        "step_seconds": [b - a for a, b in zip([before, *clock.ends], clock.ends, strict=False)],
        "around_train_seconds": ended - before,
        "script_seconds": time.perf_counter() - started,
        "steps": trainer.state.global_step,
        "rows": len(rows),
        "tokens": sum(len(row) for row in rows["input_ids"]),
        "target_tokens": targets,
        "train_loss": summary.training_loss,
        "peak_device_bytes": 0 if on_cpu else torch.cuda.max_memory_allocated(),
        "log": trainer.state.log_history,
    }
    Path(given["result"]).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
