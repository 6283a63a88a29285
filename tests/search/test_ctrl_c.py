"""Ctrl-C while the workers of a search are still importing: a terminal sends it to all processes."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.search.shell import TINY, Shell

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("seconds", [3, 6])
def test_ctrl_c_while_importing(seconds: float, tmp_path: Path) -> None:
    """No process prints a traceback of its imports."""
    words = ["search=coarse", "search.trials=400", "search.rounds.coarse.epochs=50"]
    process = Shell(tmp_path).start(*TINY, *words, start_new_session=True)
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert stderr.count("\n") == 1
