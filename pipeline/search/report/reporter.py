"""The interface through which a running search reports what happens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from pipeline.search.records import Round, Value


class Reporter(Protocol):
    """Receives the events of a search in the order in which they happen."""

    def on_round_start(self, search_round: Round, n_finished: int, n_total: int) -> None:
        """Receive a round that starts. `n_finished` of its `n_total` trials were finished before."""

    def on_trial_end(self, number: int, params: Mapping[str, Value], result: Mapping[str, Any]) -> None:
        """Receive a trial that this process has finished. `result` has the fields of a `Trial`."""

    def on_retry(self, number: int, reason: str) -> None:
        """Receive a trial that runs again, since its worker died."""

    def on_progress(self, n_finished: int, n_total: int) -> None:
        """Receive how many trials of the round all processes together have finished."""


class NullReporter(Reporter):
    """Reports nothing: for the job of a launcher."""

    def on_round_start(self, search_round: Round, n_finished: int, n_total: int) -> None: ...

    def on_trial_end(self, number: int, params: Mapping[str, Value], result: Mapping[str, Any]) -> None: ...

    def on_retry(self, number: int, reason: str) -> None: ...

    def on_progress(self, n_finished: int, n_total: int) -> None: ...
