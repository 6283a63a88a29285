"""All rounds of one search in the storage: the Optuna studies `<name>.0`, `<name>.1`, ..."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from pipeline.search.records import Round, Trial
from pipeline.search.settings import SearchSettings
from pipeline.search.space.trial_configs import TrialConfigs
from pipeline.search.study.heartbeat import WorkerIdentity
from pipeline.search.study.round_study import RoundStudy
from pipeline.search.study.storage import Storage

WAIT_SECONDS = 0.2
"""Seconds between two looks whether another process has added all rows of a round."""


@dataclass
class SearchStudy:
    """The rounds of a search, as one process sees them."""

    storage: Storage
    name: str
    settings: SearchSettings
    trial_configs: TrialConfigs
    identity: WorkerIdentity
    rounds: list[RoundStudy] = field(default_factory=list)
    """The rounds that this process has opened, in order."""

    def open_round(self, search_round: Round) -> RoundStudy:
        """Open the next round, and add its rows unless another process does."""
        study = self._create_round(search_round)
        self.rounds.append(study)
        return study

    def create_first_round(self, first_round: Round) -> None:
        """Add the rows of the first round, which other processes run."""
        self._create_round(first_round).close()

    def read_rounds(self, first_round: Round) -> None:
        """Open the rounds that other processes have run. `first_round` stands in for a round without a description."""
        names = {study.study_name for study in self.storage.get_all_studies()}
        while (name := f"{self.name}.{len(self.rounds)}") in names:
            self.rounds.append(self._next_round_study(name, first_round))

    def trials(self) -> list[Trial]:
        """Return the trials of all rounds so far."""
        return [trial for study in self.rounds for trial in study.trials(self.trial_configs.overrides)]

    def _create_round(self, search_round: Round) -> RoundStudy:
        name = f"{self.name}.{len(self.rounds)}"
        RoundStudy.create(self.storage, name, search_round, direction=self.settings.direction, identity=self.identity)
        study = self._next_round_study(name, search_round)
        study.heartbeats.send(now=True)
        while study.total_trials() is None:
            if study.is_enqueuer():
                study.enqueue_trials()
            else:
                time.sleep(WAIT_SECONDS)
        return study

    def _next_round_study(self, name: str, search_round: Round) -> RoundStudy:
        return RoundStudy(
            self.storage,
            name,
            len(self.rounds),
            search_round=search_round,
            identity=self.identity,
            settings=self.settings,
            offset=sum(study.total_trials() or 0 for study in self.rounds),
            active=self.trial_configs.active_parameters,
        )

    # ------------------------------------------------------------------ the size of the validation split

    def stored_examples(self) -> int | None:
        """Return the size of the validation split, or None if no process has checked the configuration yet."""
        return self.storage.get_study_user_attrs(self._first_id()).get("examples")

    def store_examples(self, examples: int) -> None:
        """Store the size of the validation split: the configuration is valid."""
        self.storage.set_study_user_attr(self._first_id(), "examples", examples)

    def delete(self) -> None:
        """Delete the first round, of a search that could not begin."""
        self.storage.delete_study(self._first_id())

    def _first_id(self) -> int:
        return self.storage.get_study_id_from_name(f"{self.name}.0")
