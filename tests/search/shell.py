"""Searches as a user starts them: in a process of their own, small enough for a test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from pipeline.search.records import Search, read_search

ROOT = Path(__file__).resolve().parents[2]
TINY = ["data=digits", "model=mlp", "model.width=8", "data.limit=200", "search.retrain_seeds=0", "stage=[train]"]
"""A trial takes a few hundredths of a second."""


class Shell:
    """Runs `python -m pipeline` with outputs in a folder of the test."""

    def __init__(self, outputs: Path):
        self.outputs = outputs
        self.env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "pipeline", f"outputs={self.outputs}", *words]

    def begun(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(self.command(*words), cwd=ROOT, env=self.env, **(pipes | options))

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*words), cwd=ROOT, env=self.env, capture_output=True, text=True, timeout=240)

    def searched(self, *words: str) -> Search:
        done = self.run(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        return self.found()

    @property
    def folder(self) -> Path:
        (folder,) = self.outputs.glob("*/search_*")
        return folder

    def found(self) -> Search:
        return read_search(self.folder)

    def raw(self) -> dict[str, Any]:
        return json.loads((self.folder / "search.json").read_text())
