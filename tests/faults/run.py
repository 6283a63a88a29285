"""One run of a case in a process of its own thread, and what came of it."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.case import CONFIGURATION_ERROR, Case

TOLD = ("failure", "warning")
"""Severities that count; 'info' is allowed on healthy runs."""


@dataclass(frozen=True)
class Record:
    """`ended`: passed, failed, refused (the command itself) or crashed. `told`: (check, severity, stage) in order."""

    case: str
    seed: int
    ended: str
    told: tuple[tuple[str, str, str], ...]
    score: float | None
    """Test accuracy; None where the run did not come so far."""
    seconds: float
    message: str = ""

    @property
    def first(self) -> str | None:
        return self.told[0][0] if self.told else None


def prepare(allow: str) -> None:
    """Of a worker process: one thread, and the cases' own code allowed."""
    os.environ["PIPELINE_ALLOW"] = allow
    import torch

    torch.set_num_threads(1)


def run_case(case: Case, seed: int, data_file: Path | None, more: tuple[str, ...] = ()) -> Record:
    """The case's command with `more` appended; whatever it raises is an outcome. Leaves nothing behind."""
    import pipeline
    from pipeline.errors import UserError

    outputs = tempfile.mkdtemp(prefix="faults_")
    started = time.perf_counter()
    words = [*case.command(seed, data_file), "trainer=cpu", f"outputs={outputs}", *more]
    told: tuple[tuple[str, str, str], ...] = ()
    score, message = None, ""
    try:
        result = pipeline.run(words, quiet=True)
        ended, score = result.status, result.metrics.get("evaluate", {}).get("test_accuracy")
        told = diagnosis(result)
        message = "; ".join(finding.message for finding in result.findings if finding.severity in TOLD)
    except UserError as error:
        ended, message, told = "refused", str(error), ((CONFIGURATION_ERROR, "failure", "configuration"),)
    except Exception as error:  # noqa: BLE001 - a crash is an outcome of the benchmark, told with its words
        frames = traceback.extract_tb(error.__traceback__)
        frame = next((one for one in reversed(frames) if "/pipeline/" in one.filename), frames[-1])
        ended, message = "crashed", f"{type(error).__name__}: {error} ({Path(frame.filename).name}:{frame.lineno})"
    finally:
        shutil.rmtree(outputs, ignore_errors=True)
    return Record(case.name, seed, ended, told, score, time.perf_counter() - started, message)


def diagnosis(result: Any) -> tuple[tuple[str, str, str], ...]:
    """Warnings and failures in the order told: the ranking over stages where the pipeline has one."""
    findings = getattr(result, "diagnosis", None)
    if callable(findings):
        findings = findings()
    return tuple(
        (finding.check, finding.severity, finding.stage)
        for finding in (result.findings if findings is None else findings)
        if finding.severity in TOLD
    )
