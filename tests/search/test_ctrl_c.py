"""Ctrl-C while a search's workers are still importing: it reaches all processes of the terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [3, 6])
def test_nobody_tells_where_its_imports_were(seconds: float, tmp_path: Path) -> None:
    words = ["search=coarse", "search.trials=400", "data=digits", "model=mlp", "search.rounds.coarse.epochs=50"]
    command = [sys.executable, "-m", "pipeline", *words, f"outputs={tmp_path}"]
    begun = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    time.sleep(seconds)
    os.killpg(begun.pid, signal.SIGINT)
    said = begun.communicate(timeout=60)[1].decode()
    assert begun.returncode == 130
    assert "Traceback" not in said
    assert "stopped" in said
