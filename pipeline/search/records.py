"""A search as plain data: its parameters, rounds and trials, and search.json, the file that holds them.

The position of a value in its parameter's range is a number from 0 to 1, in log space where the parameter is sampled in
log space. Rules about edges, gaps and good regions work on positions, so they need no units.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.runs.json_files import command_line, decode_nonfinite, to_json
from pipeline.runs.paths import write_text

SCHEMA = 1
SEARCH_JSON = "search.json"

Value = float | int | str | bool | None
"""A value of a parameter. A choice that is a list or a dictionary is the text that was typed."""

COMPLETE, BROKEN, PRUNED, CRASHED, KILLED = "complete", "broken", "pruned", "crashed", "killed"
RUNNING, WAITING = "running", "waiting"
FINISHED = (COMPLETE, BROKEN, PRUNED, CRASHED, KILLED)


@dataclass(frozen=True)
class Parameter:
    """The range of one parameter in one round."""

    key: str
    """The key as typed, without `+`."""
    kind: str
    """`float`, `int` or `choice`."""
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: float | None = None
    """Distance between neighbouring values; None: any number in the range (for `int`: any whole number)."""
    choices: tuple[Value, ...] = ()
    sign: str = ""
    """`+` or `++` if it was typed before the key."""

    def to_unit(self, value: Value) -> float:
        """Return the position of `value` in the range: 0 at `low`, 1 at `high`, outside [0, 1] beyond them.

        The position of a choice is its index divided by that of the last choice.
        """
        if self.kind == "choice":
            return self.choices.index(value) / max(1, len(self.choices) - 1)
        assert isinstance(value, (int, float))
        low, high, scaled = (self._scale(x) for x in (self.low, self.high, value))
        return (scaled - low) / (high - low) if high > low else 0.5

    def from_unit(self, position: float) -> float:
        """Return the value at `position`, the inverse of `to_unit`; rounded for a parameter of whole numbers."""
        low, high = self._scale(self.low), self._scale(self.high)
        value = low + position * (high - low)
        value = math.exp(value) if self.log else value
        return round(value) if self.kind == "int" else value

    def _scale(self, value: float) -> float:
        return math.log(value) if self.log else float(value)


@dataclass(frozen=True)
class RangeChange:
    """The change of one parameter's range from the previous round."""

    key: str
    kind: str
    """`narrowed`, `widened`, `kept`, or `dropped` (none of the good trials has the parameter)."""
    edge: str
    """The edge of the range at which the good trials lay: `low`, `high` or empty."""
    message: str


@dataclass(frozen=True)
class Round:
    """A part of a search with fixed ranges. Widening inserts a further round of the same name."""

    name: str
    """The option of `search=`: `coarse` or `fine`."""
    parameters: tuple[Parameter, ...]
    trials: int
    """Number of trials of each sampler."""
    epochs: int
    moves: tuple[RangeChange, ...] = ()


@dataclass(frozen=True)
class Trial:
    """One trial, finished or not."""

    number: int
    """Number in the search, from 0, counted over all rounds."""
    round: int
    """Index of the round."""
    params: dict[str, Value]
    overrides: tuple[str, ...]
    """The overrides that, appended to the base overrides of the search, repeat the trial as a run of its own."""
    state: str
    """complete, broken (the cost exploded or is not finite), pruned, crashed, killed, running or waiting."""
    reason: str = ""
    """The reason for which the trial is not complete."""
    score: float | None = None
    """`Search.metric` on the validation split; None if there is none."""
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0
    directory: str = ""
    """Directory relative to that of the search; empty if the trial wrote none."""
    scores: list[float] = dataclasses.field(default_factory=list)
    """The score after each epoch."""
    seed: int = 0
    worker: str = ""
    sampler: str = "random"


@dataclass(frozen=True)
class Search:
    """The state of a whole search."""

    name: str
    """Name of its Optuna studies, without the number of the round."""
    directory: str
    command: str
    base: tuple[str, ...]
    """The overrides that all trials share."""
    direction: str
    """`maximize` or `minimize`."""
    metric: str
    """`val_accuracy` or `val_loss`."""
    examples: int
    """Size of the validation split, which limits the precision of an accuracy."""
    seed: int
    storage: str
    rounds: tuple[Round, ...] = ()
    trials: tuple[Trial, ...] = ()
    finished: bool = False

    def command_for(self, recipe: str) -> str:
        """Return the command that trains with `recipe`, with the directory of options that the search used."""
        flags = [arg for arg in shlex.split(self.command) if arg.startswith("--config-dir=")]
        return command_line([*flags, f"experiment={recipe}"])

    def ranking(self) -> list[Trial]:
        """Return the complete trials, the best first."""
        return rank_trials(list(self.trials), direction=self.direction, examples=self.examples)


def rank_trials(trials: list[Trial], *, direction: str, examples: int) -> list[Trial]:
    """Return the complete trials, the best first.

    Accuracies within one standard error of the highest count as equal, since on 250 images an accuracy of 0.9 is
    uncertain by 0.02. The loss on the validation split decides between them.
    """
    complete = [trial for trial in trials if trial.state == COMPLETE and trial.score is not None]
    if direction == "minimize" or not complete:
        return sorted(complete, key=lambda trial: (trial.score, trial.number))
    highest = max(trial.score or 0.0 for trial in complete)
    has_error = 0 < highest < 1 and examples > 0
    threshold = highest - math.sqrt(highest * (1 - highest) / examples) if has_error else highest

    def order(trial: Trial) -> tuple[float, float, int]:
        score = trial.score or 0.0
        loss = trial.metrics.get("val_loss", math.inf)
        return (-min(score, threshold), loss if score >= threshold else -score, trial.number)

    return sorted(complete, key=order)


def write_search(search: Search) -> None:
    """Write search.json into the directory of the search, in one move."""
    content = {"schema": SCHEMA} | dataclasses.asdict(search)
    write_text(Path(search.directory) / SEARCH_JSON, to_json(content, indent=1) + "\n")


def read_search(directory: Path) -> Search:
    """Read search.json. Raise `OSError` or `ValueError` if there is none that can be read."""
    content = json.loads((directory / SEARCH_JSON).read_text())
    if not isinstance(content, dict) or content.pop("schema", None) != SCHEMA:
        raise ValueError(f"{directory / SEARCH_JSON} is not a search of schema {SCHEMA}")
    rounds = tuple(round_from_dict(fields) for fields in content.pop("rounds"))
    trials = tuple(_trial_from_dict(fields) for fields in content.pop("trials"))
    content["base"] = tuple(content["base"])
    return Search(**content | {"directory": str(directory)}, rounds=rounds, trials=trials)


def round_to_dict(search_round: Round) -> dict[str, Any]:
    """Return the round as JSON data."""
    return dataclasses.asdict(search_round)


def round_from_dict(fields: dict[str, Any]) -> Round:
    """Return the round that `round_to_dict` wrote."""
    parameters = tuple(Parameter(**p | {"choices": tuple(p["choices"])}) for p in fields["parameters"])
    return Round(**fields | {"parameters": parameters, "moves": tuple(RangeChange(**move) for move in fields["moves"])})


def _trial_from_dict(fields: dict[str, Any]) -> Trial:
    numbers = {key: decode_nonfinite(fields[key]) for key in ("score", "metrics", "scores")}
    return Trial(**fields | numbers | {"overrides": tuple(fields["overrides"])})
