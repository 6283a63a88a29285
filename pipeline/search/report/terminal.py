"""A search in the terminal: a live line, trials that break, changes of ranges, and the best trials at the end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from pipeline.report.console import console, is_live
from pipeline.report.progress_bar import REFRESH_PER_SECOND
from pipeline.search.records import BROKEN, COMPLETE, CRASHED, KILLED, Parameter, Round, Search, Value
from pipeline.search.report.reporter import Reporter
from pipeline.search.results.analysis import Gap

MAX_RANKED = 5
"""Number of the best trials that are shown at the end."""
_FAILURE_COLORS = {BROKEN: "yellow", CRASHED: "bold red", KILLED: "bold red"}


class SearchTerminal(Reporter):
    """Reports a search in the terminal.

    If the output is not a terminal, there is no bar and no control character, but a line for each tenth of a round.
    """

    def __init__(self, *, metric: str, direction: str, verbose: int):
        self.console = console()
        self.metric, self.direction, self.verbose = metric, direction, verbose
        self.best: float | None = None
        self._bar: Progress | None = None
        self._task: Any = None
        self._started_at = 0.0
        self._n_finished = self._n_ours = self._n_total = self._tenths = 0

    def print(self, text: str | Text, style: str = "") -> None:
        """Print a line; markup in a string is text."""
        self.console.print(text if isinstance(text, Text) else escape(text), style=style)

    def on_round_start(self, search_round: Round, n_finished: int, n_total: int) -> None:
        self.close()
        for change in search_round.moves:
            if change.kind != "kept":
                self.print(f"  {change.message}", style="yellow" if change.kind == "widened" else "")
        is_widened = any(change.kind == "widened" for change in search_round.moves)
        title = f"{search_round.name}{', widened' if is_widened else ''}"
        epochs = f"{search_round.epochs} epoch{'s' if search_round.epochs != 1 else ''}"
        before = f", {n_finished} finished before" if n_finished else ""
        ranges = "; ".join(_format_parameter(p) for p in search_round.parameters)
        self.print(Text.assemble((title, "bold"), f"  {n_total} trials of {epochs}{before}: {ranges}"))
        self._started_at, self._n_finished, self._n_ours, self._n_total = time.monotonic(), n_finished, 0, n_total
        self._tenths = 10 * n_finished // max(1, n_total)
        if self.verbose and is_live(self.console):
            self._start_bar()

    def on_trial_end(self, number: int, params: Mapping[str, Value], result: Mapping[str, Any]) -> None:
        self._n_ours += 1
        self._n_finished += 1
        state, score = result["state"], result.get("score")
        if state == COMPLETE and score is not None and (self.best is None or self._is_better(score, self.best)):
            self.best = score
        if state in _FAILURE_COLORS and self.verbose:
            title = (f"trial {number} {state}", _FAILURE_COLORS[state])
            self.print(Text.assemble("  ", title, f": {result['reason']}  ", (_format_params(params), "dim")))
        self._show_progress()

    def on_retry(self, number: int, reason: str) -> None:
        self.print(f"  trial {number} runs again: {reason}", style="yellow")

    def on_progress(self, n_finished: int, n_total: int) -> None:
        self._n_finished, self._n_total = max(n_finished, self._n_finished), n_total
        self._show_progress()

    def print_gaps(self, gaps: Sequence[Gap]) -> None:
        """Print the widest gap without a trial in each range."""
        if gaps:
            self.print("Widest gaps without a trial: " + "; ".join(_format_gap(gap) for gap in gaps), style="dim")

    def print_ranking(self, search: Search) -> None:
        """Print the best trials, and the number of trials in each state."""
        self.close()
        states = Counter(trial.state for trial in search.trials)
        self.print(", ".join(f"{n} {state}" for state, n in states.items()), style="dim")
        if not (ranking := search.ranking()):
            return
        table = Table.grid(padding=(0, 2, 0, 0))
        for _ in range(3):
            table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for rank, trial in enumerate(ranking[:MAX_RANKED], start=1):
            score = Text(f"{trial.score:.4f}", "bold" if rank == 1 else "")
            name = f"{search.rounds[trial.round].name} {trial.number}"
            table.add_row(f"{rank}", score, name, _format_params(trial.params))
        self.print(Text(f"Best trials by {search.metric}:", "bold"))
        self.console.print(table)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _start_bar(self) -> None:
        columns = (
            TextColumn("  {task.completed:.0f}/{task.total:.0f}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[message]}", markup=False),
        )
        self._bar = Progress(*columns, console=self.console, transient=True, refresh_per_second=REFRESH_PER_SECOND)
        self._task = self._bar.add_task("", total=self._n_total, completed=self._n_finished, message="")
        self._bar.start()

    def _is_better(self, score: float, other: float) -> bool:
        return score < other if self.direction == "minimize" else score > other

    def _show_progress(self) -> None:
        seconds = time.monotonic() - self._started_at
        rate = self._n_ours / seconds if seconds > 0 else 0.0
        n_remaining = self._n_total - self._n_finished
        best = f"best {self.metric} {self.best:.4f}  " if self.best is not None else ""
        remaining = f"{_format_seconds(n_remaining / rate)} left" if rate and n_remaining > 0 else ""
        message = f"{best}{rate:.3g} trials/s  {remaining}".rstrip()
        if self._bar is not None:
            self._bar.update(self._task, completed=self._n_finished, message=message)
        elif self.verbose and (tenths := 10 * self._n_finished // max(1, self._n_total)) > self._tenths:
            self._tenths = tenths
            self.print(f"  {self._n_finished}/{self._n_total}  {message}")


def _format_gap(gap: Gap) -> str:
    return f"{gap.key} {gap.low:.3g} .. {gap.high:.3g} ({gap.share:.0%} of its range, {gap.chance:.0%} by chance)"


def _format_parameter(parameter: Parameter) -> str:
    if parameter.choices:
        return f"{parameter.key} in {', '.join(str(choice) for choice in parameter.choices)}"
    return f"{parameter.key} {parameter.low:.3g} .. {parameter.high:.3g}{' (log)' if parameter.log else ''}"


def _format_params(params: Mapping[str, Value]) -> str:
    return " ".join(f"{key}={_format_value(value)}" for key, value in params.items())


def _format_value(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _format_seconds(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
