"""What `configure_process()` sets, when it leaves things alone, and that importing `pipeline` sets nothing."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.workflow.process_setup import GC_THRESHOLD, LIBGOMP_SPINCOUNT, configure_process, tune_openmp

VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS", "PIPELINE_TUNING")
SLEEPING, SPINNING = "0", str(LIBGOMP_SPINCOUNT)
Loadavg = Callable[[str | None], None]


@pytest.fixture(autouse=True)
def _before_torch_on_four_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Pretend that torch is not imported yet, and let the environment and the garbage collector be as they were."""
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(os, "environ", {name: value for name, value in os.environ.items() if name not in VARIABLES})
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)


@pytest.fixture
def loadavg(monkeypatch: pytest.MonkeyPatch) -> Loadavg:
    """Return a function that sets the text of /proc/loadavg; None: there is no such file."""

    def set_text(*texts: str | None) -> None:
        remaining = list(texts)

        def read_text(path: Path, *_: object) -> str:
            assert path.name == "loadavg"
            text = remaining.pop(0) if len(remaining) > 1 else remaining[0]
            if text is None:
                raise FileNotFoundError(path)
            return text

        monkeypatch.setattr(Path, "read_text", read_text)

    return set_text


def spin_count() -> str | None:
    tune_openmp()
    return os.environ.get("GOMP_SPINCOUNT")


def running(threads: int) -> str:
    return f"0.00 0.01 0.05 {threads}/812 4711\n"


@pytest.mark.parametrize(
    ("active", "threads", "expected"),
    [
        (1, None, SPINNING), (2, None, SLEEPING), (9, None, SLEEPING), (2, "3", SPINNING), (3, "3", SLEEPING),
        (4, "1", SPINNING), (2, "many", SLEEPING),
    ],
)  # fmt: skip
def test_openmp_threads_sleep_on_busy_machine(
    loadavg: Loadavg, active: int, threads: str | None, expected: str
) -> None:
    """A machine is busy if other work leaves fewer cores than OpenMP has threads."""
    loadavg(running(active))
    if threads:
        os.environ["OMP_NUM_THREADS"] = threads
    assert spin_count() == expected


def test_openmp_has_a_thread_per_usable_core(loadavg: Loadavg, monkeypatch: pytest.MonkeyPatch) -> None:
    loadavg(running(3))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    assert spin_count() == SPINNING


@pytest.mark.parametrize("text", [None, "", "0.0 0.0 0.0\n", "0.0 0.0 0.0 none 1\n"])
def test_unknown_load_counts_as_quiet(loadavg: Loadavg, text: str | None) -> None:
    loadavg(text)
    assert spin_count() == SPINNING


def test_short_activity_counts_as_quiet(loadavg: Loadavg) -> None:
    loadavg(running(2), running(1))
    assert spin_count() == SPINNING


@pytest.mark.parametrize("variables", [{"GOMP_SPINCOUNT": "77"}, {"OMP_WAIT_POLICY": "active"}])
@pytest.mark.parametrize("active", [1, 9])
def test_openmp_settings_of_user_are_respected(loadavg: Loadavg, variables: dict[str, str], active: int) -> None:
    loadavg(running(active))
    os.environ.update(variables)
    assert spin_count() == variables.get("GOMP_SPINCOUNT")


def test_openmp_is_left_alone_after_torch(loadavg: Loadavg, monkeypatch: pytest.MonkeyPatch) -> None:
    loadavg(running(9))
    monkeypatch.setitem(sys.modules, "torch", sys)
    assert spin_count() is None


class FakeLibc:
    """Records the calls of `mallopt`."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    def mallopt(self, parameter: int, value: int) -> None:
        self.calls.append((parameter, value))


@pytest.fixture
def libc(monkeypatch: pytest.MonkeyPatch) -> FakeLibc:
    libc = FakeLibc()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: libc)
    return libc


def test_configure_process(loadavg: Loadavg, libc: FakeLibc) -> None:
    loadavg(running(9))
    configure_process()
    assert gc.get_threshold()[0] == GC_THRESHOLD
    assert os.environ["GOMP_SPINCOUNT"] == SLEEPING
    assert [parameter for parameter, _ in libc.calls] == [-3, -1]  # M_MMAP_THRESHOLD first: it ends the dynamic one


@pytest.mark.parametrize("value", ["off", "OFF"])
def test_tuning_can_be_switched_off(loadavg: Loadavg, libc: FakeLibc, value: str) -> None:
    loadavg(running(9))
    os.environ["PIPELINE_TUNING"] = value
    before, thresholds = dict(os.environ), gc.get_threshold()
    configure_process()
    assert (dict(os.environ), gc.get_threshold(), libc.calls) == (before, thresholds, [])


def test_configure_process_without_glibc(loadavg: Loadavg, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise OSError(name)

    loadavg(running(1))
    monkeypatch.setattr(ctypes, "CDLL", fail)
    configure_process()
    assert os.environ["GOMP_SPINCOUNT"] == SPINNING


IMPORT = """
import gc, os, time
time.sleep = None
before, thresholds = dict(os.environ), gc.get_threshold()
import pipeline
assert dict(os.environ) == before
assert gc.get_threshold() == thresholds
"""


def test_import_changes_nothing() -> None:
    """`import pipeline` changes no environment variable and no garbage collection, and does not sleep."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    subprocess.run([sys.executable, "-c", IMPORT], env=environment, check=True)


LIGHTNING = """
import logging, sys
from pipeline.workflow.process_setup import silence_library_warnings
before = "before" in sys.argv
if before:
    import pytorch_lightning
logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
logging.getLogger("lightning_fabric").setLevel(logging.DEBUG)
with silence_library_warnings():
    with silence_library_warnings():
        from pytorch_lightning.accelerators import cuda
        cuda._log.info("LOCAL_RANK: 0 - CUDA_VISIBLE_DEVICES: [0]")
    from pytorch_lightning.utilities.rank_zero import rank_zero_info
    cuda._log.info("LOCAL_RANK: 0 - CUDA_VISIBLE_DEVICES: [0]")
    logging.getLogger("lightning_fabric.strategies").warning("a greeting")
    rank_zero_info("a greeting")
    cuda._log.error("an error")
print(*(logging.getLogger(name).level for name in ("pytorch_lightning", "lightning_fabric")))
cuda._log.warning("a warning of the user's level")
"""


@pytest.mark.parametrize("argument", [pytest.param("before", marks=pytest.mark.slow), "inside"])
def test_lightning_is_silent_whenever_it_is_imported(argument: str) -> None:
    """Its errors are printed, and the user's own levels are back after the block."""
    done = subprocess.run([sys.executable, "-c", LIGHTNING, argument], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines() == ["an error", "a warning of the user's level"]
    assert done.stdout.split() == [str(logging.WARNING), str(logging.DEBUG)]
