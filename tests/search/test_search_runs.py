"""Searches from the command line: the same trials whoever runs them, what breaks, what is refused, going on."""

from __future__ import annotations

LR = "optimizer.lr=tag(log,interval(1e-3,1e-1))"


def test_it() -> None: ...
