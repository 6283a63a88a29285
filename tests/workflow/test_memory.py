"""The peak memory of a stage counts from its start."""

from __future__ import annotations

import json
import mmap
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
import torch

from pipeline.workflow.components import Components, RunContext, Stage
from pipeline.workflow.outcome import Outcome
from pipeline.workflow.stage_loop import run_stage
from tests.training.fake_allocator import DEVICE, FakeAllocator

SCHEMA = Path(__file__).parents[2] / "docs" / "outcome.schema.json"


def use(megabytes: int) -> None:
    with mmap.mmap(-1, megabytes * 2**20) as fresh:  # a mapping of its own, not memory that was freed before
        for page in range(0, len(fresh), mmap.PAGESIZE):
            fresh[page] = 1


class Hungry(Stage):
    def __init__(self, megabytes: int):
        self.megabytes = megabytes

    def __call__(self, components: Components, context: RunContext, earlier: Sequence[Outcome]) -> Outcome:
        use(self.megabytes)
        return Outcome(name="hungry", passed=True, seconds=0.0, headline="", metrics={})


def peaks_of(stages: dict[str, Stage], device: torch.device) -> list[dict[str, float | None]]:
    components: Any = SimpleNamespace(stages=stages, device_config=SimpleNamespace(device=device), data=None, config={})
    return [run_stage(components, RunContext(), name, []).memory or {} for name in stages]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks of a stage alone need Linux")
def test_peak_of_each_stage() -> None:
    peaks = peaks_of({"little": Hungry(1), "much": Hungry(300), "little again": Hungry(1)}, torch.device("cpu"))
    little, much, again = (float(peak["process_mb"] or 0) for peak in peaks)
    assert 250 < much - little < 350
    assert again < little + 100
    assert all(peak.keys() == {"process_mb", "device_mb"} and peak["device_mb"] is None for peak in peaks)


def test_peak_on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """In MB of 2^20 bytes. What the allocator keeps from one stage still counts as reserved in the next."""
    allocator = FakeAllocator(monkeypatch, total=1000 * 2**20, others=100 * 2**20)

    class Allocating(Hungry):
        def __call__(self, components: Components, context: RunContext, earlier: Sequence[Outcome]) -> Outcome:
            allocator.allocate(self.megabytes * 2**20)
            allocator.free(self.megabytes * 2**20)
            return super().__call__(components, context, earlier)

    peaks = peaks_of({"much": Allocating(300), "little": Allocating(1)}, DEVICE)
    assert [peak["device_mb"] for peak in peaks] == [300.0, 1.0]
    assert [peak["device_reserved_mb"] for peak in peaks] == [300.0, 300.0]
    assert [peak["device_total_mb"] for peak in peaks] == [1000.0, 1000.0]
    definition = json.loads(SCHEMA.read_text())["properties"]["stages"]["items"]["properties"]["memory"]
    for peak in peaks:
        jsonschema.validate(peak, definition)
