"""compile=true: the same training, compiled code that the next run loads, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.errors import UserError
from pipeline.training import compile as module

ROOT = Path(__file__).parents[2]
SMALL = ("data=digits", "model=mlp", "model.width=16", "stage=train", "stages.train.epochs=2", "regularization=l2")
COUNT = """
import sys, pipeline
result = pipeline.run(sys.argv[1:], quiet=True)
from torch._dynamo.utils import counters
print(result.directory, counters["inductor"]["fxgraph_cache_hit"], counters["inductor"]["fxgraph_cache_miss"])
"""


def run(outputs: Path, *overrides: str) -> tuple[Path, int, int]:
    """Return the run's directory, and how often compiled code was found on disk and was not."""
    command = [sys.executable, "-c", COUNT, f"outputs={outputs}", *SMALL, *overrides]
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(outputs / "compiled")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    directory, hits, misses = done.stdout.split()
    assert not done.stderr
    return Path(directory), int(hits), int(misses)


def read(directory: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    signals = json.loads((directory / "signals.json").read_text())["stages"]["train"]
    return signals, torch.load(directory / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


@pytest.mark.slow
def test_compiled_training(tmp_path: Path) -> None:
    """Training is the same to rounding, and the next run loads the compiled code from disk."""
    plain, *_ = run(tmp_path)
    cold, _, misses = run(tmp_path, "compile=true")
    warm, hits, none = run(tmp_path, "compile=true", "optimizer.lr=0.02")
    assert misses > 0
    assert hits > 0
    assert none == 0
    signals, weights = read(plain)
    compiled_signals, compiled_weights = read(cold)
    assert signals["losses"] == pytest.approx(compiled_signals["losses"], rel=1e-3)
    assert signals["samples"]["step"] == compiled_signals["samples"]["step"]
    assert signals["samples"]["activations"]["name"] == compiled_signals["samples"]["activations"]["name"]
    assert weights.keys() == compiled_weights.keys()
    assert read(warm)[0]["losses"] != compiled_signals["losses"]


@pytest.mark.slow
def test_missing_compiler(tmp_path: Path) -> None:
    """The program ends with one message, before it writes anything."""
    command = [sys.executable, "-m", "pipeline", f"outputs={tmp_path / 'outputs'}", *SMALL, "compile=true"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"PATH": "/nowhere"}, capture_output=True, text=True)
    assert done.returncode == 2
    assert "compile:" in done.stderr
    assert "InvalidCxxCompiler" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_compiler_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever compiling raises is refused, with the first line of its message."""

    def fail(forward: module.Forward) -> module.Forward:
        raise RuntimeError("backend=x\n\nNo working compiler\nmore")

    monkeypatch.setattr(module, "compiled", fail)
    with pytest.raises(UserError, match=r"\(No working compiler\)") as refused:
        module.check_compiler(torch.device("cpu"))
    assert refused.value.field == "compile"


def test_compiler_with_wrong_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "compiled", lambda forward: lambda numbers: forward(numbers) + 1)
    with pytest.raises(UserError) as refused:
        module.check_compiler(torch.device("cpu"))
    assert refused.value.field == "compile"
