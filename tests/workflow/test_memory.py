"""The peak memory of a stage counts from its start."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pipeline.workflow.components import Components, RunContext, Stage
from pipeline.workflow.outcome import Outcome
from pipeline.workflow.stage_loop import run_stage


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


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks of a stage alone need Linux")
def test_peak_of_each_stage() -> None:
    components: Any = SimpleNamespace(stages={"little": Hungry(1), "much": Hungry(300), "little again": Hungry(1)})
    peaks = [run_stage(components, RunContext(), name, []).memory for name in components.stages]
    little, much, again = (float(peak["process_mb"] or 0) for peak in peaks if peak)
    assert 250 < much - little < 350
    assert again < little + 100
    assert all(peak and (peak["device_mb"] is None) != torch.accelerator.is_available() for peak in peaks)
