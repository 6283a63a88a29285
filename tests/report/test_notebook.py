"""What a notebook shows of a result: all of it, and no word of it as markup."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipeline.checks import Finding
from pipeline.workflow.attempt import FixAttempt, StageSummary
from pipeline.workflow.outcome import Outcome
from pipeline.workflow.result import RunResult

EVIL = "<script>alert('x')</script>"


class Tags(HTMLParser):
    def __init__(self, text: str):
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.frames: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.open += [tag] if tag != "br" else []
        if tag == "iframe":
            self.frames.append(dict(attributes)["srcdoc"] or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture
def result(tmp_path: Path) -> RunResult:
    finding = Finding(
        check="symmetric_units", severity="failure", measured={}, expected=EVIL, message=EVIL, why=EVIL,
        remedy=("init=he", f"name={EVIL}"), source="", stage="sanity", where=EVIL, step=None,
    )  # fmt: skip
    outcome = Outcome("sanity", False, 1.25, f"worst class {EVIL}", {}, (finding,))
    fix = FixAttempt("symmetric_units", (EVIL,), "sanity", False, StageSummary(False, 1, 0, None, None), None, EVIL)
    return RunResult("failed", 3, 2.5, tmp_path / EVIL.replace("/", "|"), (outcome,), (finding,), (fix,))


def test_verdict_findings_and_remedies_are_shown(result: RunResult) -> None:
    shown = Tags(result._repr_html_())
    text = " ".join(shown.texts)
    for said in ("failed", "2.5 s", "sanity", "1.2", "symmetric_units", "init=he", "not kept", EVIL):
        assert said in text
    assert shown.tags.count("table") == 3
    assert not shown.open


def test_no_word_of_a_run_is_markup(result: RunResult) -> None:
    assert "script" not in Tags(result._repr_html_()).tags
    assert "<script" not in result._repr_html_()


def test_the_report_is_framed_whole(result: RunResult) -> None:
    assert not Tags(result._repr_html_()).frames
    result.directory.mkdir()
    page = f"<!doctype html><p title=\"a 'b' &amp; c\">{EVIL}</p>"
    (result.directory / "report.html").write_text(page)
    shown = Tags(result._repr_html_())
    assert shown.frames == [page]
    assert "script" not in shown.tags


def test_a_result_in_one_line(result: RunResult) -> None:
    assert repr(result).startswith("<RunResult failed in 2.5 s: sanity FAILED; ")
    assert "\n" not in repr(result)
