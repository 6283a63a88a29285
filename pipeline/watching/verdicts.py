"""What becomes of the signals of a watched loop: findings, their output, the wish to stop, and the files."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pipeline.checks import Finding
from pipeline.report.console import console as make_console
from pipeline.report.finding_printer import FindingPrinter
from pipeline.validation import one_of
from pipeline.watching.default_checks import default_checks
from pipeline.watching.findings import Findings
from pipeline.watching.judge import judge, without
from pipeline.watching.run_files import WatchedRun

STAGE = "train"
"""The stage of the pipeline that measures the same."""
POLICIES = ("warn", "stop", "silent")


class Verdicts:
    """Judges a loop while it runs and at its end.

    `policy` is one of `POLICIES`, `ignore` are checks to leave out, `run` writes the files. Raises `UserError` for
    another policy, and for a check that does not exist.
    """

    def __init__(self, *, policy: str, ignore: Collection[str], run: WatchedRun | None):
        self.policy, self.ignore, self.run = one_of("policy", policy, POLICIES), tuple(ignore), run
        without(default_checks(), ignore)
        self.findings = Findings([])
        self.should_stop = False
        """Whether the loop should end: a failure was found under `policy="stop"`."""
        self.reported: set[tuple[str, str]] = set()
        """Check and severity of what was printed."""

    def judge_so_far(self, signals: Mapping[str, Any], *, headline: str) -> None:
        """Judge a loop that goes on: print findings that are new, and write the files without the page."""
        self.findings = judge(signals, stage=STAGE, ignore=self.ignore)
        new = [f for f in self.findings.at_least("warning") if (f.check, f.severity) not in self.reported]
        self.reported |= {(f.check, f.severity) for f in new}
        if self.policy != "silent" and new:
            self._print(new, step=len(signals["losses"]) * int(signals.get("steps_per_entry", 1)))
        self.should_stop |= self.policy == "stop" and bool(self.findings.at_least("failure"))
        if self.run is not None:
            self.run.write(STAGE, signals, self.findings, status="running", headline=headline)

    def conclude(self, signals: Mapping[str, Any], *, headline: str, error: BaseException | None) -> None:
        """Judge a loop that is over, also one that `error` has ended: print all findings, and write all files."""
        self.findings = judge(signals, stage=STAGE, ignore=self.ignore)
        status = "failed" if self.findings.at_least("failure") else "passed"
        if error is not None:
            status = "interrupted" if isinstance(error, KeyboardInterrupt) else "error"
        if self.policy != "silent":
            self.findings.print(shown=self.reported)
            if not signals["losses"]:
                make_console(ignore_broken_pipe=True).print(f"watch: {headline}")
        if self.run is not None:
            self.run.write(STAGE, signals, self.findings, status=status, headline=headline)

    def _print(self, findings: Sequence[Finding], *, step: int) -> None:
        console = make_console(ignore_broken_pipe=True)
        console.print(f"watch: step {step}")
        for finding in findings:
            FindingPrinter(console).print_finding(finding)


@contextmanager
def not_in_the_way() -> Iterator[None]:
    """Turn an error of the watch itself into a warning: it must not end the training that it watches."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever goes wrong here, the training is not at fault
        warnings.warn(f"watch cannot judge the training ({type(error).__name__}: {error}).", stacklevel=4)
