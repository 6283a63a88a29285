"""What a configuration has in force, by what a user types: `init` is `he`, `optimizer.lr` is 0.01."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.config.options import CONF, groups

GROUPS = ("activation", "augmentation", "batchnorm", "init", "preprocessing", "regularization", "schedule")
"""Groups of which a remedy may choose another option."""
SHARED_KEYS = {"init": ("from", "sha256")}
"""Keys of a group that stay whatever its option is."""
NODES = (*GROUPS, "data", "loss", "model", "optimizer", "stages", "trainer")
"""Nodes of which a remedy may change a value."""


def options_in_force(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the option of each group, and the value of each key, of a composed configuration as plain data.

    A group has a name only where all its keys are those of the option: with one changed, choosing the option again
    would change it back.
    """
    nodes = {name: config[name] for name in NODES if name in config}
    values = {key: value for name, node in nodes.items() for key, value in _flatten(node, name)}
    names = {group: name for group in GROUPS if (name := option_name(group, config.get(group)))}
    return names | values


def option_name(group: str, node: Any) -> str | None:
    """Return the option of `group` whose keys `node` has, all of them unchanged; None where it is that of none.

    Keys that all options of a group share (conf/config.yaml) are not compared.
    """
    if isinstance(node, Mapping):
        node = {key: value for key, value in node.items() if key not in SHARED_KEYS.get(group, ())}
    return next((name for name, content in _options(group).items() if _is_same(content, node)), None)


def default_names(group: str) -> tuple[str, ...]:
    """Return the names of the options of `group` in the default configuration."""
    return groups()[group].chosen


def default_content(group: str) -> dict[str, Any]:
    """Return the keys of the default option of `group`."""
    return dict(_options(group)[default_names(group)[0]])


@functools.cache
def _options(group: str) -> dict[str, Any]:
    """Return the content of each option of a group."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return {path.stem: yaml.load(path.read_text(), loader) for path in sorted((CONF / group).glob("*.yaml"))}


def _is_same(written: Any, value: Any) -> bool:
    """Return whether `value` is what an option's file has; an interpolation in it may stand for anything."""
    if isinstance(written, str) and written.startswith("${"):
        return True
    if isinstance(written, Mapping) and isinstance(value, Mapping):
        return written.keys() == value.keys() and all(_is_same(written[key], value[key]) for key in written)
    return bool(written == value)


def _flatten(node: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Return dotted keys with their values; keys that begin with an underscore are the program's."""
    if not isinstance(node, Mapping):
        yield name, node
        return
    for key, value in node.items():
        if not str(key).startswith("_"):
            yield from _flatten(value, f"{name}.{key}")
