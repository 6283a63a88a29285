"""What depends on the scores so far: the values that a learning sampler chooses, and whether a trial is hopeless."""

from __future__ import annotations

import optuna
from optuna.storages import BaseStorage

from pipeline.search.records import Round, Value
from pipeline.search.settings import SearchSettings
from pipeline.search.space.sampling import ActiveParameters, make_sampler, suggest


class AdaptiveSampler:
    """A round's rows as Optuna's running trials, which its samplers and pruners know."""

    def __init__(
        self,
        storage: BaseStorage,
        study: str,
        *,
        round: Round,
        index: int,
        settings: SearchSettings,
        applying: ActiveParameters,
    ):
        self.storage, self.study, self.round, self.index, self.settings = storage, study, round, index, settings
        self.active_parameters = applying
        self._studies: dict[str, optuna.Study] = {}
        self._trials: dict[int, optuna.Trial] = {}

    def suggest(self, id_: int, sampler: str) -> dict[str, Value]:
        """Of the row's parameters, chosen by the sampler."""
        trial = self._trial(id_, sampler)
        params: dict[str, Value] = {}
        while todo := [p for p in self.active_parameters(self.round.parameters, params) if p.key not in params]:
            params |= {p.key: suggest(trial, p) for p in todo}
        return {p.key: params[p.key] for p in self.round.parameters if p.key in params}

    def should_prune(self, id_: int, sampler: str, *, epoch: int, score: float) -> bool:
        """Whether the pruner would stop the trial; notes its score."""
        trial = self._trial(id_, sampler)
        trial.report(score, epoch)
        return trial.should_prune()

    def discard(self, id_: int) -> None:
        """The trial has ended."""
        self._trials.pop(id_, None)

    def _trial(self, id_: int, sampler: str) -> optuna.Trial:
        if sampler not in self._studies:
            self._studies[sampler] = optuna.load_study(
                study_name=self.study,
                storage=self.storage,
                sampler=make_sampler(sampler, seed=self.settings.seed, round=self.index),
                pruner=_pruner(self.settings.pruner, self.round.epochs),
            )
        if id_ not in self._trials:
            self._trials[id_] = optuna.Trial(self._studies[sampler], id_)
        return self._trials[id_]


def _pruner(name: str, epochs: int) -> optuna.pruners.BasePruner:
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=0)
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=max(1, epochs))
    return optuna.pruners.NopPruner()
