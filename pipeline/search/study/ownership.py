"""Whose study it is: the first to come makes it, and who comes later goes on with it, takes part, or is refused."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from pathlib import Path

from optuna.storages import BaseStorage

from pipeline.errors import UserError
from pipeline.search.plan import SearchPlan, plan_from_dict
from pipeline.search.records import Round
from pipeline.search.settings import SearchSettings
from pipeline.search.study.heartbeat import WorkerIdentity, alive_workers
from pipeline.search.study.round_study import RoundStudy


def open_or_join_study(
    storage: BaseStorage, search: str, first: Round, plan: SearchPlan, *, settings: SearchSettings, me: WorkerIdentity
) -> int:
    """The id of the first round's study, which keeps the plan. Raises `UserError` where the study is another search's,
    or where others work on it, unless `search.join` says so."""
    name = f"{search}.0"
    made = RoundStudy.create(storage, name, first, direction=settings.direction, me=me)
    id_ = storage.get_study_id_from_name(name)
    if made:
        storage.set_study_user_attr(id_, "plan", dataclasses.asdict(plan) | {"host": me.host})
        return id_
    noted = storage.get_study_user_attrs(id_).get("plan")
    if noted is not None:  # its maker was killed before
        _check(storage, search, plan_from_dict(noted), plan, join=settings.join, me=me)
    return id_


def _check(
    storage: BaseStorage, search: str, theirs: SearchPlan, ours: SearchPlan, *, join: bool, me: WorkerIdentity
) -> None:
    if theirs.fingerprint != ours.fingerprint:
        raise UserError(
            f"the study {search!r} is another search's: {theirs.command()}. Choose another name, or leave it out.",
            field="search.study",
        )
    if join:
        return
    if (theirs.directory, theirs.host) != (ours.directory, me.host):
        raise UserError(
            f"the study {search!r} is kept in {theirs.directory!r} on {theirs.host!r}. Go on there, or take "
            "part from here with search.join=true.",
            field="search.storage",
        )
    if others := alive_workers(storage, search, me):
        raise UserError(
            f"process {others[0]['pid']} on {others[0]['host']!r} works on this search. "
            "Wait for it, or take part with search.join=true.",
            field="search.join",
        )


def delete_study(storage: BaseStorage, id_: int, directory: Path) -> None:
    """Leave nothing of a search that could not begin."""
    storage.delete_study(id_)
    shutil.rmtree(directory, ignore_errors=True)
    with contextlib.suppress(OSError):
        for parent in list(directory.parents)[:2]:
            parent.rmdir()
