"""What the keys of `trainer` stand for on each kind of device; nothing here needs a GPU."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch

from pipeline.config.compose import compose_config
from pipeline.config.to_dict import to_dict
from pipeline.errors import UserError
from pipeline.training import device
from pipeline.training.device import CHUNK_SIZE, GPU_CHUNK_SIZE, DeviceConfig


@functools.cache
def keys_of(option: str) -> dict[str, Any]:
    """Return the keys of an option of `trainer`; Hydra takes 0.4 s, so it composes once for each."""
    keys: dict[str, Any] = to_dict(compose_config([option]))["trainer"]
    return keys


def config(option: str = "trainer=auto", **values: object) -> DeviceConfig:
    return DeviceConfig(**(keys_of(option) | values))


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
    chosen = config(precision="32-true", steps_per_call=7)
    assert (chosen.number_format, chosen.amp_dtype, chosen.chunk_size) == ("32-true", None, 7)
    monkeypatch.setattr(device, "has_bf16", lambda: False)
    older = config()
    assert (older.number_format, older.may_emulate_precision) == ("32-true", False)
    assert config(precision="bf16-mixed").may_emulate_precision


def test_reduced_precision_on_the_cpu_is_timed() -> None:
    assert config("trainer=cpu", precision="bf16-mixed").may_emulate_precision
    assert not config("trainer=cpu").may_emulate_precision


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cuda_graph", True),  # the CPU has none
        ("cuda_graph", "yes please"),
        ("deterministic", 1),
        ("images_on", "disk"),
        ("steps_per_call", 0),
        ("precision", "8"),
    ],
)
def test_wrong_values(field: str, value: object) -> None:
    with pytest.raises(UserError) as caught:
        config("trainer=cpu", **{field: value})
    assert caught.value.field == field
