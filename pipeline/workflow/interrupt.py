"""Ctrl-C and SIGTERM: at once where nothing is lost, after the next saved checkpoint where something would be."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from pipeline.errors import Interrupted

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class InterruptHandler:
    """Turns the signals into `Stopped`. Inside `deferred()` the first only sets `requested`; a second is final."""

    def __init__(self) -> None:
        self.pending_signal: int | None = None
        self._deferred = self._listening = False

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._deferred and self.pending_signal is None:
            self.pending_signal = number
            return
        raise Interrupted(number)

    @contextmanager
    def installed(self) -> Iterator[InterruptHandler]:
        """Listen while the block runs; does nothing outside the main thread, where Python allows no handlers."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        self._listening = True
        try:
            yield self
        finally:
            self._listening = False
            for number, handler in before.items():
                signal.signal(number, handler)

    def reinstall(self) -> None:
        """Where a library has put handlers of its own in the place of ours."""
        if self._listening:
            for number in _SIGNALS:
                signal.signal(number, self._handle)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Between safe points: the block promises to look at `requested`, save, and raise `Stopped`."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        if self.pending_signal is not None:  # asked for after the last safe point
            raise Interrupted(self.pending_signal)
