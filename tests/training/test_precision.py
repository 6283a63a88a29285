"""Reduced precision: every stage, the signals and the checks agree with full precision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import pipeline

SMALL = ("data=digits", "model.depth=2", "model.width=8", "stages.train.epochs=3", "report=false", "regularization=l2")


def run(outputs: Path, *overrides: str) -> tuple[Any, dict[str, Any]]:
    result = pipeline.run([f"outputs={outputs}", *SMALL, *overrides], quiet=True)
    return result, json.loads((result.directory / "signals.json").read_text())["stages"]


def test_bf16_agrees_with_float32(tmp_path: Path) -> None:
    """bf16 has 8 bits, 0.4 % of a value. The weights stay in float32, and so do the checkpoints."""
    full, full_signals = run(tmp_path)
    half, half_signals = run(tmp_path, "trainer.precision=bf16-mixed")
    assert full.status == half.status == "passed"
    depends_on_machine = {"slow_precision"}
    assert {f.check for f in half.findings} - depends_on_machine == {f.check for f in full.findings}
    one, other = full_signals["train"], half_signals["train"]
    assert one["losses"] != other["losses"]
    assert other["losses"] == pytest.approx(one["losses"], rel=0.05)
    assert other["epochs"]["probe_loss"] == pytest.approx(one["epochs"]["probe_loss"], rel=0.05)
    assert half.metrics["evaluate"]["test_accuracy"] == pytest.approx(
        full.metrics["evaluate"]["test_accuracy"], abs=0.02
    )
    assert other["samples"]["activations"]["name"] == one["samples"]["activations"]["name"]
    for name in ("std", "zero"):
        for row, other_row in zip(
            one["samples"]["activations"][name], other["samples"]["activations"][name], strict=True
        ):
            assert other_row == pytest.approx(row, rel=0.1)
    state = torch.load(half.directory / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert {tensor.dtype for tensor in state.values()} <= {torch.float32, torch.int64, torch.float64}


def test_bf16_steps_per_call(tmp_path: Path) -> None:
    """Each step uses the weights of the step before, although autocast may cache their bf16 copies until it ends."""
    (_, one), (_, ten) = (
        run(tmp_path, "stage=train", "trainer.precision=bf16-mixed", f"trainer.steps_per_call={n}") for n in (1, 10)
    )
    assert one["train"]["losses"] == ten["train"]["losses"]
    assert one["train"]["epochs"]["val_loss"] == ten["train"]["epochs"]["val_loss"]
