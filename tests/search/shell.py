"""Searches as a user starts them: in a process of their own, small enough for a test."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pipeline.search.records import Search, read_search

ROOT = Path(__file__).resolve().parents[2]
TINY = ["data=digits", "model=mlp", "model.width=8", "data.limit=200", "search.retrain_seeds=0", "stage=[train]"]
"""A trial takes a few hundredths of a second."""


class Shell:
    """Runs `python -m pipeline` with outputs in a directory of the test."""

    def __init__(self, outputs: Path):
        self.outputs = outputs
        self.env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}

    def command(self, *args: str) -> list[str]:
        return [sys.executable, "-m", "pipeline", f"outputs={self.outputs}", *args]

    def start(self, *args: str, **options: Any) -> subprocess.Popen[str]:
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(self.command(*args), cwd=ROOT, env=self.env, **(pipes | options))

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*args), cwd=ROOT, env=self.env, capture_output=True, text=True, timeout=240)

    def run_search(self, *args: str) -> Search:
        done = self.run(*args)
        assert done.returncode == 0, done.stdout + done.stderr
        return self.search()

    @property
    def directory(self) -> Path:
        (directory,) = self.outputs.glob("*/search_*")
        return directory

    def search(self) -> Search:
        return read_search(self.directory)


def read_until(process: subprocess.Popen[str], text: str) -> list[str]:
    """Read the lines that the process prints, up to the first that has the text."""
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError("".join(lines) + (process.stderr.read() if process.stderr else ""))


def worker_pids(pid: int) -> list[int]:
    """Return the workers of a program: the children of its fork server."""
    return [worker for parent in _children(pid) for worker in _children(parent)]


def ends_within(pid: int, seconds: float = 20.0) -> bool:
    """Whether a process ends. A zombie, whose parent does not ask for its exit code, has ended too."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state in "ZX":
            return True
        time.sleep(0.1)
    return False


def _children(pid: int) -> list[int]:
    done = subprocess.run(["ps", "--ppid", str(pid), "-o", "pid="], capture_output=True, text=True, check=False)
    return [int(child) for child in done.stdout.split()]
