"""Check overrides against the groups, options and keys that exist, and name the closest ones for a typo.

Hydra itself lists the options of a mistyped group, but accepts any key behind `+`, and suggests nothing.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import IntervalSweep, Override
from omegaconf import DictConfig, OmegaConf

from pipeline.config import experiments
from pipeline.config.other_names import refuse_foreign_key
from pipeline.config.overrides import option_names
from pipeline.config.retired import refuse_renamed_key, refuse_renamed_option
from pipeline.errors import UserError, did_you_mean

NODES_WITH_EXTRA_ARGS = (
    "activation",
    "model",
    "augmentation",
    "optimizer",
    "loss",
    "schedule.scheduler",
    "loss.function",
    "init.weight",
    "data.dataset",
    "data.val_dataset",
    "data.test_dataset",
)
"""Nodes whose target takes more arguments than the options list: `+optimizer.maximize=true`. The names of such
arguments are checked against the signature of the target when it is called."""
LIST_GROUPS = {"stage": "stages", "logger": "logger"}
"""Groups of which several options can be chosen, and the node in which each of these has its keys."""
_ABSENT = object()


def check_option(override: Override, loader: ConfigLoader) -> None:
    """Raise `UserError` unless the override of a group names options that exist.

    A file of `experiment=` is read here, and registered with Hydra.
    """
    group = override.key_or_group
    available = _options(loader, group)
    if override.is_delete() or override.value() is None:
        if group != experiments.GROUP:
            hint = f" To switch it off, choose its option 'none': {group}=none." if "none" in available else ""
            raise UserError(f"this group cannot be empty.{hint}", field=group)
        return
    names = list(option_names(override))
    if not names:
        raise UserError(f"at least one is needed. Options: {', '.join(available)}.", field=group)
    for name in names:
        if group == experiments.GROUP and experiments.is_path(name):
            experiments.register_experiment_file(name)
        elif name not in available:
            refuse_renamed_option(group, name)
            closest = did_you_mean(name, available) or _own_folder_hint(group, name)
            raise UserError(f"there is no option {name!r}.{closest} Options: {', '.join(available)}.", field=group)


def _own_folder_hint(group: str, name: str) -> str:
    """Return ` It is in 'conf': add --config-dir conf.` if a folder of the working folder has the option, else ""."""
    found = next(Path().glob(f"*/{group}/{glob.escape(name)}.yaml"), None)
    return f" It is in {str(found.parents[1])!r}: add --config-dir {found.parents[1]}." if found else ""


def check_key(override: Override, config: DictConfig, loader: ConfigLoader) -> None:
    """Raise `UserError` unless the override sets a key of the composed `config`, or adds one where that is possible."""
    key = override.key_or_group
    adds = override.is_add() or override.is_force_add()
    if override.is_delete():
        raise UserError("keys cannot be removed; give it another value.", field=key)
    if OmegaConf.select(config, key, throw_on_missing=False, default=_ABSENT) is not _ABSENT or has_key(config, key):
        if override.is_add():
            raise UserError(f"exists already; without '+': {key}={override.get_value_element_as_str()}", field=key)
        return
    parent = key.rpartition(".")[0]
    node = OmegaConf.select(config, parent) if parent else None
    has_extra_args = parent in NODES_WITH_EXTRA_ARGS and isinstance(node, DictConfig)
    if has_extra_args and adds:
        return
    refuse_renamed_key(key)
    for group, path in LIST_GROUPS.items():
        if key.startswith(f"{path}."):
            _refuse_unchosen(key, group, list(config[path]), _options(loader, group))
    refuse_foreign_key(key)
    closest = did_you_mean(key, [*_dotted_keys(config), *_groups(loader)])
    hint = ""
    if has_extra_args:
        hint = f" To pass an argument that the options do not list: +{key}=..."
    elif isinstance(node, DictConfig):
        hint = f" {parent} has: {', '.join(str(name) for name in node if not str(name).startswith('_'))}."
    elif not closest:
        hint = " All keys: python -m pipeline --cfg job."
    raise UserError(f"there is no such key.{closest}{hint}", field=key)


def check_intervals(overrides: Sequence[Override], config: DictConfig) -> None:
    """Raise `UserError` for a continuous range without a search, which alone can sample it."""
    for override in overrides:
        if not config.search.rounds and isinstance(override.value(), IntervalSweep):
            raise UserError(
                f"{override.input_line!r} is a continuous range, which cannot be enumerated: add search=coarse, "
                "which samples it.",
                field=override.key_or_group,
            )


def check_hydra_node(node: DictConfig) -> None:
    """Raise `UserError` where Hydra itself would call something or set a variable before the run checks anything.

    That would go around the list of what a configuration may call (`pipeline.config.instantiate`).
    """
    for key, value in (("hydra.callbacks", node.callbacks), ("hydra.job.env_set", node.job.env_set)):
        if value:
            raise UserError("not in a configuration; set variables in your shell.", field=key)
    for name in ("launcher", "sweeper"):
        target = str(node[name]["_target_"])
        if not target.startswith(("hydra._internal.core_plugins.", "hydra_plugins.")):
            raise UserError(f"{target!r} is not a plugin of Hydra.", field=f"hydra.{name}._target_")


def has_key(config: DictConfig, key: str) -> bool:
    """Return whether the configuration has the key, even if its value is null or missing (`???`)."""
    parent, _, last = key.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    return isinstance(node, DictConfig) and last in node.keys()  # noqa: SIM118 - `in node` is false for a missing value


def _refuse_unchosen(key: str, group: str, chosen: Sequence[Any], available: Sequence[str]) -> None:
    """Raise `UserError` for a key of an option that exists in a list group and is not chosen."""
    option = key.split(".")[1]
    if option in available and option not in chosen:
        current = ",".join(str(name) for name in chosen)
        raise UserError(
            f"the {group} {option!r} is not chosen ({group}=[{current}]). Add it, or leave this out.", field=key
        )


def _groups(loader: ConfigLoader) -> list[str]:
    return [group for group in loader.list_groups("") if group != "hydra"]


def _options(loader: ConfigLoader, group: str) -> list[str]:
    return [name for name in loader.get_group_options(group, results_filter=ObjectType.CONFIG) if name != "base"]


def _dotted_keys(config: DictConfig) -> Iterator[str]:
    """Yield every key that can be typed, in dotted form."""

    def walk(node: dict[Any, Any], path: str) -> Iterator[str]:
        for name, value in node.items():
            if not str(name).startswith("_"):
                key = f"{path}.{name}" if path else str(name)
                yield key
                if isinstance(value, dict):
                    yield from walk(value, key)

    plain: Any = OmegaConf.to_container(config, resolve=False)
    yield from walk(plain, "")
