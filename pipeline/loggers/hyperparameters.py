"""The configuration as one flat row of strings and numbers, for the tables of runs that loggers show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

EXCLUDED_KEYS = frozenset(
    {"checks", "signals", "logger", "search", "outputs", "resume", "verbose", "tags", "name", "report"}
)
"""Keys that do not change what is computed, or are no single value. .hydra/config.yaml has all."""


def flatten_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration with dotted keys, and the class of each node under the node's own key.

    `{"optimizer": {"_target_": "torch.optim.SGD", "lr": 0.1}}` becomes `{"optimizer": "SGD", "optimizer.lr": 0.1}`.
    """
    return _flatten({key: value for key, value in config.items() if key not in EXCLUDED_KEYS}, "")


def _flatten(node: Mapping[str, Any], path: str) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for key, value in node.items():
        dotted = f"{path}.{key}" if path else str(key)
        if key == "_target_":
            row[path] = str(value).rpartition(".")[2]
        elif isinstance(value, Mapping):
            row |= _flatten(value, dotted)
        elif not key.startswith("_"):
            row[dotted] = value if isinstance(value, (bool, int, float, str)) else str(value)
    return row
