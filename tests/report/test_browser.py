"""Pages in a real browser: they draw, answer, ask nobody for anything, and let nothing in."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.report.blocks import BLUE, Chart, Command, Section, Table
from pipeline.report.page import render_page
from tests.report.conftest import Browser
from tests.report.test_page import EVIL, every_block


def lines(name: str, word: str = "train") -> Chart:
    x = list(range(100))
    data = [{"x": x, "y": [1 / (1 + step) for step in x], "name": word, "line": {"color": BLUE}, "showlegend": True}]
    views = {"linear": {"yaxis.type": "linear"}, "log": {"yaxis.type": "log"}}
    return Chart(name, name, {"data": data, "layout": {"hovermode": "x unified"}}, views=views)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    table = Table(["name", "score"], [["a", 0.5], ["b", 10], ["c", None], ["d", 2.0]])
    blocks = [lines("first"), lines("second", EVIL), table, Command("python -m pipeline 'stage=[sanity]'")]
    sections = [Section("train", blocks, "passed"), Section("wide " * 40, every_block("word " * 80), "failed")]
    path = tmp_path / "report.html"
    path.write_text(render_page(title="a run", verdict="It passed.", status="passed", sections=sections))
    return path


def test_it_draws_and_asks_nobody(browser: Browser, file: Path) -> None:
    browser.open(file)
    assert browser.ask("document.querySelectorAll('.plot .main-svg').length") >= 3
    assert browser.ask("document.querySelector('#first .scatterlayer path.js-line').getBBox().width") > 100
    assert browser.noticed() == []
    assert browser.requests() == [file.as_uri()]


def test_the_network_is_shut(browser: Browser, file: Path) -> None:
    browser.open(file)
    browser.driver.execute_script("fetch('http://127.0.0.1:9/').catch(() => { window.refused = 'fetch' })")
    browser.wait(lambda: browser.ask("window.refused") == "fetch")
    assert "Content Security Policy" in " ".join(browser.noticed())


def test_hovering_tells_the_numbers(browser: Browser, file: Path) -> None:
    browser.open(file)
    label = "[...document.querySelectorAll('#first .hoverlayer text')].map((part) => part.textContent).join(' ')"
    browser.hover("#first .nsewdrag", until=lambda: "0.0" in browser.ask(label))


def test_nothing_is_injected(browser: Browser, file: Path) -> None:
    browser.open(file)
    assert browser.ask("window.injected") is None
    assert browser.ask("document.querySelector('#second .legendtext').textContent").startswith("</script><script>")
    assert browser.ask("document.querySelectorAll('#second a, #second image, #second [onerror]').length") == 0
    assert browser.noticed() == []


def test_linear_and_log(browser: Browser, file: Path) -> None:
    browser.open(file)
    assert browser.ask("document.getElementById('first')._fullLayout.yaxis.type") == "linear"
    browser.click("[data-chart=first][data-view=log]")
    assert browser.ask("document.getElementById('first')._fullLayout.yaxis.type") == "log"
    assert browser.ask("document.querySelector('[data-chart=first][data-view=log]').ariaPressed") == "true"
    browser.dark(True)  # what was chosen outlives a redrawing
    browser.wait(lambda: browser.ask("document.getElementById('first')._fullLayout.font.color") == "#e6e9ed")
    assert browser.ask("document.getElementById('first')._fullLayout.yaxis.type") == "log"


def test_tables_sort(browser: Browser, file: Path) -> None:
    browser.open(file)
    cells = "[...document.querySelector('table').tBodies[0].rows].map((row) => row.cells[0].textContent)"
    names = f"{cells}.join('')"
    browser.click("th:nth-child(2)")
    assert browser.ask(names) == "bdac"
    browser.click("th:nth-child(2)")
    assert browser.ask(names) == "adbc"
    browser.click("th:nth-child(1)")
    assert browser.ask(names) == "dcba"


def test_dark_and_light(browser: Browser, file: Path) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    line = "document.querySelector('#first .js-line').style.stroke"
    seen = {}
    for dark in (False, True):
        browser.open(file, dark=dark)
        seen[dark] = browser.ask(colour), browser.ask(line)
    assert seen[False] == ("rgb(245, 246, 248)", "rgb(0, 114, 178)")
    assert seen[True] == ("rgb(19, 22, 26)", "rgb(74, 168, 232)")


@pytest.mark.parametrize("width", [320, 390, 768])
def test_narrow_screens_need_no_sideways_scrolling(browser: Browser, file: Path, width: int) -> None:
    browser.open(file, width=width, height=800)
    assert browser.ask("document.documentElement.scrollWidth") <= width
    assert browser.ask("document.getElementById('first').getBoundingClientRect().right") <= width


def test_printing_is_light_and_shows_charts(browser: Browser, file: Path) -> None:
    browser.open(file, dark=True)
    browser.driver.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert browser.ask("document.querySelector('#first .js-line').style.stroke") == "rgb(0, 114, 178)"
    browser.driver.execute_script("dispatchEvent(new Event('afterprint'))")
    assert browser.ask("document.querySelector('#first .js-line').style.stroke") == "rgb(74, 168, 232)"


def test_plotly_offers_no_upload(browser: Browser, file: Path) -> None:
    """Headless, nothing hovers and the bar of buttons is left out, so it is asked for."""
    browser.open(file)
    bar = "Plotly.react('first', [{y: [1, 2]}], {}, {...%s, displayModeBar: true})"
    shown = "document.querySelector('#first .modebar').textContent + document.querySelector('#first').innerHTML"
    browser.driver.execute_script(bar % "document.getElementById('first')._context")
    assert "Zoom" in browser.ask(shown)
    assert "Share chart" not in browser.ask(shown)
    browser.driver.execute_script("Plotly.purge('first');" + bar % "{}")
    assert "Share chart" in browser.ask(shown), "as Plotly has it"
