"""A search in the terminal: a live line, what broke and why, what a round taught, the best trials at the end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from pipeline.report.console import console, is_live
from pipeline.report.progress_bar import REFRESH_PER_SECOND
from pipeline.search.records import COMPLETE, Round, Search, Value
from pipeline.search.results.analysis import Gap
from pipeline.search.study.round_study import ClaimedTrial

SHOWN = 5
"""Of the ranking."""
_COLOURS = {"broken": "yellow", "pruned": "dim", "crashed": "bold red", "killed": "bold red"}


class NullReporter:
    """Says nothing: a cluster's job."""

    def round_begins(self, index: int, round: Round, done: int, total: int) -> None: ...

    def trial_ends(self, trial: dict[str, Any], claim: ClaimedTrial, number: int) -> None: ...

    def on_retry(self, number: int, reason: str) -> None: ...

    def on_progress(self, done: int, total: int) -> None: ...


class SearchTerminal:
    """Into a pipe no bar and no control characters: a line for each tenth of a round instead."""

    def __init__(self, *, metric: str, direction: str, verbose: int):
        self.console = console()
        self.metric, self.direction, self.verbose = metric, direction, verbose
        self.best: float | None = None
        self._bar: Progress | None = None
        self._task: Any = None
        self._began = self._done = self._ours = self._total = 0.0
        self._tenth = 0

    def print(self, text: str | Text, style: str = "") -> None:
        self.console.print(text if isinstance(text, Text) else escape(text), style=style)

    def round_begins(self, index: int, round: Round, done: int, total: int) -> None:
        self.close()
        for move in round.moves:
            if move.kind != "kept":
                self.print(f"  {move.message}", style="yellow" if move.kind == "widened" else "")
        again = ", widened" if any(move.kind == "widened" for move in round.moves) else ""
        ranges = "; ".join(shown(p.key, p.choices, p.low, p.high, p.log) for p in round.parameters)
        epochs = f"{round.epochs} epoch{'s' if round.epochs != 1 else ''}"
        before = f" ({done} done before)" if done else ""
        self.print(Text.assemble((f"{round.name}{again}", "bold"), f"  {total} trials of {epochs}{before}: {ranges}"))
        self._began, self._done, self._ours, self._total = time.monotonic(), done, 0, total
        self._tenth = 10 * done // max(1, total)
        if self.verbose and is_live(self.console):
            columns = (TextColumn("  {task.completed:.0f}/{task.total:.0f}"), BarColumn(bar_width=24))
            self._bar = Progress(
                *columns, TextColumn("{task.fields[said]}", markup=False), console=self.console, transient=True,
                refresh_per_second=REFRESH_PER_SECOND,
            )  # fmt: skip
            self._task = self._bar.add_task("", total=total, completed=done, said="")
            self._bar.start()

    def trial_ends(self, trial: dict[str, Any], claim: ClaimedTrial, number: int) -> None:
        self._ours += 1
        self._done += 1
        score = trial.get("score")
        if trial["state"] == COMPLETE and score is not None and (self.best is None or self._better(score, self.best)):
            self.best = score
        if trial["state"] in ("broken", "crashed", "killed") and self.verbose:
            values = " ".join(f"{key}={_brief(value)}" for key, value in claim.params.items())
            state = trial["state"]
            self.print(
                Text.assemble(
                    "  ", (f"trial {number} {state}", _COLOURS[state]), f": {trial['reason']}  ", (values, "dim")
                )
            )
        self._show()

    def on_retry(self, number: int, reason: str) -> None:
        self.print(f"  trial {number} runs again: {reason}", style="yellow")

    def on_progress(self, done: int, total: int) -> None:
        """What all who work on the search have done."""
        self._done, self._total = max(done, self._done), total
        self._show()

    def _better(self, score: float, than: float) -> bool:
        return score < than if self.direction == "minimize" else score > than

    def _show(self) -> None:
        seconds = time.monotonic() - self._began
        rate = self._ours / seconds if seconds > 0 else 0.0
        best = f"best {self.metric} {self.best:.4f}  " if self.best is not None else ""
        left = f"{_time((self._total - self._done) / rate)} left" if rate and self._done < self._total else ""
        said = f"{best}{rate:.3g} trials/s  {left}".rstrip()
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, said=said)
        elif self.verbose and (tenth := int(10 * self._done // max(1, self._total))) > self._tenth:
            self._tenth = tenth
            self.print(f"  {self._done:.0f}/{self._total:.0f}  {said}")

    def gaps(self, found: Sequence[Gap]) -> None:
        """How far the ranges were explored: the largest stretch of each in which nothing was tried."""
        if found:
            self.print("largest gaps: " + "; ".join(_gap(gap) for gap in found), style="dim")

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def ends(self, search: Search) -> None:
        """The best trials, and how many of each state there were."""
        self.close()
        ranking = search.ranking()
        counts: dict[str, int] = {}
        for trial in search.trials:
            counts[trial.state] = counts.get(trial.state, 0) + 1
        self.print(", ".join(f"{count} {state}" for state, count in counts.items()), style="dim")
        if not ranking:
            return
        table = Table.grid(padding=(0, 2, 0, 0))
        for _ in range(3):
            table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for place, trial in enumerate(ranking[:SHOWN], start=1):
            values = " ".join(f"{key}={_brief(value)}" for key, value in trial.params.items())
            where = search.rounds[trial.round].name
            table.add_row(
                f"{place}", Text(f"{trial.score:.4f}", "bold" if place == 1 else ""), f"{where} {trial.number}", values
            )
        self.print(Text(f"best by {search.metric}:", "bold"))
        self.console.print(table)


def _gap(gap: Gap) -> str:
    return f"{gap.key} {gap.low:.3g} .. {gap.high:.3g} ({gap.share:.0%}; by chance {gap.chance:.0%})"


def shown(key: str, choices: Sequence[Value], low: float, high: float, log: bool) -> str:
    if choices:
        return f"{key} in {', '.join(str(choice) for choice in choices)}"
    return f"{key} {low:.3g} .. {high:.3g}{' (log)' if log else ''}"


def _brief(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
