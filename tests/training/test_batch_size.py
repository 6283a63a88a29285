"""Batch sizes: which ones a training can use, and which one `auto` chooses."""

from __future__ import annotations

import itertools
import json
import re
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import pipeline
from pipeline.config.compose import compose_config
from pipeline.data import Affine, Images
from pipeline.data.shuffle import split_batches
from pipeline.errors import UserError
from pipeline.model import CrossEntropy
from pipeline.runs.json_files import config_hash
from pipeline.training import batch_size
from pipeline.training import largest_batch as module
from pipeline.training.batch_size import BatchSizeLimits
from pipeline.training.device_memory import HostMemory
from pipeline.training.largest_batch import largest_batch
from pipeline.training.lightning_module import EVALUATION_BATCH
from pipeline.workflow.build import build_components

CPU = torch.device("cpu")


class Slow(nn.Module):
    """A pass takes `fixed` + `each` x examples seconds of a fake clock, and saves 400 bytes per example."""

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


def largest_of_slow(
    monkeypatch: pytest.MonkeyPatch, *, fixed: float, each: float, free: float = 1e9, n: int = 4096, **options: Any
) -> int:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(HostMemory, "free", lambda self: free)
    images = Images(torch.ones(n, 1, 1, 1), torch.zeros(n, dtype=torch.int64))
    network = Slow(clock, fixed=fixed, each=each)
    options = {"is_allowed": lambda size: True} | options
    return largest_batch(network, network.loss, images, device=CPU, **options)


def test_doubles_while_examples_get_cheaper(monkeypatch: pytest.MonkeyPatch) -> None:
    """At 100 + n seconds, doubling n is 2 (100 + n) / (100 + 2 n) times as fast: 1.16 at 256, 1.09 at 512."""
    assert largest_of_slow(monkeypatch, fixed=100, each=1) == 512
    assert largest_of_slow(monkeypatch, fixed=0, each=1) == 16
    assert largest_of_slow(monkeypatch, fixed=1, each=0) == 4096  # the whole data set


def test_stops_where_memory_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass needs three times the 400 bytes per example, and may use half of the free memory."""
    free = 2 * 3 * 400 * 200
    assert largest_of_slow(monkeypatch, fixed=1, each=0, free=free) == 128
    assert largest_of_slow(monkeypatch, fixed=1, each=0, free=free, processes=4) == 32


def test_out_of_memory_ends_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    def is_allowed(size: int) -> bool:
        return True

    loss = Slow.loss

    def limited(self: Slow, pixels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        if len(pixels) > 100:
            raise torch.OutOfMemoryError
        return loss(self, pixels, labels)

    monkeypatch.setattr(Slow, "loss", limited)
    assert largest_of_slow(monkeypatch, fixed=1, each=0, is_allowed=is_allowed) == 64


def test_sizes_that_are_not_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert largest_of_slow(monkeypatch, fixed=1, each=0, is_allowed=lambda size: size in (32, 128)) == 128
    assert largest_of_slow(monkeypatch, fixed=1, each=0, is_allowed=lambda size: False) == 0


# ------------------------------------------------------------------------------------------ valid sizes


def device_config(accumulate: int, devices: int, **options: Any) -> Any:
    """Return what `BatchSizeLimits` reads of a `DeviceConfig`, with more devices than this machine may have."""
    defaults = {"device": CPU, "autocast": nullcontext, "images_on": "auto"}
    return SimpleNamespace(accumulate=accumulate, devices=devices, **(defaults | options))


def refusal(rule: BatchSizeLimits, size: object) -> UserError | None:
    try:
        rule.validate(size)
    except UserError as error:
        return error
    return None


@pytest.mark.parametrize(("accumulate", "devices"), [(1, 1), (1, 3), (2, 1), (3, 2)])
def test_validate_against_steps(accumulate: int, devices: int) -> None:
    """Compared with the parts themselves, for all small data sets."""
    for n in range(2, 30):
        plain, normalized = (
            BatchSizeLimits(n, device_config(accumulate, devices), has_batchnorm=has_batchnorm)
            for has_batchnorm in (False, True)
        )
        for size in range(1, n + 1):
            steps = split_batches(torch.arange(n), size * accumulate)
            parts = [part for step in steps for part in torch.tensor_split(step, accumulate * devices)]
            too_large = size * accumulate > n
            assert (refusal(plain, size) is None) == (not too_large)
            assert (refusal(normalized, size) is None) == (not too_large and min(len(part) for part in parts) >= 2)
        assert refusal(plain, n + 1)
        assert refusal(plain, 0)


def test_next_valid_size_is_suggested() -> None:
    for accumulate, devices in [(1, 1), (2, 1), (1, 2)]:
        for n in range(2, 30):
            rule = BatchSizeLimits(n, device_config(accumulate, devices), has_batchnorm=True)
            for size in range(1, n // accumulate + 1):
                if refused := refusal(rule, size):
                    fitting = [s for s in range(size, n + 1) if not refusal(rule, s)]
                    suggested = re.findall(r"data\.batch_size=(\d+)", refused.message)
                    assert suggested == [str(size) for size in fitting[:1]]
                    assert "batchnorm=none" in refused.message


def largest(monkeypatch: pytest.MonkeyPatch, n: int, *, free: float = 1e12, **options: Any) -> int:
    """Find the largest size with a clock on which larger is always faster: rules and memory alone end the search."""
    monkeypatch.setattr(HostMemory, "free", lambda self: free)
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=itertools.count().__next__))
    monkeypatch.setattr(module, "MIN_SPEEDUP", 0.0)
    data = Images(torch.randint(0, 255, (n, 1, 4, 4), dtype=torch.uint8), torch.arange(n) % 3)
    flat, drop = nn.Flatten(), nn.Dropout(0.5)
    network = nn.Sequential(flat, nn.Linear(16, 8), nn.BatchNorm1d(8), drop, nn.Linear(8, 3), DtypeRecorder())
    network.register_parameter("unused", nn.Parameter(torch.ones(1)))
    preprocessing = Affine(torch.ones(1, 4, 4), torch.zeros(1, 4, 4))
    has_batchnorm = options.pop("has_batchnorm", True)
    config = device_config(**({"accumulate": 1, "devices": 1} | options))
    rule = BatchSizeLimits(n, config, has_batchnorm=has_batchnorm)
    before = torch.get_rng_state()
    size = rule.find_largest(network, preprocessing, CrossEntropy(label_smoothing=0.0), data, channels_last=False)
    assert torch.equal(torch.get_rng_state(), before)
    return size


class DtypeRecorder(nn.Module):
    """Records the type of the logits."""

    last: torch.dtype

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        DtypeRecorder.last = logits.dtype
        return logits


def test_steps_per_epoch_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """An epoch keeps twenty steps over all processes."""
    assert largest(monkeypatch, 1300) == 64
    assert largest(monkeypatch, 1300, devices=2) == 64
    assert largest(monkeypatch, 1300, accumulate=2) == 32
    assert largest(monkeypatch, 1281, has_batchnorm=False) == 64
    with pytest.raises(UserError) as refused:  # every power of two leaves one example over
        largest(monkeypatch, 1281)
    assert refused.value.field == "data.batch_size"


def test_processes_share_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    free = 300 * 2 * 3 * 400  # a pass of this network saves about 400 bytes per example
    size = largest(monkeypatch, 100_001, free=free, has_batchnorm=False)
    assert 32 < size < 4096  # as an epoch of twenty steps would allow
    assert largest(monkeypatch, 100_001, free=free, has_batchnorm=False, devices=4) == size
    assert largest(monkeypatch, 200_001, free=free, has_batchnorm=False) == size  # images outside the pass need nothing


def test_passes_have_training_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    largest(monkeypatch, 400, autocast=lambda: torch.autocast("cpu", dtype=torch.bfloat16))
    assert DtypeRecorder.last == torch.bfloat16
    largest(monkeypatch, 400)
    assert DtypeRecorder.last == torch.float32


@pytest.mark.parametrize(("images_on", "resident"), [("auto", 400 * 16), ("device", 400 * 16), ("host", 0)])
def test_what_else_a_device_holds(images_on: str, resident: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search leaves room for the images, of one byte a pixel, and for the passes of the evaluation."""
    received: dict[str, Any] = {}

    def record(*_: Any, **options: Any) -> int:
        received.update(options)
        return 16

    monkeypatch.setattr(batch_size, "largest_batch", record)
    assert largest(monkeypatch, 400, images_on=images_on) == 16
    assert received["resident_bytes"] == resident
    assert received["evaluation_size"] == EVALUATION_BATCH


