"""The files of a watched loop: signals.json, outcome.json and report.html, as a run of the pipeline has them."""

from __future__ import annotations

import platform
import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import CRASHED, FAILED, PASSED, SIGNALLED
from pipeline.report.run_page import write_report
from pipeline.runs.json_files import SCHEMA, write_outcome, write_signals
from pipeline.runs.versions import installed_versions
from pipeline.watching.findings import Findings

EXIT_CODES = {"passed": PASSED, "failed": FAILED, "error": CRASHED, "interrupted": SIGNALLED + 2, "running": None}


@dataclass
class WatchedRun:
    """Writes into `directory`, which is made if need be. The page is written at the end."""

    directory: Path
    name: str
    started: float = field(default_factory=time.perf_counter)

    def write(self, stage: str, signals: Mapping[str, Any], findings: Findings, *, status: str, headline: str) -> None:
        """Write signals and outcome; unless the loop is still `running`, the page as well."""
        self.directory.mkdir(parents=True, exist_ok=True)
        write_signals(self.directory, {stage: dict(signals)})
        write_outcome(self.directory, self._outcome(stage, signals, findings, status, headline))
        if status != "running":
            write_report(self.directory)

    def _outcome(
        self, stage: str, signals: Mapping[str, Any], findings: Findings, status: str, headline: str
    ) -> dict[str, Any]:
        seconds = round(time.perf_counter() - self.started, 3)
        entry = {
            "name": stage,
            "status": "failed" if status == "failed" else "passed",
            "seconds": seconds,
            "headline": headline,
            "memory": None,
            "metrics": _metrics(signals),
            "findings": [finding.to_dict() for finding in findings],
        }
        sizes = {"train": signals.get("train_examples"), "val": signals.get("val_examples")}
        return {
            "schema": SCHEMA,
            "status": status,
            "exit_code": EXIT_CODES[status],
            "seconds": seconds,
            "command": shlex.join(["python", *sys.argv]),
            "name": self.name,
            "tags": [],
            "seed": 0,
            "config_hash": "",
            "typed_hash": "",
            "resumed_from": None,
            "versions": {"python": platform.python_version(), **installed_versions()},
            "data": {
                "name": "watched loop",
                "fingerprint": "",
                "sizes": {split: size for split, size in sizes.items() if size},
                "classes": [],
                "class_counts": {},
            },
            "stages": [entry],
            "diagnosis": [
                {"check": f.check, "severity": f.severity, "stage": f.stage, "where": f.where} for f in findings
            ],
            "judged": findings.judged,
            "not_checked": [one.to_dict() for one in findings.not_checked],
            "fixes": [],
        }


def _metrics(signals: Mapping[str, Any]) -> dict[str, Any]:
    epochs = signals.get("epochs") or {}
    accuracies = [value for value in epochs.get("val_accuracy") or () if value is not None]
    if not accuracies:
        return {}
    best = max(accuracies)
    return {
        "epochs": len(epochs["epoch"]),
        "best_epoch": epochs["val_accuracy"].index(best),
        "val_accuracy": best,
    }
