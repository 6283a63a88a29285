"""Pages of real runs and the page of all runs in a real browser, with markup in names of classes and in tags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.report import write_index
from tests.browser import Browser
from tests.report.pages import EVIL

Runs = dict[str, Any]
IMAGE_SOURCES = "[...document.querySelectorAll('img, svg image')].map((image) => image.src ?? image.href.baseVal)"


@pytest.fixture(scope="session")
def index(runs: Runs) -> Path:
    return write_index(runs["passed"].directory.parents[1])


@pytest.mark.parametrize(
    "name", ["passed", *(pytest.param(name, marks=pytest.mark.slow) for name in ("zeros", "exploded"))]
)
def test_every_chart_is_drawn(browser: Browser, runs: Runs, name: str) -> None:
    file = runs[name].directory / "report.html"
    browser.open(file)
    plots = browser.evaluate("document.querySelectorAll('.plot').length")
    assert plots == browser.evaluate("document.querySelectorAll('.plot > .plot-container').length") > 3
    paths = "[...document.querySelectorAll('.plot svg path')].map((p) => p.outerHTML).join()"
    assert "NaN" not in browser.evaluate(paths)
    assert browser.console_messages() == []
    assert browser.requests() == [file.as_uri()]


def test_class_names_are_text(browser: Browser, runs: Runs) -> None:
    browser.open(runs["passed"].directory / "report.html")
    assert browser.evaluate("window.injected") is None
    assert all(source.startswith("data:image/png;base64,") for source in browser.evaluate(IMAGE_SOURCES))
    assert browser.evaluate("document.querySelectorAll('.plot a').length") == 0
    ticks = "[...document.querySelectorAll('#confusion .ytick text')].map((text) => text.textContent)"
    assert {"<b>bold</b>", "plain & simple"} < set(browser.evaluate(ticks))
    assert EVIL[:60] in browser.evaluate("document.querySelector('table').textContent")


@pytest.mark.slow
def test_hover_names_classes(browser: Browser, runs: Runs) -> None:
    browser.open(runs["passed"].directory / "report.html")
    label = "[...document.querySelectorAll('#confusion .hoverlayer text')].map((part) => part.textContent).join(' ')"
    browser.hover("#confusion .nsewdrag", until=lambda: "<b>bold</b>" in browser.evaluate(label))
    assert browser.console_messages() == []


@pytest.mark.slow
def test_images_are_complete(browser: Browser, runs: Runs) -> None:
    browser.open(runs["passed"].directory / "report.html")
    images = browser.evaluate("[...document.images].map((image) => [image.complete, image.naturalWidth])")
    assert len(images) > 6
    assert all(complete and width for complete, width in images)


@pytest.mark.slow
@pytest.mark.parametrize("width", [320, 390])
def test_phone(browser: Browser, runs: Runs, width: int) -> None:
    browser.open(runs["passed"].directory / "report.html", width=width, height=800)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.slow
def test_index_links_to_runs(browser: Browser, index: Path) -> None:
    browser.open(index)
    links = browser.evaluate("[...document.querySelectorAll('td a')].map((link) => link.getAttribute('href'))")
    assert len(links) == 3
    assert all((index.parent / link).is_file() for link in links)
    assert browser.evaluate("window.injected") is None
    assert browser.console_messages() == []


def test_two_runs_side_by_side(browser: Browser, index: Path) -> None:
    """Two chosen runs are compared in the keys that differ, and in one chart of a measure."""
    browser.open(index)
    browser.run(
        "const [a, b] = document.querySelectorAll('#side-by-side select');"
        "for (const [select, name] of [[a, 'passed'], [b, 'zeros']]) {"
        "  select.value = [...select.options].find((option) => option.text.startsWith(name)).value;"
        "  select.dispatchEvent(new Event('change')); }"
    )
    cells = "[...document.querySelectorAll('#side-by-side tr')].map((row) => [...row.cells].map((c) => c.textContent))"
    rows = {row[0]: row[1:] for row in browser.evaluate(cells)}
    assert rows["status"] == ["passed", "failed"]
    assert any(key.startswith("init.") for key in rows), "these differ"
    assert not {"seed", "optimizer.lr"} & rows.keys(), "these are equal in both"
    assert browser.evaluate("document.getElementById('compare-chart').data.length") == 2
    browser.run(
        "[...document.querySelectorAll('#side-by-side button')].find((b) => b.textContent === 'accuracy').click()"
    )
    assert browser.evaluate("document.getElementById('compare-chart').layout.yaxis.title.text") == "accuracy"
    assert browser.console_messages() == []
