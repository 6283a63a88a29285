"""The configuration of every trial: composed once, with the values of the trial put into it.

Hydra composes in a third of a second; putting a value into a composed configuration takes microseconds. Only Hydra can
compose options of groups, keys with `+`, and lists: these are composed once for each combination that occurs. A key
that only some options have, such as the momentum of some optimizers, is a parameter of the trials with those options.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from pipeline.config.check_overrides import has_key
from pipeline.config.compose import compose_config, groups
from pipeline.config.override_keys import override_key
from pipeline.config.unused_options import refuse_unused_options
from pipeline.errors import UserError
from pipeline.runs.json_files import config_dir_flag
from pipeline.search.records import Parameter, Round, Value
from pipeline.search.space.space import midpoint, to_override

MAX_COMBINATIONS = 32
"""Largest number of combinations that are all composed before the first trial, to see whether they are valid."""


@dataclass
class _Composition:
    """One combination of composed parameters."""

    config: DictConfig
    plain: dict[str, Any]
    """The same as plain data."""
    interpolated: list[str]
    """Dotted keys of values that are computed from others."""
    composed_values: dict[str, Any]
    """The composed value of each value parameter that this combination has."""


class TrialConfigs:
    """The configurations of a search's trials. `base`: the overrides that all trials share."""

    def __init__(self, base: Sequence[str], parameters: Sequence[Parameter], *, config_dir: str | None = None):
        self.base, self.parameters, self.config_dir = tuple(base), tuple(parameters), config_dir
        self.flags = tuple(config_dir_flag(config_dir))
        group_names = groups(config_dir)
        self.composed_parameters = [
            p for p in self.parameters if p.key in group_names or p.sign or any(map(_is_structured, p.choices))
        ]
        """Parameters that Hydra must compose."""
        self.value_parameters = [p for p in self.parameters if p not in self.composed_parameters]
        """Parameters whose value is put into a composed configuration."""
        self._compositions: dict[tuple[str, ...], _Composition] = {}

    def active_parameters(self, parameters: Sequence[Parameter], params: Mapping[str, Value]) -> tuple[Parameter, ...]:
        """Return those of `parameters` that a trial with `params` has.

        As long as `params` lacks some of the composed parameters, only these are returned.
        """
        composed = {p.key for p in self.composed_parameters}
        options = tuple(p for p in parameters if p.key in composed)
        if any(p.key not in params for p in options):
            return options
        existing = composed | self._existing_keys(self._composed_overrides(params))
        return tuple(p for p in parameters if p.key in existing)

    def overrides(self, search_round: Round, params: Mapping[str, Value]) -> list[str]:
        """Return the overrides that, appended to `base`, give the trial with `params`."""
        values = [to_override(p, params[p.key]) for p in search_round.parameters if p.key in params]
        return [*values, f"stages.train.epochs={search_round.epochs}"]

    @functools.cached_property
    def base_config(self) -> DictConfig:
        """The configuration of the search without the values of a trial.

        It has the first choice of every group, and a value for every key that is added with `+`. Raises `UserError` if
        it does not train.
        """
        values = [to_override(p, midpoint(p)) for p in self.composed_parameters]
        config = compose_config([*self.base, *values], config_dir=self.config_dir)
        if "train" not in config.stages:
            raise UserError("a search needs the stage train. Add it, such as stage=[sanity,train].", field="stage")
        return config

    def validate(self) -> None:
        """Compose the combinations that can occur.

        Raise `UserError` if options do not fit together, or if a key exists with none of them.
        """
        has_few = math.prod(len(p.choices) or 1 for p in self.composed_parameters) <= MAX_COMBINATIONS
        combinations = self._all_combinations() if has_few else self._single_changes()
        existing = {key for overrides in combinations for key in self._existing_keys(overrides)}
        if missing := [to_override(p, midpoint(p)) for p in self.value_parameters if p.key not in existing]:
            # this raises the error that names the key
            compose_config([*self.base, *self._composed_overrides({}), *missing], config_dir=self.config_dir)
            raise AssertionError(f"{missing} can be composed, but no combination has the keys")

    def refuse_unused_options(self) -> None:
        """Raise `UserError` where all trials of an option of `model` are the same, whatever a searched option says."""
        typed = [override_key(override) for override in self.base]
        models = next((p.choices for p in self.composed_parameters if p.key == "model"), (None,))
        for model in models:
            chosen = [to_override(p, model if p.key == "model" else midpoint(p)) for p in self.composed_parameters]
            config = compose_config([*self.base, *chosen], config_dir=self.config_dir)
            plain: Any = OmegaConf.to_container(config, resolve=True)
            for p in (p for p in self.value_parameters if has_key(config, p.key)):
                _set_value(plain, p.key, midpoint(p))
            refuse_unused_options(plain, [*typed, *(p.key for p in self.parameters)])

    def for_trial(self, search_round: Round, params: Mapping[str, Value]) -> dict[str, Any]:
        """Return the configuration of the trial with `params` as plain data.

        The dictionary is reused: it is valid until the next call.
        """
        composition = self._compose(tuple(self._composed_overrides(params)))
        values = {key: params.get(key, value) for key, value in composition.composed_values.items()}
        for key, value in (values | {"stages.train.epochs": search_round.epochs}).items():
            OmegaConf.update(composition.config, key, value)
            _set_value(composition.plain, key, value)
        for key in composition.interpolated:
            value = OmegaConf.select(composition.config, key)
            is_node = OmegaConf.is_config(value)  # as ${data.dataset} is
            _set_value(composition.plain, key, OmegaConf.to_container(value, resolve=True) if is_node else value)
        return composition.plain

    def _composed_overrides(self, params: Mapping[str, Value]) -> list[str]:
        return [to_override(p, params.get(p.key, midpoint(p))) for p in self.composed_parameters]

    def _all_combinations(self) -> Iterator[list[str]]:
        axes = [[to_override(p, value) for value in p.choices or (midpoint(p),)] for p in self.composed_parameters]
        yield from (list(overrides) for overrides in itertools.product(*axes))

    def _single_changes(self) -> Iterator[list[str]]:
        """Yield each choice together with the first choices of all other parameters."""
        first = self._composed_overrides({})
        yield first
        for i, p in enumerate(self.composed_parameters):
            for value in p.choices[1:]:
                yield [*first[:i], to_override(p, value), *first[i + 1 :]]

    def _existing_keys(self, overrides: Sequence[str]) -> set[str]:
        return set(self._compose(tuple(overrides)).composed_values)

    def _compose(self, overrides: tuple[str, ...]) -> _Composition:
        if overrides not in self._compositions:
            config = compose_config([*self.base, *overrides], config_dir=self.config_dir)
            with open_dict(config):
                config.stages = {"train": config.stages.train}
            values = {p.key: OmegaConf.select(config, p.key) for p in self.value_parameters if has_key(config, p.key)}
            plain: Any = OmegaConf.to_container(config, resolve=True)
            interpolated = list(_interpolated_keys(OmegaConf.to_container(config, resolve=False), ""))
            self._compositions[overrides] = _Composition(config, plain, interpolated, values)
        return self._compositions[overrides]


def _is_structured(value: Value) -> bool:
    """Whether a choice is a list or a dictionary."""
    return isinstance(value, str) and value[:1] in ("[", "{")


def _set_value(plain: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    node = plain
    for parent in parents:
        node = node[parent]
    node[last] = value


def _interpolated_keys(node: Any, path: str) -> Iterator[str]:
    if isinstance(node, Mapping):
        for key, inner in node.items():
            yield from _interpolated_keys(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(node, str) and "${" in node:
        yield path
