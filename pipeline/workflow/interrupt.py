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
    """Turns SIGINT and SIGTERM into `Interrupted`.

    Inside `deferred()` the first signal only sets `pending_signal`; a second one raises at once.
    """

    def __init__(self) -> None:
        self.pending_signal: int | None = None
        self._is_deferred = self._is_installed = False

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._is_deferred and self.pending_signal is None:
            self.pending_signal = number
            return
        raise Interrupted(number)

    @contextmanager
    def installed(self) -> Iterator[InterruptHandler]:
        """Handle the signals while the block runs. Outside the main thread, where Python allows none, do nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        previous = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        self._is_installed = True
        try:
            yield self
        finally:
            self._is_installed = False
            for number, handler in previous.items():
                signal.signal(number, handler)

    def reinstall(self) -> None:
        """Handle the signals again after a library has replaced the handlers."""
        if self._is_installed:
            for number in _SIGNALS:
                signal.signal(number, self._handle)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Defer signals while the block runs.

        The block looks at `pending_signal` where its state can be saved, saves, and raises `Interrupted`. A signal that
        came after the last such point raises at the end of the block.
        """
        self._is_deferred = True
        try:
            yield
        finally:
            self._is_deferred = False
        if self.pending_signal is not None:
            raise Interrupted(self.pending_signal)
