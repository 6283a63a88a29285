"""GPUs and the workers of a search. What the driver answers is simulated; torch and the processes are real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
import torch

from pipeline.search.workers.gpus import VISIBLE, GpuShare, group_gpus, list_gpus, share_gpus, visible_gpus
from tests.search.shell import ROOT

UUIDS = ["GPU-aa11", "GPU-bb22", "GPU-cc33"]
SCRIPT = """
import json
from pipeline.search.workers import forkserver
from pipeline.search.workers.gpus import list_gpus, share_gpus
from pipeline.search.workers.pool import WorkerPool

forkserver.PRELOADED[:] = ["tests.search.simulated_gpus"]
groups = list_gpus({"accelerator": "auto", "devices": 1}, threads=1)
pool = WorkerPool(5, threads=1, gpus=share_gpus(groups, 5))
before = pool.map([None] * 5)  # a task for each worker
pool.map(["die"] * 5)
print(json.dumps([before, pool.map([None] * 5)]))
pool.close()
forkserver.kill_forkserver()
"""


def run_five_workers(*, gpus: list[str], visible: str | None) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return what each worker process sees, and what each that replaces it sees.

    The machine has `gpus`, and CUDA_VISIBLE_DEVICES of the main process is `visible`.
    """
    environment = os.environ | {"SIMULATED_GPUS": " ".join(gpus), "PYTHONPATH": str(ROOT)}
    environment.pop(VISIBLE, None)
    environment |= {} if visible is None else {VISIBLE: visible}
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    before, after = json.loads(done.stdout)
    assert not {worker["pid"] for worker in before} & {worker["pid"] for worker in after}
    return before, after


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, ["0", "1", "2", "0", "1"]),
        pytest.param("GPU-cc33,GPU-aa11", ["GPU-cc33", "GPU-aa11"] * 2 + ["GPU-cc33"], marks=pytest.mark.slow),
    ],
)
def test_each_worker_sees_one_gpu(visible: str | None, expected: list[str]) -> None:
    """Whoever replaces a dead worker gets its GPU. Nothing is asked of CUDA before the worker has its own."""
    memory = 1 / 2 if visible is None else 1 / 3
    for workers in run_five_workers(gpus=UUIDS, visible=visible):
        assert [worker["visible"] for worker in workers] == expected
        assert [worker["asked"] for worker in workers] == [[[memory, gpu]] for gpu in expected]


@pytest.mark.slow
@pytest.mark.parametrize(("gpus", "visible"), [([], None), (UUIDS, "")])
def test_without_gpus_nothing_changes(gpus: list[str], visible: str | None) -> None:
    for workers in run_five_workers(gpus=gpus, visible=visible):
        assert [(worker["visible"], worker["asked"]) for worker in workers] == [(visible, [])] * 5


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, ["0", "1", "2"]),
        ("2,0", ["2", "0"]),
        ("GPU-cc33,GPU-aa11", ["GPU-cc33", "GPU-aa11"]),
        ("1,7,0", ["1"]),  # CUDA ignores what follows a number that does not exist
        ("", []),
        ("9", []),
        ("MIG-ee,MIG-ff", ["MIG-ee", "MIG-ff"]),  # CUDA counts one of them
    ],
)
def test_visible_gpus(visible: str | None, expected: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "_is_compiled", lambda: True)
    monkeypatch.setattr(torch.cuda, "_raw_device_count_nvml", lambda: len(UUIDS))
    monkeypatch.setattr(torch.cuda, "_raw_device_uuid_nvml", lambda: UUIDS)
    monkeypatch.setattr(torch._C, "_cuda_getDeviceCount", lambda: 1, raising=False)
    monkeypatch.delenv(VISIBLE, raising=False)
    if visible is not None:
        monkeypatch.setenv(VISIBLE, visible)
    assert visible_gpus() == expected


@pytest.mark.parametrize("accelerator", ["cpu", "mps", "tpu"])
def test_another_accelerator(accelerator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No process looks for GPUs then."""
    monkeypatch.delattr("pipeline.search.workers.gpus.start_forkserver")
    assert list_gpus({"accelerator": accelerator, "devices": 1}, threads=1) == []


@pytest.mark.parametrize(
    ("size", "groups"), [(1, ["0", "1", "2"]), (2, ["0,1"]), (3, ["0,1,2"]), (4, ["0,1,2"]), ("many", ["0,1,2"])]
)
def test_gpus_of_one_trial(size: Any, groups: list[str]) -> None:
    assert group_gpus(["0", "1", "2"], size) == groups
    assert group_gpus([], size) == []


@pytest.mark.parametrize(("n_workers", "memory"), [(1, 1), (3, 1), (4, 1 / 2), (6, 1 / 2), (7, 1 / 3)])
def test_equal_shares_of_memory(n_workers: int, memory: float) -> None:
    assert [share.memory for share in share_gpus(["0", "1", "2"], n_workers)] == [memory] * n_workers


def test_jobs_of_a_launcher() -> None:
    """Each has one worker, and takes the GPU by its number."""
    shares = [share_gpus(["4", "5"], 1, first=number) for number in range(3)]
    assert shares == [[GpuShare("4", 1)], [GpuShare("5", 1)], [GpuShare("4", 1)]]
