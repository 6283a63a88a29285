"""Fixtures of all tests: one thread, no warnings of libraries, small runs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.workflow.process_setup import silence_library_warnings
from tests.browser import Browser, start_browser
from tests.small_run import MakeRun, SmallRun, make_small_run


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Run everything with one thread, fixtures of modules too, so that bits are the same on any machine."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _quiet_test() -> Iterator[None]:
    """Hide libraries' warnings, and set the threads back after a test that changes their number."""
    with silence_library_warnings():
        yield
    torch.set_num_threads(1)


@pytest.fixture
def small_run(tmp_path: Path) -> MakeRun:
    """Return `small_run("schedule=plateau", loss=...)`, which makes runs in directories of their own."""
    numbers = itertools.count()

    def make(*overrides: str, **changes: Any) -> SmallRun:
        return make_small_run(tmp_path / f"run{next(numbers)}", *overrides, **changes)

    return make


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Return a real browser. The test is skipped where none is installed."""
    with start_browser() as started:
        yield started
