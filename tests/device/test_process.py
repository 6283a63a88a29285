"""Runs the tests of this folder in a process of their own, where a second device is known to torch from the start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FILES = [str(file) for file in sorted(HERE.glob("test_*.py")) if file != Path(__file__)]


@pytest.fixture(autouse=True)
def simulated_gpu() -> None:
    """Register nothing in this process."""


@pytest.mark.parametrize(
    "marks",
    [
        "not slow and not nightly",
        pytest.param("slow", marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
    ],
)
def test_on_a_simulated_device(marks: str) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", marks, *FILES]
    done = subprocess.run(command, cwd=HERE.parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
