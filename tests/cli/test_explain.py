"""`explain`: one section of docs/checks.md, plain in a pipe and drawn on a terminal."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

import pipeline.cli.explain
from pipeline.checks import SEVERITIES
from pipeline.cli.check_docs import check_docs
from pipeline.cli.explain import explain
from pipeline.errors import UserError
from pipeline.report.console import SEVERITY_COLORS

DOCS = check_docs()


def on_terminal(monkeypatch: pytest.MonkeyPatch, *args: str, width: int) -> str:
    text = io.StringIO()
    terminal = Console(file=text, width=width, force_terminal=True, color_system=None, highlight=False, _environ={})
    monkeypatch.setattr(pipeline.cli.explain, "console", lambda: terminal)
    assert explain(args) == 0
    return text.getvalue()


def letters(text: str) -> str:
    """Letters and digits only, so that it does not matter where lines break."""
    return re.sub(r"\W", "", text)


def test_in_a_pipe_a_section_is_markdown_without_links(capsys: pytest.CaptureFixture[str]) -> None:
    assert explain(["input_ignored"]) == 0
    assert capsys.readouterr().out == re.sub(r"\[(\w+)\]\(#\w+\)", r"\1", DOCS["input_ignored"].markdown())


def test_in_a_pipe_the_list_has_one_line_for_each_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert explain([]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(DOCS)


@pytest.mark.parametrize("width", [40, *(pytest.param(width, marks=pytest.mark.slow) for width in (80, 120))])
def test_on_a_terminal_nothing_is_lost_and_nothing_too_wide(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, doc in DOCS.items():
        output = on_terminal(monkeypatch, name, width=width)
        assert max(len(line.rstrip()) for line in output.splitlines()) <= width
        rule = doc.rule_class
        texts = [doc.rule, doc.anti_pattern, rule.why, rule.source, *rule.remedies, *rule.reads, *rule.severities]
        texts += [rule.advice, rule.code]
        texts += [f"{t.name}={t.value}{t.comment}" for t in doc.thresholds]
        assert [text for text in texts if letters(text) not in letters(output)] == []
    output = on_terminal(monkeypatch, width=width)
    assert max(len(line.rstrip()) for line in output.splitlines()) <= width
    assert all(name in output for name in DOCS)


@pytest.mark.parametrize(("args", "word"), [(["dead_unit"], "'dead_units'"), (["a", "b"], "'a b'")])
def test_an_unknown_check_is_an_error_that_names_the_nearest(args: list[str], word: str) -> None:
    with pytest.raises(UserError) as error:
        explain(args)
    assert word in error.value.message


def test_every_severity_has_a_color() -> None:
    assert tuple(SEVERITY_COLORS) == SEVERITIES
