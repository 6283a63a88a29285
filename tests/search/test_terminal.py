"""The lines that a search prints where there is no terminal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from pipeline.search.records import RangeChange, Search
from pipeline.search.report.terminal import SearchTerminal
from pipeline.search.results.analysis import find_gaps

SearchOf = Callable[..., Search]


def terminal(verbose: int = 1) -> SearchTerminal:
    return SearchTerminal(metric="val_accuracy", direction="maximize", verbose=verbose)


def test_progress_in_tenths(search_of: SearchOf, capsys: pytest.CaptureFixture[str]) -> None:
    """One line for each tenth of a round, without control characters."""
    search, reporter = search_of(trials=40), terminal()
    reporter.on_round_start(search.rounds[0], 0, 40)
    for number in range(40):
        reporter.on_trial_end(number, {}, {"state": "complete", "score": number / 40})
    reporter.close()
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()[1:]] == [f"{n}/40" for n in range(4, 41, 4)]
    assert "0.9750" in out
    assert "\x1b" not in out


@pytest.mark.parametrize(("verbose", "n_lines"), [(0, 0), (1, 1)])
def test_failed_trial(verbose: int, n_lines: int, capsys: pytest.CaptureFixture[str]) -> None:
    reason = "ValueError: [red]no[/red]"
    terminal(verbose).on_trial_end(7, {"lr": 0.5}, {"state": "crashed", "reason": reason})
    lines = [line for line in capsys.readouterr().out.splitlines() if "lr=0.5" in line]
    assert len(lines) == n_lines
    assert all(reason in line and "7" in line for line in lines)


def test_changed_ranges(search_of: SearchOf, capsys: pytest.CaptureFixture[str]) -> None:
    changes = (RangeChange("a", "widened", "high", "first message"), RangeChange("b", "kept", "", "second message"))
    search_round = replace(search_of().rounds[0], moves=changes)
    terminal().on_round_start(search_round, 3, 40)
    out = capsys.readouterr().out
    assert "first message" in out
    assert "second message" not in out


def test_ranking(search_of: SearchOf, capsys: pytest.CaptureFixture[str]) -> None:
    search = search_of()
    terminal().print_ranking(search)
    terminal().print_gaps(find_gaps(search))
    out = capsys.readouterr().out
    for trial in search.ranking()[:5]:
        assert f"coarse {trial.number}" in out
    assert "regularization.l2" in out
