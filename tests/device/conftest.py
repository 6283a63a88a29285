"""A GPU that is simulated: `trainer=auto` and `trainer=gpu` stand for the device of tests/simulated_device.py.

The tests of this folder run in a process of their own. test_process.py starts it, and so does `pytest` with the names
of other files of this folder, and of no others; files that are not named are not collected.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.accelerators import AcceleratorRegistry
from pytorch_lightning.plugins import MixedPrecision
from pytorch_lightning.trainer.connectors import accelerator_connector

from pipeline.training import device
from tests.simulated_device import NAME, SimulatedModule, register

collect_ignore = [file.name for file in Path(__file__).parent.glob("test_*.py") if file.name != "test_process.py"]


class SimulatedAccelerator(pl.accelerators.Accelerator):
    """What Lightning needs to know about the device."""

    @staticmethod
    def parse_devices(devices: Any) -> list[int]:
        return list(range(devices))

    @staticmethod
    def get_parallel_devices(devices: list[int]) -> list[torch.device]:
        return [torch.device(NAME, index) for index in devices]

    @staticmethod
    def auto_device_count() -> int:
        return 1

    @staticmethod
    def is_available() -> bool:
        return True

    def setup_device(self, device: torch.device) -> None:
        assert device.type == NAME

    def teardown(self) -> None: ...

    @staticmethod
    def name() -> str:
        return NAME


@pytest.fixture(autouse=True)
def simulated_gpu(monkeypatch: pytest.MonkeyPatch) -> SimulatedModule:
    """Let this machine have one GPU, and return what `torch.simulated` is."""
    module = register()
    module.calls.clear()
    monkeypatch.setattr(device, "count_accelerators", lambda: {"gpu": 1, "cpu": 2})
    monkeypatch.setitem(device.TORCH_NAMES, "gpu", NAME)
    # Lightning: `gpu` means `cuda`, the only kind of device that it runs this way
    connector = accelerator_connector._AcceleratorConnector
    monkeypatch.setattr(connector, "_choose_gpu_accelerator_backend", staticmethod(lambda: "cuda"))
    AcceleratorRegistry.register("cuda", SimulatedAccelerator, override=True)
    monkeypatch.setattr(accelerator_connector, "MixedPrecision", lambda precision, _: MixedPrecision(precision, NAME))
    return module
