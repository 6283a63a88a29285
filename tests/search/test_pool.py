"""Workers and what their parent imports for them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pipeline.search.workers.pool import PRELOADED


@pytest.mark.slow
def test_what_the_parent_imports_is_all_that_a_trial_needs() -> None:
    """Python's fork server says nothing about a name that it cannot import: workers would import each by itself."""
    code = (
        f"import sys, {', '.join(PRELOADED)}\n"
        "print(*({'torch', 'pytorch_lightning', 'pipeline.stages.train', 'pipeline.search.workers.worker'} - {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []


@pytest.mark.slow
def test_a_worker_looks_for_garbage_though_its_parent_did_not() -> None:
    code = (
        "import gc; from types import SimpleNamespace; from pipeline.search.workers.pool import _work\n"
        "def recv(): raise EOFError\n"  # there are no tasks
        "gc.disable(); _work(SimpleNamespace(recv=recv), 1); print(gc.isenabled())"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "True\n"
