"""What the keys of `trainer` stand for on each kind of device; nothing here needs a GPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pipeline.config.compose import compose_config
from pipeline.config.to_dict import to_dict
from pipeline.errors import UserError
from pipeline.training import device
from pipeline.training.device import CHUNK_SIZE, GPU_CHUNK_SIZE, DeviceConfig


def config(*overrides: str) -> DeviceConfig:
    node: dict[str, Any] = to_dict(compose_config(list(overrides)))["trainer"]
    return DeviceConfig(**node)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this machine have a GPU that computes with bfloat16."""
    monkeypatch.setattr(device, "count_accelerators", lambda: {"gpu": 1, "cpu": 2})
    monkeypatch.setattr(device, "has_bf16", lambda: True)


@pytest.mark.usefixtures("gpu")
def test_defaults_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    default = config()
    assert (default.kind, default.number_format, default.amp_dtype) == ("gpu", "bf16-mixed", torch.bfloat16)
    assert default.chunk_size == GPU_CHUNK_SIZE
    assert not default.may_emulate_precision
    on_cpu = config("trainer=cpu")
    assert (on_cpu.kind, on_cpu.number_format, on_cpu.chunk_size) == ("cpu", "32-true", CHUNK_SIZE)
    chosen = config("trainer.precision=32-true", "trainer.steps_per_call=7")
    assert (chosen.number_format, chosen.amp_dtype, chosen.chunk_size) == ("32-true", None, 7)
    monkeypatch.setattr(device, "has_bf16", lambda: False)
    older = config()
    assert (older.number_format, older.may_emulate_precision) == ("32-true", False)
    assert config("trainer.precision=bf16-mixed").may_emulate_precision


def test_reduced_precision_on_the_cpu_is_timed() -> None:
    assert config("trainer=cpu", "trainer.precision=bf16-mixed").may_emulate_precision
    assert not config("trainer=cpu").may_emulate_precision


@pytest.mark.parametrize(
    ("override", "field"),
    [
        ("trainer.cuda_graph=true", "cuda_graph"),  # the CPU has none
        ("trainer.cuda_graph=yes please", "cuda_graph"),
        ("trainer.deterministic=1", "deterministic"),
        ("trainer.images_on=disk", "images_on"),
        ("trainer.steps_per_call=0", "steps_per_call"),
        ("trainer.precision=8", "precision"),
    ],
)
def test_wrong_values(override: str, field: str) -> None:
    with pytest.raises(UserError) as caught:
        config("trainer=cpu", override)
    assert caught.value.field == field
