"""One round of a search as an Optuna study that any number of processes and machines may share.

A round's trials are rows that wait from the beginning, so there is nothing to agree on but who takes which: the storage
lets one process alone turn a row from waiting to running. Whoever takes trials signs them and gives a sign of life
every few seconds; rows whose owner is gone wait again. A row is finished once, so that its result counts once, even if
somebody who was thought dead comes back with it.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from pipeline.record import in_numbers, in_words
from pipeline.search.sampling import distribution, in_advance, led, suggested
from pipeline.search.settings import Settings
from pipeline.search.trial import COMPLETE, KILLED, PRUNED, RUNNING, WAITING, Round, Trial, Value, round_from, round_to

BEAT = 5.0
"""Seconds between two signs of life."""
SILENCE = 60.0
"""Without one for so long, an owner on another machine is gone. On this machine its process is looked for instead."""
KILLS = 2
"""A trial that ends so many workers is given up."""


@dataclass(frozen=True)
class Claim:
    """A trial that is ours to run."""

    id: int
    number: int
    """Within its round."""
    params: dict[str, Value]
    sampler: str


class Me:
    """Who takes trials: this process."""

    def __init__(self) -> None:
        self.token = secrets.token_hex(6)
        self.host, self.pid = socket.gethostname(), os.getpid()
        self.since = _since(self.pid)

    def sign(self) -> dict[str, Any]:
        return {"host": self.host, "pid": self.pid, "since": self.since, "beat": time.time()}


class RoundStudy:
    """The rows of one round."""

    def __init__(
        self, storage: BaseStorage, name: str, index: int, *, round: Round, me: Me, settings: Settings, offset: int
    ):
        self.storage, self.name, self.index, self.me, self.settings = storage, name, index, me, settings
        self.offset = offset
        """Trials of the rounds before."""
        self.id = storage.get_study_id_from_name(name)
        self.round = self._asked_for(round)
        self.samplers = settings.samplers(index)
        self._heard: dict[str, tuple[float, float]] = {}
        self._beaten = 0.0
        self._studies: dict[str, optuna.Study] = {}
        self._asking: dict[int, optuna.Trial] = {}

    def _asked_for(self, round: Round) -> Round:
        """The round as its maker noted it. All come to the same one; a maker who was killed noted none."""
        noted = self.storage.get_study_user_attrs(self.id).get("round")
        return round if noted is None else round_from(noted)

    # ------------------------------------------------------------------ making the rows

    @staticmethod
    def made(storage: BaseStorage, name: str, round: Round, *, direction: str, me: Me) -> bool:
        """Make the study; False where it is there already: the name is the lock."""
        way = optuna.study.StudyDirection.MAXIMIZE if direction == "maximize" else optuna.study.StudyDirection.MINIMIZE
        try:
            id_ = storage.create_new_study([way], name)
        except DuplicatedStudyError:
            return False
        storage.set_study_user_attr(id_, "maker", {"token": me.token} | me.sign())
        storage.set_study_user_attr(id_, "round", round_to(round))
        return True

    def may_fill(self) -> bool:
        """Whether it is ours to make the rows: the maker's own, and where the maker is gone, the first by name of
        those who live."""
        maker = self.storage.get_study_user_attrs(self.id).get("maker")
        if maker is not None and (maker["token"] == self.me.token or self._lives(maker["token"], maker)):
            return maker["token"] == self.me.token
        signs = self._signs()
        return self.me.token == min(t for t, sign in signs.items() if t == self.me.token or self._lives(t, sign))

    def fill(self) -> None:
        """Add the rows that are missing, in their order; those of a maker who was killed half-way are kept."""
        rows = [row for sampler in self.samplers for row in self._planned(sampler)]
        there = len(self._rows())
        distributions = {p.key: distribution(p) for p in self.round.parameters}
        for sampler, params in rows[there:]:
            template = create_trial(
                state=TrialState.WAITING,
                params=params or {},
                distributions=distributions if params else {},
                user_attrs={"sampler": sampler},
            )
            self.storage.create_new_trial(self.id, template_trial=template)
        self.storage.set_study_user_attr(self.id, "rows", len(rows))

    def _planned(self, sampler: str) -> list[tuple[str, dict[str, Value] | None]]:
        seed, n = self.settings.seed, self.round.trials
        planned = in_advance(sampler, self.round.parameters, n, seed=seed, round=self.index)
        return [(sampler, params) for params in planned] if planned is not None else [(sampler, None)] * n

    def budget(self) -> int | None:
        """How many rows there are to be; None while they are being made."""
        return self.storage.get_study_user_attrs(self.id).get("rows")

    # ------------------------------------------------------------------ taking and giving back

    def _rows(self, *states: TrialState) -> list[FrozenTrial]:
        rows = self.storage.get_all_trials(self.id, deepcopy=False, states=states or None)
        budget = self.budget()
        return [row for row in rows if budget is None or row.number < budget]

    def claim(self) -> Claim | None:
        """Take the first row that waits; None where none does."""
        for row in self._rows(TrialState.WAITING):
            try:
                if not self.storage.set_trial_state_values(row._trial_id, TrialState.RUNNING):
                    continue
            except UpdateFinishedTrialError:
                continue
            self.storage.set_trial_user_attr(row._trial_id, "owner", self.me.token)
            sampler = row.user_attrs["sampler"]
            return Claim(row._trial_id, row.number, dict(row.params) or self._led(row._trial_id, sampler), sampler)
        return None

    def _led(self, id_: int, sampler: str) -> dict[str, Value]:
        """The values that a sampler chooses by the scores so far."""
        trial = self._asked(id_, sampler)
        return {p.key: suggested(trial, p) for p in self.round.parameters}

    def _asked(self, id_: int, sampler: str) -> optuna.Trial:
        """The row as Optuna's running trial, which samplers and pruners know."""
        if sampler not in self._studies:
            self._studies[sampler] = optuna.load_study(
                study_name=self.name,
                storage=self.storage,
                sampler=led(sampler, seed=self.settings.seed, round=self.index),
                pruner=_pruner(self.settings.pruner, self.round.epochs),
            )
        if id_ not in self._asking:
            self._asking[id_] = optuna.Trial(self._studies[sampler], id_)
        return self._asking[id_]

    def hopeless(self, claim: Claim, epoch: int, score: float) -> bool:
        """Whether the pruner would stop the trial; notes its score."""
        trial = self._asked(claim.id, claim.sampler)
        trial.report(score, epoch)
        return trial.should_prune()

    def release(self, id_: int) -> None:
        """Let the row wait again."""

        def give_back() -> None:
            self.storage.set_trial_user_attr(id_, "owner", "")
            self.storage.set_trial_state_values(id_, TrialState.WAITING)

        self._quietly(give_back)

    def killed(self, claim: Claim, reason: str) -> bool:
        """Note that the trial's worker died. It waits again, once; True where it is given up."""
        kills = int(self.storage.get_trial(claim.id).user_attrs.get("kills", 0)) + 1
        if kills >= KILLS:
            again = f"{reason}, {kills} times" if kills > 1 else reason
            return self.finish(claim, {"state": KILLED, "reason": again})
        self._quietly(lambda: self.storage.set_trial_user_attr(claim.id, "kills", kills))
        self.release(claim.id)
        return False

    def finish(self, claim: Claim, result: dict[str, Any]) -> bool:
        """Tell the result: `state`, and what else a `Trial` has. False where the row is no longer ours."""
        if self.storage.get_trial(claim.id).user_attrs.get("owner") != self.me.token:
            return False
        state = {COMPLETE: TrialState.COMPLETE, PRUNED: TrialState.PRUNED}.get(result["state"], TrialState.FAIL)
        values = [result["score"]] if state is TrialState.COMPLETE else None

        def tell() -> None:
            self.storage.set_trial_user_attr(claim.id, "result", in_words(result))
            self.storage.set_trial_state_values(claim.id, state, values)

        self._asking.pop(claim.id, None)
        return self._quietly(tell)

    @staticmethod
    def _quietly(change: Callable[[], object]) -> bool:
        """False where somebody has finished the row meanwhile."""
        try:
            change()
        except UpdateFinishedTrialError:
            return False
        return True

    # ------------------------------------------------------------------ who is alive

    def beat(self, *, now: bool = False) -> None:
        """A sign of life, if one is due."""
        if now or time.monotonic() - self._beaten >= BEAT:
            self._beaten = time.monotonic()
            self.storage.set_study_user_attr(self.id, f"alive/{self.me.token}", self.me.sign())

    def leave(self) -> None:
        """No longer alive: what we had taken waits again."""
        for row in self._rows(TrialState.RUNNING):
            if row.user_attrs.get("owner") == self.me.token:
                self.release(row._trial_id)
        self.storage.set_study_user_attr(self.id, f"alive/{self.me.token}", None)

    def others(self) -> list[dict[str, Any]]:
        """Signs of those who live, without us."""
        signs = self._signs()
        return [signs[token] for token in signs if token != self.me.token and self._lives(token, signs[token])]

    def requeue(self) -> int:
        """Let the rows of owners who are gone wait again; how many."""
        signs, found = self._signs(), 0
        alone = not self.others()
        for row in self._rows(TrialState.RUNNING):
            owner = row.user_attrs.get("owner", "")
            if owner != self.me.token and (alone or not self._lives(owner, signs.get(owner))):
                self.release(row._trial_id)
                found += 1
        return found

    def _signs(self) -> dict[str, dict[str, Any]]:
        attrs = self.storage.get_study_user_attrs(self.id)
        return {key.partition("/")[2]: value for key, value in attrs.items() if key.startswith("alive/") and value}

    def _lives(self, token: str, sign: dict[str, Any] | None) -> bool:
        """On this machine, whether its process does; on another, whether its sign changed of late by our clock. An
        owner without a sign has just taken the row, or was killed before it could sign it."""
        if sign is not None and sign["host"] == self.me.host:
            return _since(sign["pid"]) == sign["since"]
        beat = sign["beat"] if sign else 0.0
        before, since = self._heard.get(token, (None, 0.0))
        if beat != before:
            self._heard[token] = beat, time.monotonic()
            return True
        return time.monotonic() - since < SILENCE

    # ------------------------------------------------------------------ as plain data

    def finished(self) -> bool:
        """Whether every row is."""
        return self.count_finished() == self.budget()

    def count_finished(self) -> int:
        return sum(row.state.is_finished() for row in self._rows())

    def trials(self, overrides: Callable[[Round, dict[str, Value]], Sequence[str]]) -> list[Trial]:
        """All rows; `overrides` are those of a round and parameters."""
        found = []
        for row in self._rows():
            result = dict(row.user_attrs.get("result", {})) if row.state.is_finished() else {}
            for key in ("score", "metrics", "curve"):
                if key in result:
                    result[key] = in_numbers(result[key])
            state = {TrialState.WAITING: WAITING, TrialState.RUNNING: RUNNING}.get(row.state, "")
            found.append(
                Trial(
                    number=self.offset + row.number,
                    round=self.index,
                    params=dict(row.params),
                    overrides=tuple(overrides(self.round, row.params)),
                    sampler=row.user_attrs["sampler"],
                    **({"state": state} if state else result),
                )
            )
        return found


def living(storage: BaseStorage, study: str, me: Me) -> list[dict[str, Any]]:
    """Signs of the other processes that work on any round of a search."""
    found: list[dict[str, Any]] = []
    for one in storage.get_all_studies():
        if one.study_name.rpartition(".")[0] == study:
            signs = {k.partition("/")[2]: v for k, v in one.user_attrs.items() if k.startswith("alive/") and v}
            found += [sign for token, sign in signs.items() if token != me.token and _alive(sign, me)]
    return found


def _alive(sign: dict[str, Any], me: Me) -> bool:
    """Of this machine's processes, whether it runs; of another's, whether it gave a sign within `SILENCE`."""
    if sign["host"] == me.host:
        return _since(sign["pid"]) == sign["since"]
    return abs(time.time() - sign["beat"]) < SILENCE


def _pruner(name: str, epochs: int) -> optuna.pruners.BasePruner:
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=0)
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=max(1, epochs))
    return optuna.pruners.NopPruner()


def _since(pid: int) -> str | None:
    """When a process began, so that a number that is given anew is told from the old one; None where there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        state, *rest = stat.rpartition(")")[2].split()
        return None if state in "ZX" else rest[18]
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
    try:  # without /proc
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "alive"
