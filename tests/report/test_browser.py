"""Pages in a real browser: they draw, respond, request nothing, and run no injected script."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.report.blocks import BLUE, Chart, Command, Section, Table
from pipeline.report.page import render_page
from tests.browser import Browser
from tests.report.pages import EVIL, every_block

FIRST_LINE = "document.querySelector('#first .js-line').style.stroke"
LIGHT_BLUE, DARK_BLUE = "rgb(0, 114, 178)", "rgb(74, 168, 232)"


def line_chart(name: str, text: str = "train") -> Chart:
    x = list(range(100))
    data = [{"x": x, "y": [1 / (1 + step) for step in x], "name": text, "line": {"color": BLUE}, "showlegend": True}]
    views = {"linear": {"yaxis.type": "linear"}, "log": {"yaxis.type": "log"}}
    return Chart(name, name, {"data": data, "layout": {"hovermode": "x unified"}}, views=views)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    table = Table(["name", "score"], [["a", 0.5], ["b", 10], ["c", None], ["d", 2.0]])
    blocks = [line_chart("first"), line_chart("second", EVIL), table, Command("python -m pipeline 'stage=[sanity]'")]
    sections = [Section("train", blocks, "passed"), Section("wide " * 40, every_block("word " * 80), "failed")]
    path = tmp_path / "report.html"
    path.write_text(render_page(title="a run", verdict="It passed.", status="passed", sections=sections))
    return path


def test_draws_and_requests_nothing(browser: Browser, file: Path) -> None:
    browser.open(file)
    assert browser.evaluate("document.querySelectorAll('.plot .main-svg').length") >= 3
    assert browser.evaluate("document.querySelector('#first .scatterlayer path.js-line').getBBox().width") > 100
    assert browser.console_messages() == []
    assert browser.requests() == [file.as_uri()]


def test_network_is_refused(browser: Browser, file: Path) -> None:
    browser.open(file)
    browser.run("fetch('http://127.0.0.1:9/').catch(() => { window.refused = 'fetch' })")
    browser.wait(lambda: browser.evaluate("window.refused") == "fetch")
    assert "Content Security Policy" in " ".join(browser.console_messages())


@pytest.mark.slow
def test_hover_shows_numbers(browser: Browser, file: Path) -> None:
    browser.open(file)
    label = "[...document.querySelectorAll('#first .hoverlayer text')].map((part) => part.textContent).join(' ')"
    browser.hover("#first .nsewdrag", until=lambda: "0.0" in browser.evaluate(label))


def test_nothing_is_injected(browser: Browser, file: Path) -> None:
    browser.open(file)
    assert browser.evaluate("window.injected") is None
    assert browser.evaluate("document.querySelector('#second .legendtext').textContent").startswith("</script><script>")
    assert browser.evaluate("document.querySelectorAll('#second a, #second image, #second [onerror]').length") == 0
    assert browser.console_messages() == []


@pytest.mark.slow
def test_linear_and_log(browser: Browser, file: Path) -> None:
    """The chosen view stays when the chart is drawn again."""
    layout = "document.getElementById('first')._fullLayout"
    browser.open(file)
    assert browser.evaluate(f"{layout}.yaxis.type") == "linear"
    browser.click("[data-chart=first][data-view=log]")
    assert browser.evaluate(f"{layout}.yaxis.type") == "log"
    assert browser.evaluate("document.querySelector('[data-chart=first][data-view=log]').ariaPressed") == "true"
    browser.set_dark(True)
    browser.wait(lambda: browser.evaluate(f"{layout}.font.color") == "#e6e9ed")
    assert browser.evaluate(f"{layout}.yaxis.type") == "log"


@pytest.mark.slow
def test_tables_sort(browser: Browser, file: Path) -> None:
    browser.open(file)
    names = "[...document.querySelector('table').tBodies[0].rows].map((row) => row.cells[0].textContent).join('')"
    for column, order in ((2, "bdac"), (2, "adbc"), (1, "dcba")):
        browser.click(f"th:nth-child({column})")
        assert browser.evaluate(names) == order


@pytest.mark.slow
def test_dark_and_light(browser: Browser, file: Path) -> None:
    colours = {}
    for dark in (False, True):
        browser.open(file, dark=dark)
        colours[dark] = browser.evaluate(f"[getComputedStyle(document.body).backgroundColor, {FIRST_LINE}]")
    assert colours == {False: ["rgb(245, 246, 248)", LIGHT_BLUE], True: ["rgb(19, 22, 26)", DARK_BLUE]}


@pytest.mark.parametrize(
    "width", [pytest.param(320, marks=pytest.mark.slow), 390, pytest.param(768, marks=pytest.mark.slow)]
)
def test_narrow_screens(browser: Browser, file: Path, width: int) -> None:
    """Nothing needs scrolling sideways."""
    browser.open(file, width=width, height=800)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate("document.getElementById('first').getBoundingClientRect().right") <= width


@pytest.mark.slow
def test_printing_is_light(browser: Browser, file: Path) -> None:
    browser.open(file, dark=True)
    browser.run("dispatchEvent(new Event('beforeprint'))")
    assert browser.evaluate(FIRST_LINE) == LIGHT_BLUE
    browser.run("dispatchEvent(new Event('afterprint'))")
    assert browser.evaluate(FIRST_LINE) == DARK_BLUE


@pytest.mark.slow
def test_no_upload_button(browser: Browser, file: Path) -> None:
    """Plotly's default buttons offer to upload the chart. Nothing hovers here, so the bar of buttons is forced."""
    browser.open(file)
    bar = "Plotly.react('first', [{y: [1, 2]}], {}, {...%s, displayModeBar: true})"
    shown = "document.querySelector('#first .modebar').textContent + document.querySelector('#first').innerHTML"
    browser.run(bar % "document.getElementById('first')._context")
    assert "Zoom" in browser.evaluate(shown)
    assert "Share chart" not in browser.evaluate(shown)
    browser.run("Plotly.purge('first');" + bar % "{}")
    assert "Share chart" in browser.evaluate(shown), "Plotly's default has the button"
