"""Worker processes, and what their parent imports for them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pipeline.search.workers.forkserver import PRELOADED

pytestmark = pytest.mark.slow
NEEDED = ["torch", "pytorch_lightning", "pipeline.stages.train", "pipeline.search.workers.worker"]


def test_preloaded_modules() -> None:
    """The fork server hides that it cannot import a module: then each worker would import everything by itself."""
    code = f"import sys, {', '.join(PRELOADED)}\nprint(*(set({NEEDED}) - set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []


def test_preloaded_modules_leave_cuda_alone() -> None:
    """A worker cannot use CUDA if the process that it is forked from has asked for as much as the number of GPUs."""
    code = (
        "import torch\n"
        "def fail(*args): raise SystemExit('CUDA was asked')\n"
        "torch.cuda._is_compiled = lambda: True\n"
        "torch.cuda._raw_device_count_nvml = lambda: -1\n"  # there is no driver that would count without CUDA
        "torch._C._cuda_getDeviceCount = torch._C._cuda_init = torch.cuda._lazy_init = fail\n"
        f"import {', '.join(PRELOADED)}"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_worker_collects_garbage() -> None:
    """Its parent imports with the collection turned off."""
    code = (
        "import gc; from types import SimpleNamespace; from pipeline.search.workers.process import run_worker\n"
        "def recv(): raise EOFError\n"  # there are no tasks
        "gc.disable(); run_worker(SimpleNamespace(recv=recv), 1); print(gc.isenabled())"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "True\n"
