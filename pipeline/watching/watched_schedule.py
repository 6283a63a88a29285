"""What the schedule of a watched loop is going to do, and how often the loop moves it."""

from __future__ import annotations

import copy
import warnings
from typing import Any

from torch.optim.lr_scheduler import ChainedScheduler, LRScheduler

from pipeline.signals.schedule import StandIn, schedule_signals
from pipeline.watching.errors import PreflightError


class WatchedSchedule:
    """Counts the moves of a scheduler, and moves a copy of it as often as the whole training will.

    Raises `PreflightError` for what is no scheduler of torch. A scheduler that has moved before the loop begins, as
    after a checkpoint, is not judged, nor is one that cannot be copied.
    """

    def __init__(self, scheduler: LRScheduler):
        if not isinstance(scheduler, LRScheduler):
            raise PreflightError(f"expected a torch scheduler, got a {type(scheduler).__name__}.", field="scheduler")
        self._counting = scheduler  # a chain has no count of its own
        while isinstance(self._counting, ChainedScheduler):
            self._counting = self._counting._schedulers[0]
        self.moves = 0
        self._seen = self._counting.last_epoch
        self._copy = _copied(scheduler) if self._seen == 0 else None
        self._at_epoch = (0, 0, 0)
        """Moves, steps and epochs at the end of the latest epoch."""

    def look(self) -> None:
        """Count a move since the last look."""
        if self._counting.last_epoch != self._seen:
            self._seen = self._counting.last_epoch
            self.moves += 1

    def end_epoch(self, *, steps: int, epochs: int) -> None:
        """Note the moves of the first `epochs` epochs, which made `steps` steps."""
        self.look()
        self._at_epoch = self.moves, steps, epochs

    def signals(self, planned: int | None) -> dict[str, Any]:
        """Return the signals of the schedule in a training of `planned` epochs; {} before one of them is over."""
        moves, steps, epochs = self._at_epoch
        if self._copy is None or not planned or not moves:
            return {}
        by_epoch = moves <= epochs < steps  # a loop may move it after it tells the end of the epoch
        expected = planned if by_epoch else round(moves / epochs * planned)
        other = round(steps / epochs * planned) if by_epoch else planned
        found = schedule_signals(self._copy, self._copy.optimizer, moves=expected, other_moves=other)
        length = found.get("schedule_length", expected)
        if not by_epoch and length < expected < length + moves / epochs:  # a loop may end within its last epoch
            found = schedule_signals(self._copy, self._copy.optimizer, moves=length, other_moves=other)
        return dict(found)


def _copied(scheduler: LRScheduler) -> LRScheduler | None:
    """Return a copy that moves a stand-in for the optimizer; None where it cannot be copied."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return copy.deepcopy(scheduler, {id(scheduler.optimizer): StandIn(scheduler.optimizer)})
    except Exception:  # noqa: BLE001 - what a stranger's schedule holds may fail in any way
        return None
