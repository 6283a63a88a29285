"""The result of a run in a notebook: all of it, and none of its texts as markup."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipeline.checks import Finding, NotChecked
from pipeline.report.notebook import result_html
from pipeline.workflow.attempt import FixAttempt, StageSummary
from pipeline.workflow.outcome import Outcome
from pipeline.workflow.result import RunResult

EVIL = "<script>alert('x')</script>"


class ResultParser(HTMLParser):
    def __init__(self, html: str):
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.frames: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.open += [tag] if tag != "br" else []
        if tag == "iframe":
            self.frames.append(dict(attrs)["srcdoc"] or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture
def result(tmp_path: Path) -> RunResult:
    finding = Finding(
        check="symmetric_units", severity="failure", measured={}, expected=EVIL, message=EVIL, why=EVIL,
        remedy=("init=he", f"name={EVIL}"), source="", stage="sanity", where=EVIL, step=None,
        advice=f"Change {EVIL}", code=f"x = {EVIL}", also_in=(f"train{EVIL}",),
    )  # fmt: skip
    outcome = Outcome("sanity", False, 1.25, f"worst class {EVIL}", {}, (finding,))
    fix = FixAttempt("symmetric_units", (EVIL,), "sanity", False, StageSummary(False, 1, 0, None, None), None, EVIL)
    return RunResult(
        "failed",
        3,
        2.5,
        tmp_path / EVIL.replace("/", "|"),
        (outcome,),
        (finding,),
        (fix,),
        (NotChecked(f"dead_units{EVIL}", f"never ran {EVIL}"),),
        7,
    )


def test_everything_is_shown(result: RunResult) -> None:
    shown = ResultParser(result_html(result))
    text = " ".join(shown.texts)
    names = ("failed", "2.5", "sanity", "1.2", "symmetric_units", "init=he", f"train{EVIL}", "7 of 8 checks")
    for part in (*names, f"Change {EVIL}", f"x = {EVIL}", f"dead_units{EVIL}", f"never ran {EVIL}"):
        assert part in text
    assert shown.tags.count("table") == 3
    assert not shown.open


def test_texts_are_escaped(result: RunResult) -> None:
    assert "script" not in ResultParser(result_html(result)).tags
    assert "<script" not in result_html(result)


def test_report_in_a_frame(result: RunResult) -> None:
    assert not ResultParser(result_html(result)).frames
    result.directory.mkdir()
    page = f"<!doctype html><p title=\"a 'b' &amp; c\">{EVIL}</p>"
    (result.directory / "report.html").write_text(page)
    shown = ResultParser(result_html(result))
    assert shown.frames == [page]
    assert "script" not in shown.tags


def test_repr_is_one_line(result: RunResult) -> None:
    line = repr(result)
    assert "\n" not in line
    for part in ("failed", "2.5", "sanity", str(result.directory.name)):
        assert part in line