SMALL = ("data=digits", "model=mlp", "model.width=16", "stages.train.epochs=1")


def test_chosen_size_is_recorded(tmp_path: Path) -> None:
    """The recorded command has the size that was chosen, and a resumed run keeps it."""
    common = [f"outputs={tmp_path}", *SMALL, "stage=train", "report=false"]
    run = pipeline.run([*common, "data.batch_size=auto"], quiet=True)
    record = json.loads((run.directory / "outcome.json").read_text())
    size = json.loads((run.directory / "signals.json").read_text())["stages"]["train"]["batch_size"]
    assert size in (16, 32, 64)  # 1,437 / 20 = 71
    assert record["command"].endswith(f"data.batch_size={size}")
    assert "auto" not in record["command"]
    hydra = run.directory / ".hydra"
    assert f"batch_size: {size}" in (hydra / "config.yaml").read_text()
    assert f"batch_size={size}" in (hydra / "overrides.yaml").read_text()
    typed = build_components(compose_config([*common, f"data.batch_size={size}"]))
    assert config_hash(typed.config) == record["config_hash"]

    other = {16: 32}.get(size, 16)  # as if a busier machine had chosen it, and the run had been interrupted
    changed = record | {"status": "interrupted", "command": record["command"].replace(f"={size}", f"={other}")}
    (run.directory / "outcome.json").write_text(json.dumps(changed))
    (run.directory / "checkpoints" / "last.ckpt").unlink()
    resumed = pipeline.run([*common, "data.batch_size=auto", "resume=auto"], quiet=True)
    assert json.loads((resumed.directory / "outcome.json").read_text())["command"].endswith(f"={other}")
    assert json.loads((resumed.directory / "signals.json").read_text())["stages"]["train"]["batch_size"] == other


def test_too_few_examples(tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        pipeline.run([f"outputs={tmp_path}", *SMALL, "data.limit=100", "data.batch_size=auto"], quiet=True)
    assert refused.value.field == "data.batch_size"
    with pytest.raises(UserError) as refused:
        pipeline.run([f"outputs={tmp_path}", *SMALL, "data.batch_size=automatic"], quiet=True)
    assert refused.value.field == "data.batch_size"
