"""The rows of a round's study: what they contain before a trial, and the trial that a row has become."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState, create_trial

from pipeline.runs.json_files import decode_nonfinite
from pipeline.search.records import COMPLETE, PRUNED, RUNNING, WAITING, Round, Trial, Value
from pipeline.search.settings import SearchSettings
from pipeline.search.space.sampling import ActiveParameters
from pipeline.search.study.samplers import distribution, presample


@dataclass(frozen=True)
class ClaimedTrial:
    """A row that this process has claimed."""

    id: int
    number: int
    """Number within the round."""
    params: dict[str, Value]
    sampler: str


def waiting_rows(
    search_round: Round, round_index: int, settings: SearchSettings, active: ActiveParameters
) -> list[FrozenTrial]:
    """Return all rows of a round as they are before a trial.

    The rows of an adaptive sampler have no parameters: it chooses them when the row is claimed.
    """
    distributions = {p.key: distribution(p) for p in search_round.parameters}
    rows = []
    for sampler in settings.samplers(round_index):
        points = presample(
            sampler,
            search_round.parameters,
            search_round.trials,
            seed=settings.seed,
            round_index=round_index,
            active=active,
        )
        for params in points if points is not None else [{} for _ in range(search_round.trials)]:
            row = create_trial(
                state=TrialState.WAITING,
                params=params,
                distributions={key: distributions[key] for key in params},
                user_attrs={"sampler": sampler},
            )
            rows.append(row)
    return rows


def final_state(result: dict[str, Any]) -> TrialState:
    """Return Optuna's state of a trial with that result."""
    return {COMPLETE: TrialState.COMPLETE, PRUNED: TrialState.PRUNED}.get(result["state"], TrialState.FAIL)


def row_to_trial(
    row: FrozenTrial,
    search_round: Round,
    round_index: int,
    *,
    offset: int,
    overrides: Callable[[Round, dict[str, Value]], Sequence[str]],
) -> Trial:
    """Return the row as plain data. `offset`: number of trials in the rounds before."""
    fields = {
        "number": offset + row.number,
        "round": round_index,
        "params": dict(row.params),
        "overrides": tuple(overrides(search_round, row.params)),
        "sampler": row.user_attrs["sampler"],
    }
    if not row.state.is_finished():
        return Trial(**fields, state=RUNNING if row.state is TrialState.RUNNING else WAITING)
    result = dict(row.user_attrs.get("result", {}))
    numbers = {key: decode_nonfinite(result[key]) for key in ("score", "metrics", "scores") if key in result}
    return Trial(**fields | result | numbers)
