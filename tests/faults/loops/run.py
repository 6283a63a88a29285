"""One run of a watched case: a preflight, then the loop under `pipeline.watch`."""

from __future__ import annotations

import time
import traceback
import warnings
from pathlib import Path
from typing import Any

from torch.optim import Optimizer

from tests.faults.case import CONFIGURATION_ERROR, Case
from tests.faults.loops.cases import FAMILY, ModuleLoop, loops
from tests.faults.loops.loop import Loop, NoWatcher
from tests.faults.run import COUNTED_SEVERITIES, Record

EVERY = 10
"""Steps between two that are looked at: the loops have 70 to 200 steps."""


def build_loop(case: Case, seed: int) -> Loop:
    return loops()[case.name](seed) if case.family == FAMILY else ModuleLoop(case, seed)


def run_watched(case: Case, seed: int, data_file: Path | None = None, more_overrides: tuple[str, ...] = ()) -> Record:
    """Build the loop, check it before and watch it while it trains. With `checks=off` it is only trained."""
    import pipeline

    started = time.perf_counter()
    findings: list[Any] = []
    refusals: list[tuple[str, str, str]] = []
    score, message, ended = None, "", "passed"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of some of the mistakes
            loop = build_loop(case, seed)
            if "checks=off" in more_overrides:
                score = loop.train(NoWatcher())
            else:
                (x, y), held_out = loop.training_set, loop.validation_set
                batch = (x[: 2 * loop.batch_size], y[: 2 * loop.batch_size])
                found = pipeline.preflight(
                    loop.network, batch=batch, loss=loop.loss,
                    optimizer=loop.optimizer if isinstance(loop.optimizer, Optimizer) else None,
                    data={"train": (x, y), "val": held_out}, quiet=True,
                )  # fmt: skip
                findings = list(found)
                watch = pipeline.watch(
                    loop.network, loop.optimizer, classes=loop.classes, every=EVERY, policy="silent",
                    epochs=loop.epochs, scheduler=loop.scheduler,
                )  # fmt: skip
                try:
                    with watch:
                        score = loop.train(watch)
                finally:
                    findings += list(watch.findings)
    except pipeline.PreflightError as error:
        ended, message, refusals = "refused", str(error), [(CONFIGURATION_ERROR, "failure", "preflight")]
    except Exception as error:  # noqa: BLE001 - a crash is an outcome of the benchmark
        frames = traceback.extract_tb(error.__traceback__)
        frame = next((one for one in reversed(frames) if "/pipeline/" in one.filename), frames[-1])
        is_own = not any("/pipeline/" in one.filename for one in frames)
        ended = "failed" if findings and is_own else "crashed"  # a loop may stop by itself after a finding has said why
        message = f"{type(error).__name__}: {error} ({Path(frame.filename).name}:{frame.lineno})"
    counted = [finding for finding in findings if finding.severity in COUNTED_SEVERITIES]
    return Record(
        case.name, seed, ended, (*refusals, *((f.check, f.severity, f.stage) for f in counted)), score,
        time.perf_counter() - started, message or "; ".join(f.message for f in counted),
    )  # fmt: skip
