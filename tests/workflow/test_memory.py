from __future__ import annotations

import mmap
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pipeline.workflow.components import Components, Outcome
from pipeline.workflow.memory import run_stage_with_memory


def needs(megabytes: int) -> Callable[[Components, Sequence[Outcome]], Outcome]:
    def stage(parts: Components, earlier: Sequence[Outcome]) -> Outcome:
        with mmap.mmap(-1, megabytes * 2**20) as fresh:  # not from what was freed before
            for page in range(0, len(fresh), mmap.PAGESIZE):
                fresh[page] = 1
        return Outcome(name="hungry", passed=True, seconds=0.0, headline="", metrics={})

    return stage


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks of a stage alone need Linux")
def test_the_peak_of_a_stage_is_its_own() -> None:
    parts: Any = SimpleNamespace(stages={"little": needs(1), "much": needs(300), "little again": needs(1)})
    peaks = [run_stage_with_memory(parts, name, []).memory for name in parts.stages]
    little, much, again = (float(peak["process_mb"] or 0) for peak in peaks if peak)
    assert 250 < much - little < 350
    assert again < little + 100
    assert all(peak and (peak["device_mb"] is None) != torch.accelerator.is_available() for peak in peaks)
