"""Batch sizes: what a training can use, and the one that is chosen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import pipeline
from pipeline.data import Images
from pipeline.errors import UserError
from pipeline.model import largest_batch as module
from pipeline.model.largest_batch import free_bytes, largest_batch

CPU = torch.device("cpu")


class Slow(nn.Module):
    """A network that takes `fixed + each x examples` seconds of a clock of its own, and keeps 400 bytes an example."""

    def __init__(self, clock: Clock, *, fixed: float, each: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(100))
        self.clock, self.fixed, self.each = clock, fixed, each

    def loss(self, pixels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        self.clock.now += self.fixed + self.each * len(pixels)
        return (self.weight * pixels.flatten(1).repeat(1, 100)[:, :100].contiguous()).sum()


class Clock:
    now = 0.0

    def perf_counter(self) -> float:
        return self.now


def chosen(
    monkeypatch: pytest.MonkeyPatch, *, fixed: float, each: float, free: float = 1e9, n: int = 4096, **options: Any
) -> int:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module, "free_bytes", lambda device: free)
    images = Images(torch.ones(n, 1, 1, 1), torch.zeros(n, dtype=torch.int64))
    network = Slow(clock, fixed=fixed, each=each)
    options = {"allowed": lambda size: True} | options
    return largest_batch(network, network.loss, images, device=CPU, **options)


def test_it_doubles_while_examples_get_cheaper(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 100 + n seconds, going from n to 2n brings 2 (100 + n) / (100 + 2 n): 1.16 from 256 on, 1.09 from 512."""
    assert chosen(monkeypatch, fixed=100, each=1) == 512
    assert chosen(monkeypatch, fixed=0, each=1) == 16
    assert chosen(monkeypatch, fixed=1, each=0) == 4096  # all there is


def test_it_stops_where_memory_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """400 bytes an example, three times for the pass, in half of what is free."""
    free = 2 * 3 * 400 * 200
    assert chosen(monkeypatch, fixed=1, each=0, free=free) == 128
    assert chosen(monkeypatch, fixed=1, each=0, free=free, processes=4) == 32


def test_out_of_memory_ends_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    def allowed(size: int) -> bool:
        return True

    loss = Slow.loss

    def limited(self: Slow, pixels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        if len(pixels) > 100:
            raise torch.OutOfMemoryError
        return loss(self, pixels, labels)

    monkeypatch.setattr(Slow, "loss", limited)
    assert chosen(monkeypatch, fixed=1, each=0, allowed=allowed) == 64


def test_what_is_not_allowed_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(monkeypatch, fixed=1, each=0, allowed=lambda size: size in (32, 128)) == 128
    assert chosen(monkeypatch, fixed=1, each=0, allowed=lambda size: False) == 0


def test_free_memory_is_that_of_this_machine() -> None:
    assert 2**20 < free_bytes(CPU) < 2**50


SMALL = ("data=digits", "model=mlp", "model.width=16", "stages.train.epochs=1")


def test_what_was_chosen_repeats_the_run_and_is_kept_by_one_that_goes_on(tmp_path: Path) -> None:
    ours = [f"outputs={tmp_path}", *SMALL, "stage=[sanity,train]"]
    run = pipeline.run([*ours, "data.batch_size=auto"], quiet=True)
    record = json.loads((run.directory / "outcome.json").read_text())
    size = json.loads((run.directory / "signals.json").read_text())["stages"]["train"]["batch_size"]
    assert size in (16, 32, 64)  # 1,437 / 20 = 71
    assert record["command"].endswith(f"data.batch_size={size}")
    assert "auto" not in record["command"]
    for file in ("config", "overrides"):
        assert (
            f"batch_size{': ' if file == 'config' else '='}{size}"
            in (run.directory / ".hydra" / f"{file}.yaml").read_text()
        )
    again = pipeline.run([*ours, f"data.batch_size={size}"], quiet=True)
    assert json.loads((again.directory / "outcome.json").read_text())["config_hash"] == record["config_hash"]

    other = {16: 32}.get(size, 16)  # as if it had been chosen by a busier machine, and stopped
    changed = record | {"status": "interrupted", "command": record["command"].replace(f"={size}", f"={other}")}
    (run.directory / "outcome.json").write_text(json.dumps(changed))
    (run.directory / "checkpoints" / "last.ckpt").unlink()
    resumed = pipeline.run([*ours, "data.batch_size=auto", "resume=auto"], quiet=True)
    assert json.loads((resumed.directory / "outcome.json").read_text())["command"].endswith(f"={other}")
    assert json.loads((resumed.directory / "signals.json").read_text())["stages"]["train"]["batch_size"] == other


def test_few_examples_leave_nothing_to_choose(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Give a number") as refused:
        pipeline.run([f"outputs={tmp_path}", *SMALL, "data.limit=100", "data.batch_size=auto"], quiet=True)
    assert refused.value.field == "data.batch_size"
    with pytest.raises(UserError) as refused:
        pipeline.run([f"outputs={tmp_path}", *SMALL, "data.batch_size=automatic"], quiet=True)
    assert refused.value.field == "data.batch_size"
