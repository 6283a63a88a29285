"""What a run may go on from: the newest unfinished run of the same configuration, or the one that was named."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.fixing import Fix
from pipeline.parts import Outcome
from pipeline.runs.pictures import read_pictures
from pipeline.runs.record import read_outcome, read_signals
from pipeline.workflow import read_outcomes

UNFINISHED = ("running", "interrupted", "error")


@dataclass(frozen=True)
class Resumable:
    """What an earlier run left; nothing where a run starts anew."""

    checkpoint: Path | None = None
    outcomes: tuple[Outcome, ...] = ()
    """Of stages that had passed, but for the training: its checkpoint says how far it was."""
    fixes: tuple[Fix, ...] = ()
    batch_size: int | None = None
    """Where the command of the run gives it."""


def find_resumable(
    wish: object, runs: Path, hash_: str, own: Path, *, fix: bool = False, auto: bool = False
) -> Resumable:
    """The checkpoint to go on from and the stages that had passed, as the key `resume` says.

    `auto`: the newest run in `runs` with the same configuration (`hash_`, which leaves out resume, verbose, name, tags,
    outputs and fix) that did not finish; none is no error, so that a job script may always say `resume=auto`. Otherwise
    a run's folder. With `fix` a run that remedies have changed since it was typed is the same run still, and the
    remedies that it tried come along; with `auto` so is one that chose its batch size.
    """
    if wish is None:
        return Resumable()
    if wish != "auto":
        record = read_outcome(Path(str(wish)))
        if record is None:
            raise UserError(f"{str(wish)!r} is no run's folder (it has no readable outcome.json).", field="resume")
        if not _same(record, hash_, fix or auto):
            raise UserError(
                f"{str(wish)!r} was run with another configuration; give the options it was run with: "
                f"{record['command']}",
                field="resume",
            )
        return _left(Path(str(wish)), record, fix)
    for folder in sorted(runs.glob("*"), reverse=True):
        record = read_outcome(folder)
        if folder != own and record and _same(record, hash_, fix or auto) and record["status"] in UNFINISHED:
            return _left(folder, record, fix)
    return Resumable()


def _same(record: dict[str, Any], hash_: str, changed: bool) -> bool:
    return record["config_hash"] == hash_ or (changed and record.get("typed_hash") == hash_)


def _left(folder: Path, record: dict[str, Any], fix: bool) -> Resumable:
    checkpoint = folder / "checkpoints" / "last.ckpt"
    outcomes = read_outcomes(record, read_signals(folder), read_pictures(folder))
    return Resumable(
        checkpoint if checkpoint.exists() else None,
        tuple(outcome for outcome in outcomes if outcome.name != "train" and outcome.passed),
        tuple(Fix.from_dict(told) for told in record.get("fixes", ())) if fix else (),
        int(sizes[-1]) if (sizes := re.findall(r"\bdata\.batch_size=(\d+)", record["command"])) else None,
    )
