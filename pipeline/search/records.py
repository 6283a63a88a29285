"""A search as plain data: its parameters, rounds and trials, and search.json, in which it is kept.

Positions: every parameter's range is seen as 0 .. 1, in log space where it is sampled in log space, so that rules about
edges, gaps and good regions need to know no units.
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
FILE = "search.json"

Value = float | int | str | bool | None
"""Of a parameter. Choices that are lists or dictionaries are the text that was typed."""

COMPLETE, BROKEN, PRUNED, CRASHED, KILLED = "complete", "broken", "pruned", "crashed", "killed"
RUNNING, WAITING = "running", "waiting"
FINISHED = (COMPLETE, BROKEN, PRUNED, CRASHED, KILLED)


@dataclass(frozen=True)
class Parameter:
    """One parameter's range in one round."""

    key: str
    """As typed, without `+`."""
    kind: str
    """`float`, `int` or `choice`."""
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: float | None = None
    """Of a range of numbers; None: any number between (int: any whole one)."""
    choices: tuple[Value, ...] = ()
    sign: str = ""
    """`+` or `++` where it was typed."""

    def to_unit(self, value: Value) -> float:
        """Where `value` lies in the range: 0 at `low`, 1 at `high`, beyond them outside; of a choice, its place."""
        if self.kind == "choice":
            return self.choices.index(value) / max(1, len(self.choices) - 1)
        assert isinstance(value, (int, float))
        low, high, at = (self._scale(x) for x in (self.low, self.high, value))
        return (at - low) / (high - low) if high > low else 0.5

    def from_unit(self, position: float) -> float:
        """The value at a position, the inverse of `position`; whole for a parameter of whole numbers."""
        low, high = self._scale(self.low), self._scale(self.high)
        value = low + position * (high - low)
        value = math.exp(value) if self.log else value
        return round(value) if self.kind == "int" else value

    def _scale(self, value: float) -> float:
        return math.log(value) if self.log else float(value)


@dataclass(frozen=True)
class RangeChange:
    """How a parameter's range came out of the round before."""

    key: str
    kind: str
    """`narrowed`, `widened`, `kept`, or `dropped`: none of the good trials has it."""
    edge: str
    """`low`, `high` or empty: the edge at which the good trials lay."""
    message: str


@dataclass(frozen=True)
class Round:
    """One pass of random trials over ranges. Widening inserts a further round of the same name."""

    name: str
    """`coarse`, `fine`: the option of `search=`."""
    parameters: tuple[Parameter, ...]
    trials: int
    """How many are to be run, for each sampler that is compared."""
    epochs: int
    moves: tuple[RangeChange, ...] = ()


@dataclass(frozen=True)
class Trial:
    """One trial, finished or not."""

    number: int
    """Of the search, from 0, over all rounds."""
    round: int
    params: dict[str, Value]
    overrides: tuple[str, ...]
    """To be appended to the search's base overrides: they give this trial as a run of its own."""
    state: str
    """complete, broken (the cost exploded or is NaN), pruned, crashed, killed, running or waiting."""
    reason: str = ""
    """Why it is not complete, in a few words."""
    score: float | None = None
    """`Search.metric` on the validation split; null where there is none."""
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0
    directory: str = ""
    """Relative to the search's directory; empty if it left none."""
    scores: list[float] = dataclasses.field(default_factory=list)
    """The score after each epoch."""
    seed: int = 0
    worker: str = ""
    sampler: str = "random"


@dataclass(frozen=True)
class Search:
    """All of a search, as far as it is."""

    name: str
    """Of its Optuna studies, without the round."""
    directory: str
    command: str
    base: tuple[str, ...]
    """The overrides that all trials share."""
    direction: str
    """`maximize` or `minimize`."""
    metric: str
    """`val_accuracy` or `val_loss`."""
    examples: int
    """In the validation split: how far accuracies can be trusted."""
    seed: int
    storage: str
    rounds: tuple[Round, ...] = ()
    trials: tuple[Trial, ...] = ()
    finished: bool = False

    def command_for(self, recipe: str) -> str:
        """The command that trains by a recipe of this search, whose options may lie in a folder of the user's."""
        flags = [word for word in shlex.split(self.command) if word.startswith("--config-dir=")]
        return command_line([*flags, f"experiment={recipe}"])

    def ranking(self, round: int | None = None) -> list[Trial]:
        """Complete trials (of one round), the best first."""
        chosen = [trial for trial in self.trials if round is None or trial.round == round]
        return ranked(chosen, direction=self.direction, examples=self.examples)


def ranked(trials: list[Trial], *, direction: str, examples: int) -> list[Trial]:
    """Complete trials, the best first. Accuracies within one standard error of the highest are equal, and the loss on
    the validation split decides between them: on 250 images an accuracy of 0.9 is uncertain by 0.02."""
    complete = [trial for trial in trials if trial.state == COMPLETE and trial.score is not None]
    if direction == "minimize" or not complete:
        return sorted(complete, key=lambda trial: (trial.score, trial.number))
    highest = max(trial.score or 0.0 for trial in complete)
    inside = 0 < highest < 1 and examples > 0
    enough = highest - math.sqrt(highest * (1 - highest) / examples) if inside else highest

    def order(trial: Trial) -> tuple[float, float, int]:
        score = trial.score or 0.0
        loss = trial.metrics.get("val_loss", math.inf)
        return (-min(score, enough), loss if score >= enough else -score, trial.number)

    return sorted(complete, key=order)


def write_search(search: Search) -> None:
    """search.json, whole, into the search's directory."""
    content = {"schema": SCHEMA} | dataclasses.asdict(search)
    write_text(Path(search.directory) / FILE, to_json(content, indent=1) + "\n")


def read_search(directory: Path) -> Search:
    """The search whose directory it is; raises `OSError` or `ValueError` where there is none that can be read."""
    content = json.loads((directory / FILE).read_text())
    if not isinstance(content, dict) or content.pop("schema", None) != SCHEMA:
        raise ValueError(f"{directory / FILE} is no search of schema {SCHEMA}")
    rounds = tuple(round_from(fields) for fields in content.pop("rounds"))
    trials = tuple(_trial(fields) for fields in content.pop("trials"))
    content["base"] = tuple(content["base"])
    return Search(**content | {"directory": str(directory)}, rounds=rounds, trials=trials)


def round_to(round: Round) -> dict[str, Any]:
    return dataclasses.asdict(round)


def round_from(fields: dict[str, Any]) -> Round:
    parameters = tuple(Parameter(**p | {"choices": tuple(p["choices"])}) for p in fields["parameters"])
    return Round(**fields | {"parameters": parameters, "moves": tuple(RangeChange(**move) for move in fields["moves"])})


def _trial(fields: dict[str, Any]) -> Trial:
    numbers = {key: decode_nonfinite(fields[key]) for key in ("score", "metrics", "scores")}
    return Trial(**fields | numbers | {"overrides": tuple(fields["overrides"])})
