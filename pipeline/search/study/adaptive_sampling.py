"""Decisions that depend on the scores so far: the values that an adaptive sampler chooses, and pruning."""

from __future__ import annotations

import optuna

from pipeline.search.records import Round, Value
from pipeline.search.settings import SearchSettings
from pipeline.search.space.sampling import ActiveParameters
from pipeline.search.study.optuna_internals import running_trial
from pipeline.search.study.samplers import make_adaptive_sampler, make_pruner, suggest
from pipeline.search.study.storage import Storage


class AdaptiveSampler:
    """The claimed rows of a round as Optuna's running trials, which its samplers and pruners work on."""

    def __init__(
        self,
        storage: Storage,
        study_name: str,
        *,
        search_round: Round,
        round_index: int,
        settings: SearchSettings,
        active: ActiveParameters,
    ):
        self.storage, self.study_name, self.settings = storage, study_name, settings
        self.search_round, self.round_index, self.active = search_round, round_index, active
        self._studies: dict[str, optuna.Study] = {}
        self._trials: dict[int, optuna.Trial] = {}

    def suggest(self, id_: int, sampler: str) -> dict[str, Value]:
        """Return the parameters that the sampler chooses for the row, in the order of the round."""
        trial = self._trial(id_, sampler)
        params: dict[str, Value] = {}
        while pending := [p for p in self.active(self.search_round.parameters, params) if p.key not in params]:
            params |= {p.key: suggest(trial, p) for p in pending}
        return {p.key: params[p.key] for p in self.search_round.parameters if p.key in params}

    def should_prune(self, id_: int, sampler: str, *, epoch: int, score: float) -> bool:
        """Record the score after `epoch`, and return whether the pruner stops the trial."""
        trial = self._trial(id_, sampler)
        trial.report(score, epoch)
        return trial.should_prune()

    def discard(self, id_: int) -> None:
        """Forget a trial that has ended."""
        self._trials.pop(id_, None)

    def _trial(self, id_: int, sampler: str) -> optuna.Trial:
        if sampler not in self._studies:
            self._studies[sampler] = optuna.load_study(
                study_name=self.study_name,
                storage=self.storage,
                sampler=make_adaptive_sampler(sampler, seed=self.settings.seed, round_index=self.round_index),
                pruner=make_pruner(self.settings.pruner, epochs=self.search_round.epochs),
            )
        if id_ not in self._trials:
            self._trials[id_] = running_trial(self._studies[sampler], id_)
        return self._trials[id_]
