"""`explain`: a page of the catalogue, plain in a pipe and drawn on a terminal."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

import pipeline.cli.explain
from pipeline.cli.check_docs import check_docs
from pipeline.cli.explain import explain
from pipeline.errors import UserError

PAGES = check_docs()


def drawn(monkeypatch: pytest.MonkeyPatch, *words: str, width: int) -> str:
    text = io.StringIO()
    made = Console(file=text, width=width, force_terminal=True, color_system=None, highlight=False, _environ={})
    monkeypatch.setattr(pipeline.cli.explain, "console", lambda: made)
    assert explain(words) == 0
    return text.getvalue()


def test_in_a_pipe_a_page_is_markdown_and_the_list_a_line_a_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert explain(["input_ignored"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("## input_ignored\n")
    assert "](#" not in said
    assert said == re.sub(r"\[(\w+)\]\(#\w+\)", r"\1", PAGES["input_ignored"].markdown())
    assert explain([]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(PAGES)


@pytest.mark.parametrize("width", [40, 80, 120])
def test_on_a_terminal_nothing_is_lost_and_nothing_too_wide(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, page in PAGES.items():
        said = drawn(monkeypatch, name, width=width)
        assert max(len(line.rstrip()) for line in said.splitlines()) <= width
        words = re.sub(r"\W", "", said)
        parts: list[Any] = [
            page.rule,
            page.anti_pattern,
            *page.source.whys,
            *page.source.remedies,
            *page.source.sources,
        ]
        parts += [f"{t.name}={t.value}{t.comment}" for t in page.thresholds]
        for part in parts:
            assert re.sub(r"\W", "", part) in words
    said = drawn(monkeypatch, width=width)
    assert max(len(line.rstrip()) for line in said.splitlines()) <= width
    assert all(name in said for name in PAGES)


@pytest.mark.parametrize(("words", "said"), [(["dead_unit"], "Did you mean 'dead_units'"), (["a", "b"], "'a b'")])
def test_an_unknown_check_is_answered_with_the_nearest(words: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        explain(words)
