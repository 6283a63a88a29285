"""Curves of many steps, averaged so that signals.json stays small."""

from __future__ import annotations

from collections.abc import Sequence

MAX_ENTRIES = 10_000
"""Most entries of `losses` and `accuracies`; longer runs are averaged over equal numbers of steps."""


def steps_per_entry(steps: int) -> int:
    """Return how many steps one entry of a curve averages."""
    return -(-steps // MAX_ENTRIES) or 1


def average_groups(values: Sequence[float], stride: int) -> list[float]:
    """Average each group of `stride` values; the last group may be smaller."""
    groups = (values[i : i + stride] for i in range(0, len(values), stride))
    return list(values) if stride == 1 else [sum(group) / len(group) for group in groups]
