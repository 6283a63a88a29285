"""Finds the run to continue: the newest unfinished one of the same configuration, or the one that was named."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.runs.images import read_pictures
from pipeline.runs.json_files import read_outcome, read_signals
from pipeline.runs.paths import FINETUNE
from pipeline.workflow.attempt import FixAttempt
from pipeline.workflow.outcome import Outcome, outcomes_from_record
from pipeline.workflow.train_longer import changed_keys, check_train_longer

UNFINISHED = ("running", "interrupted", "error")


@dataclass(frozen=True)
class ResumePoint:
    """What an earlier run left; empty where a run starts from the beginning."""

    checkpoint: Path | None = None
    outcomes: tuple[Outcome, ...] = ()
    """Stages that had passed, without the trainings: their checkpoints say how far they were."""
    fixes: tuple[FixAttempt, ...] = ()
    batch_size: int | None = None
    """The batch size in the command of the earlier run."""
    note: str | None = None
    """What differs from the earlier run, for the user."""


def find_resume_point(
    requested: object,
    runs: Path,
    typed_hash: str,
    current_dir: Path,
    *,
    with_fixes: bool = False,
    with_batch_size: bool = False,
    config: Mapping[str, Any] | None = None,
) -> ResumePoint:
    """Return the checkpoint to continue from and the stages that had passed, as the key `resume` asks.

    `requested` is None (start from the beginning), a run's directory, or `auto`: the newest run in `runs` that has the
    same configuration and did not finish. With `auto` no such run is no error, so that a job script may always say
    `resume=auto`. Configurations are compared by `typed_hash`, which leaves out what does not change the result.
    `with_fixes`: a run that remedies have changed since it was typed is still the same run, and its attempts come
    along. `with_batch_size`: so is a run that has chosen its batch size.

    A named run may have trained for fewer epochs than `config`, the configuration of this one, asks for: its training
    goes on, and the stages after it run again (`pipeline.workflow.train_longer`). Raises `UserError` where `requested`
    is no run's directory or has another configuration.
    """
    if requested is None:
        return ResumePoint()
    by_typed_hash = with_fixes or with_batch_size
    if requested != "auto":
        run_dir = Path(str(requested))
        record = read_outcome(run_dir)
        if record is None:
            raise UserError(
                f"{str(requested)!r} is not a run's directory: it has no readable outcome.json.", field="resume"
            )
        point = _read_resume_point(run_dir, record, with_fixes)
        if _has_hash(record, typed_hash, by_typed_hash):
            return point
        config = config or {}
        note = check_train_longer(point.checkpoint, config, ignore_batch_size=with_batch_size)
        if note is None:
            changed = changed_keys(point.checkpoint, config, ignore_batch_size=with_batch_size)
            raise UserError(
                f"{str(requested)!r} was run with another configuration{_listed(changed)}. Give the options it was run "
                f"with: {record['command']}",
                field="resume",
            )
        return replace(point, outcomes=_before_training(point.outcomes, config), note=note)
    for run_dir in sorted(runs.glob("*"), reverse=True):
        record = read_outcome(run_dir)
        if (
            run_dir != current_dir
            and record
            and _has_hash(record, typed_hash, by_typed_hash)
            and record["status"] in UNFINISHED
        ):
            return _read_resume_point(run_dir, record, with_fixes)
    return ResumePoint()


def _listed(changed: Mapping[str, tuple[Any, Any]]) -> str:
    """Return the changed keys in words, three of them at most."""
    if not changed:
        return ""
    changed = dict(sorted(changed.items(), key=lambda item: item[0].startswith("checks.")))
    words = [f"{key} was {before!r}, and is {now!r} here" for key, (before, now) in list(changed.items())[:3]]
    return f" ({'; '.join(words)}{'; and more' if len(changed) > 3 else ''})"


def _before_training(outcomes: tuple[Outcome, ...], config: Mapping[str, Any]) -> tuple[Outcome, ...]:
    """Return the outcomes of stages that do not depend on the training, by their order."""
    names = list(config["stages"])
    first = names[: names.index("train")]
    return tuple(outcome for outcome in outcomes if outcome.name in first)


def _has_hash(record: dict[str, Any], typed_hash: str, by_typed_hash: bool) -> bool:
    return record["config_hash"] == typed_hash or (by_typed_hash and record.get("typed_hash") == typed_hash)


def _read_resume_point(run_dir: Path, record: dict[str, Any], with_fixes: bool) -> ResumePoint:
    checkpoint = run_dir / "checkpoints" / "last.ckpt"
    outcomes = outcomes_from_record(record, read_signals(run_dir), read_pictures(run_dir))
    sizes = re.findall(r"\bdata\.batch_size=(\d+)", record["command"])
    return ResumePoint(
        checkpoint if checkpoint.exists() else None,
        tuple(outcome for outcome in outcomes if outcome.name not in ("train", FINETUNE) and outcome.passed),
        tuple(FixAttempt.from_dict(fields) for fields in record.get("fixes", ())) if with_fixes else (),
        int(sizes[-1]) if sizes else None,
    )
