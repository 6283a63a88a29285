"""One run of a case, and its outcome."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.case import CONFIGURATION_ERROR, Case

if TYPE_CHECKING:
    from pipeline.workflow.result import RunResult

COUNTED_SEVERITIES = ("failure", "warning")
"""Severities that count; an `info` is allowed in healthy runs."""


@dataclass(frozen=True)
class Record:
    """How a run of a case ended: passed, failed, refused (the command itself) or crashed."""

    case: str
    seed: int
    ended: str
    findings: tuple[tuple[str, str, str], ...]
    """(check, severity, stage), ranked."""
    score: float | None
    """Test accuracy; None where the run ended before `evaluate`."""
    seconds: float
    message: str = ""

    @property
    def first_check(self) -> str | None:
        return self.findings[0][0] if self.findings else None


def prepare_worker(allow: str) -> None:
    """Set up a worker process: one thread, and the code of the cases allowed."""
    os.environ["PIPELINE_ALLOW"] = allow
    import torch

    torch.set_num_threads(1)


def run_case(case: Case, seed: int, data_file: Path | None, more_overrides: tuple[str, ...] = ()) -> Record:
    """Run the case's command with `more_overrides` appended. Whatever it raises is an outcome; no file is left."""
    import pipeline
    from pipeline.errors import UserError

    outputs = tempfile.mkdtemp(prefix="faults_")
    started = time.perf_counter()
    overrides = [*case.command(seed, data_file), "trainer=cpu", f"outputs={outputs}", *more_overrides]
    findings: tuple[tuple[str, str, str], ...] = ()
    score, message = None, ""
    try:
        result = pipeline.run(overrides, quiet=True)
        ended, score = result.status, result.metrics.get("evaluate", {}).get("test_accuracy")
        findings = ranked_findings(result)
        message = "; ".join(finding.message for finding in result.findings if finding.severity in COUNTED_SEVERITIES)
    except UserError as error:
        ended, message, findings = "refused", str(error), ((CONFIGURATION_ERROR, "failure", "configuration"),)
    except Exception as error:  # noqa: BLE001 - a crash is an outcome of the benchmark
        frames = traceback.extract_tb(error.__traceback__)
        frame = next((one for one in reversed(frames) if "/pipeline/" in one.filename), frames[-1])
        ended, message = "crashed", f"{type(error).__name__}: {error} ({Path(frame.filename).name}:{frame.lineno})"
    finally:
        shutil.rmtree(outputs, ignore_errors=True)
    return Record(case.name, seed, ended, findings, score, time.perf_counter() - started, message)


def ranked_findings(result: RunResult) -> tuple[tuple[str, str, str], ...]:
    """Return the warnings and failures of a run, ranked over all stages: (check, severity, stage)."""
    return tuple(
        (finding.check, finding.severity, finding.stage)
        for finding in result.diagnosis
        if finding.severity in COUNTED_SEVERITIES
    )
