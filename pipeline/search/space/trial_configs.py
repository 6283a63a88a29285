"""The configuration of every trial: composed once, a trial's values put into it.

Composing takes Hydra a third of a second, putting a value in its place microseconds. What only Hydra can do (options of
groups, keys with `+`, lists) is composed once for each combination that occurs, and kept. A key that only some options
have, such as the momentum of some optimizers, is a parameter of the trials with those options.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from pipeline.config.compose import compose_config, groups, has_key
from pipeline.errors import UserError
from pipeline.runs.json_files import config_dir_flag
from pipeline.search.records import Parameter, Round, Value
from pipeline.search.space.space import midpoint, to_override

MOST_COMBINATIONS = 32
"""That are composed before the first trial, to see whether they fit together; beyond, each when it occurs."""


@dataclass
class _Composed:
    """One combination: the configuration, the same as plain data, the places that depend on others, and those of
    parameters, with what stands there."""

    config: DictConfig
    plain: dict[str, Any]
    interpolated: list[str]
    value_parameters: dict[str, Any]


class TrialConfigs:
    """`plain(params)`: the configuration of a trial as plain data, to be used before the next is asked for."""

    def __init__(self, base: Sequence[str], parameters: Sequence[Parameter], *, config_dir: str | None = None):
        self.base, self.parameters, self.config_dir = tuple(base), tuple(parameters), config_dir
        self.flags = tuple(config_dir_flag(config_dir))
        menu = groups(config_dir)
        self.composed_parameters = [
            p for p in self.parameters if p.key in menu or p.sign or any(map(_structured, p.choices))
        ]
        self.value_parameters = [p for p in self.parameters if p not in self.composed_parameters]
        self._kept: dict[tuple[str, ...], _Composed] = {}

    def active_parameters(self, parameters: Sequence[Parameter], params: Mapping[str, Value]) -> tuple[Parameter, ...]:
        """Those of the parameters that a trial with these options has; while options are open, they alone."""
        composing = {p.key for p in self.composed_parameters}
        options = tuple(p for p in parameters if p.key in composing)
        if any(p.key not in params for p in options):
            return options
        there = composing | self._has(self._words(params))
        return tuple(p for p in parameters if p.key in there)

    def overrides(self, round: Round, params: Mapping[str, Value]) -> list[str]:
        """What is appended to the base overrides for a trial with these values."""
        words = [to_override(p, params[p.key]) for p in round.parameters if p.key in params]
        return [*words, f"stages.train.epochs={round.epochs}"]

    @functools.cached_property
    def base_config(self) -> DictConfig:
        """The search's configuration without a trial's values: first options, and a value where there is none."""
        words = [to_override(p, midpoint(p)) for p in self.composed_parameters]
        config = compose_config([*self.base, *words], config_dir=self.config_dir)
        if "train" not in config.stages:
            raise UserError("a search trains: add train, such as stage=[sanity,train].", field="stage")
        return config

    def validate(self) -> None:
        """Compose what can occur, so that options that do not fit together, and keys that none of them has, are found
        before the first trial."""
        few = math.prod(len(p.choices) or 1 for p in self.composed_parameters) <= MOST_COMBINATIONS
        there = {key for words in (self._combinations() if few else self._one_by_one()) for key in self._has(words)}
        if nowhere := [to_override(p, midpoint(p)) for p in self.value_parameters if p.key not in there]:
            compose_config([*self.base, *self._words({}), *nowhere], config_dir=self.config_dir)  # says what is wrong
            raise AssertionError(f"composed with {nowhere}, but not found")

    def for_trial(self, round: Round, params: Mapping[str, Value]) -> dict[str, Any]:
        made = self._composition(tuple(self._words(params)))
        values = {key: params.get(key, own) for key, own in made.value_parameters.items()} | {
            "stages.train.epochs": round.epochs
        }
        for key, value in values.items():
            OmegaConf.update(made.config, key, value)
            _put(made.plain, key, value)
        for key in made.interpolated:
            _put(made.plain, key, OmegaConf.select(made.config, key))
        return made.plain

    def _words(self, params: Mapping[str, Value]) -> list[str]:
        return [to_override(p, params.get(p.key, midpoint(p))) for p in self.composed_parameters]

    def _combinations(self) -> Iterator[list[str]]:
        axes = [[to_override(p, value) for value in p.choices or (midpoint(p),)] for p in self.composed_parameters]
        yield from (list(words) for words in itertools.product(*axes))

    def _one_by_one(self) -> Iterator[list[str]]:
        """Each choice with the first of all others."""
        first = self._words({})
        yield first
        for i, p in enumerate(self.composed_parameters):
            for value in p.choices[1:]:
                yield [*first[:i], to_override(p, value), *first[i + 1 :]]

    def _has(self, words: Sequence[str]) -> set[str]:
        return set(self._composition(tuple(words)).value_parameters)

    def _composition(self, words: tuple[str, ...]) -> _Composed:
        if words not in self._kept:
            config = compose_config([*self.base, *words], config_dir=self.config_dir)
            with open_dict(config):
                config.stages = {"train": config.stages.train}
            valued = {p.key: OmegaConf.select(config, p.key) for p in self.value_parameters if has_key(config, p.key)}
            plain: Any = OmegaConf.to_container(config, resolve=True)
            places = list(_interpolated(OmegaConf.to_container(config, resolve=False), ""))
            self._kept[words] = _Composed(config, plain, places, valued)
        return self._kept[words]


def _structured(value: Value) -> bool:
    return isinstance(value, str) and value[:1] in ("[", "{")


def _put(plain: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    node = plain
    for parent in parents:
        node = node[parent]
    node[last] = value


def _interpolated(node: Any, path: str) -> Iterator[str]:
    """Dotted places of values that are computed from others."""
    if isinstance(node, Mapping):
        for key, inner in node.items():
            yield from _interpolated(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(node, str) and "${" in node:
        yield path
