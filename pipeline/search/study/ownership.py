"""The owner of a study: the first process creates it; a later one continues it, takes part, or is refused."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil

from pipeline.errors import UserError
from pipeline.search.plan import SearchPlan, SearchRequest, request_from_dict, restore_plan
from pipeline.search.records import round_from_dict
from pipeline.search.study.heartbeat import WorkerIdentity, alive_workers
from pipeline.search.study.round_study import RoundStudy
from pipeline.search.study.search_study import SearchStudy
from pipeline.search.study.storage import Storage, open_storage


def open_or_join_study(plan: SearchPlan, identity: WorkerIdentity) -> SearchStudy:
    """Open the study of the planned search, and create it if it does not exist.

    Raise `UserError` if the study belongs to another search, or if other processes work on it and `search.join` is not
    set.
    """
    storage = open_storage(plan.storage_address)
    name = f"{plan.study_name}.0"
    created = RoundStudy.create(storage, name, plan.first_round, direction=plan.settings.direction, identity=identity)
    id_ = storage.get_study_id_from_name(name)
    if created:
        storage.set_study_user_attr(id_, "plan", dataclasses.asdict(plan.request) | {"host": identity.host})
    elif (stored := storage.get_study_user_attrs(id_).get("plan")) is not None:  # None: its creator was killed
        _check_owner(storage, plan, request_from_dict(stored), identity)
    return SearchStudy(storage, plan.study_name, plan.settings, plan.trial_configs, identity)


def join_stored_study(
    storage_address: str, study_name: str, identity: WorkerIdentity
) -> tuple[SearchPlan, SearchStudy]:
    """Open a study that another process has created, and restore its plan from the storage."""
    storage = open_storage(storage_address)
    attributes = storage.get_study_user_attrs(storage.get_study_id_from_name(f"{study_name}.0"))
    plan = restore_plan(
        request_from_dict(attributes["plan"]),
        round_from_dict(attributes["round"]),
        storage=storage_address,
        study_name=study_name,
    )
    return plan, SearchStudy(storage, study_name, plan.settings, plan.trial_configs, identity)


def delete_study(study: SearchStudy, plan: SearchPlan) -> None:
    """Delete a search that could not begin, with its directory and the directories above it that are then empty."""
    study.delete()
    shutil.rmtree(plan.directory, ignore_errors=True)
    with contextlib.suppress(OSError):
        for parent in list(plan.directory.parents)[:2]:
            parent.rmdir()


def _check_owner(storage: Storage, plan: SearchPlan, owner: SearchRequest, identity: WorkerIdentity) -> None:
    request = plan.request
    if owner.fingerprint != request.fingerprint:
        raise UserError(
            f"the study {plan.study_name!r} belongs to another search: {owner.command()}. "
            "Choose another name, or leave the name out.",
            field="search.study",
        )
    if plan.settings.join:
        return
    if (owner.directory, owner.host) != (request.directory, identity.host):
        raise UserError(
            f"the study {plan.study_name!r} belongs to the directory {owner.directory!r} on {owner.host!r}. "
            "Continue it there, or take part from here with search.join=true.",
            field="search.storage",
        )
    if peers := alive_workers(storage, plan.study_name, identity):
        raise UserError(
            f"process {peers[0]['pid']} on {peers[0]['host']!r} works on this search. "
            "Wait until it ends, or take part with search.join=true.",
            field="search.join",
        )
