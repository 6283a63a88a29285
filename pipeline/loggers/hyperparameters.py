"""The configuration as one flat row of words and numbers, as tables of runs want it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

APART = frozenset({"checks", "signals", "logger", "search", "outputs", "resume", "verbose", "tags", "name", "report"})
"""What does not change what is computed, or is no single knob; the whole is in .hydra/config.yaml."""


def flatten_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """`{"optimizer": {"_target_": "torch.optim.SGD", "lr": 0.1}}` -> `{"optimizer": "SGD", "optimizer.lr": 0.1}`."""
    return _flat({key: value for key, value in config.items() if key not in APART}, "")


def _flat(node: Mapping[str, Any], path: str) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for key, value in node.items():
        here = f"{path}.{key}" if path else str(key)
        if key == "_target_":
            row[path] = str(value).rpartition(".")[2]
        elif isinstance(value, Mapping):
            row |= _flat(value, here)
        elif not key.startswith("_"):
            row[here] = value if isinstance(value, (bool, int, float, str)) else str(value)
    return row
