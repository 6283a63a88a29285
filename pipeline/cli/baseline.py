"""`diagnose NEW --baseline GOOD`: the verdict on a run or a log, with how it compares with a good one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.checks.baseline import CHECKS, EXPLAINS, STAGE, compare_signals
from pipeline.checks.judge import rank_findings
from pipeline.cli.diagnosis import Diagnosis
from pipeline.cli.diff import config_diff, read_flat_config
from pipeline.cli.rejudge import RejudgedStage
from pipeline.errors import UserError

NEUTRAL_KEYS = ("name", "outputs", "tags", "verbose", "report", "resume", "seed", "logger", "hydra")
"""Keys, or their first parts, that do not change what is computed, or only by chance."""
MAX_KEYS = 8


@dataclass(frozen=True)
class Compared:
    """A run or a log as one side of a comparison."""

    path: str
    signals: Mapping[str, Any]
    """Signals of the stage `train`."""
    config: Mapping[str, str] | None = None
    """Every key of a run's configuration."""


def of_run(directory: Path, signals: Mapping[str, Mapping[str, Any]]) -> Compared:
    """Return a run of this program as one side of a comparison."""
    try:
        config = read_flat_config(directory)
    except UserError:  # a run that `pipeline.watch` wrote has no configuration
        config = None
    return Compared(str(directory), signals.get("train", {}), config)


def compare(diagnosis: Diagnosis, new: Compared, good: Compared, *, fail_on: str) -> Diagnosis:
    """Return the verdict with a stage `baseline` of findings relative to the good run.

    `fail_on` is the severity from which these fail.
    """
    diagnosis = replace(diagnosis, baseline_fail_on=fail_on)
    findings, not_checked = compare_signals(new.signals, good.signals)
    passed = not any(map(diagnosis.fails, findings))
    stage = RejudgedStage(STAGE, passed, 0.0, f"compared with {good.path}", tuple(findings))
    unmet = {entry.check for entry in not_checked}
    return replace(
        diagnosis,
        stages=(*diagnosis.stages, stage),
        findings=rank_findings([*diagnosis.findings, *findings], {**diagnosis.explains, **EXPLAINS}),
        judged=[*diagnosis.judged, *(name for name in CHECKS if name not in unmet)],
        not_checked=[*diagnosis.not_checked, *not_checked],
        can_judge=diagnosis.can_judge and not {"baseline_loss", "baseline_validation"} <= unmet,
        read=[*diagnosis.read, *_configuration(new, good)],
    )


def _configuration(new: Compared, good: Compared) -> list[str]:
    """Return one line with the keys in which two runs are configured differently."""
    if new.config is None or good.config is None:
        return []
    rows = config_diff(dict(good.config), dict(new.config))
    keys = [key for key in rows if key.split(".")[0] not in NEUTRAL_KEYS]
    parts = [f"{key} {rows[key][0]} -> {rows[key][1]}" for key in keys[:MAX_KEYS]]
    more = f" and {len(keys) - MAX_KEYS} more" if len(keys) > MAX_KEYS else ""
    return [f"configured differently: {', '.join(parts)}{more}" if keys else "configured as the good run"]
