"""Searches whose truth is known: the score is a function of the parameters."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.search.records import Parameter, RangeChange, Round, Search, Trial

LR = Parameter(key="optimizer.lr", kind="float", low=1e-5, high=1.0, log=True)
L2 = Parameter(key="regularization.l2", kind="float", low=1e-6, high=1e-2, log=True)
WIDTH = Parameter(key="model.width", kind="int", low=8, high=64)
ACTIVATION = Parameter(key="activation", kind="choice", choices=("relu", "elu", "maxout"))


def score_of(params: dict[str, Any]) -> float | None:
    """Return the score: the rate decides, above 0.3 the training breaks, and the activation matters a little."""
    lr = params["optimizer.lr"]
    if lr > 0.3:
        return None
    return max(0.1, 0.9 - 0.06 * (math.log10(lr) + 1.5) ** 2 - (0.02 if params.get("activation") == "maxout" else 0))


def draw(parameter: Parameter, rng: random.Random) -> Any:
    return rng.choice(parameter.choices) if parameter.kind == "choice" else parameter.from_unit(rng.random())


def trial_of(number: int, *, round_index: int, params: dict[str, Any], epochs: int = 3, **changes: Any) -> Trial:
    score = score_of(params)
    scores = [] if score is None else [score * (1 - 0.5 ** (epoch + 1)) for epoch in range(epochs - 1)] + [score]
    fields: dict[str, Any] = {
        "number": number,
        "round": round_index,
        "params": params,
        "overrides": (*(f"{key}={value}" for key, value in params.items()), "stage=[train]", "stages.train.epochs=3"),
        "state": "broken" if score is None else "complete",
        "reason": "the cost exceeded 3 x the original cost at step 4" if score is None else "",
        "score": score,
        "metrics": {} if score is None else {"val_accuracy": score, "val_loss": 2.3 * (1 - score)},
        "seconds": 0.05,
        "directory": f"trials/{number:04d}",
        "scores": scores,
        "worker": f"w{number % 2}",
    }
    return Trial(**fields | changes)


@pytest.fixture
def search_of(tmp_path: Path) -> Callable[..., Search]:
    """Return `search_of(trials=40)`: a search with a coarse round, and with `fine=True` one around the good rate."""

    def make(
        *parameters: Parameter, trials: int = 40, fine: bool = False, seed: int = 0, samplers: tuple[str, ...] = ()
    ) -> Search:
        rng = random.Random(seed)
        first = parameters or (LR, L2, ACTIVATION)
        results = []
        for sampler in samplers or ("random",):
            for _ in range(trials):
                params = {p.key: draw(p, rng) for p in first}
                results.append(trial_of(len(results), round_index=0, params=params, sampler=sampler))
        rounds = [Round(name="coarse", parameters=first, trials=trials, epochs=3)]
        if fine:
            near = Parameter(key="optimizer.lr", kind="float", low=1e-3, high=0.3, log=True)
            second = tuple(near if p.key == near.key else p for p in first)
            change = RangeChange(near.key, "narrowed", "", "optimizer.lr: narrowed")
            rounds.append(Round(name="fine", parameters=second, trials=trials // 2, epochs=6, moves=(change,)))
            for _ in range(trials // 2):
                params = {p.key: draw(p, rng) for p in second}
                results.append(trial_of(len(results), round_index=1, params=params, epochs=6))
        return Search(
            name="run",
            directory=str(tmp_path / "search"),
            command="python -m pipeline -m 'search=[coarse,fine]' data=digits",
            base=("data=digits", "search=[coarse,fine]", "model=mlp", "hydra/launcher=joblib"),
            direction="maximize",
            metric="val_accuracy",
            examples=180,
            seed=seed,
            storage="journal",
            rounds=tuple(rounds),
            trials=tuple(results),
            finished=True,
        )

    return make
