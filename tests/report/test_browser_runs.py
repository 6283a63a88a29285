"""The pages of real runs, and the page of all runs, in a real browser: markup in the names of classes and in tags."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.report import server, write_index
from tests.report.conftest import EVIL, Browser

Runs = dict[str, Any]


@pytest.fixture(scope="session")
def index(runs: Runs) -> Path:
    return write_index(runs["passed"].directory.parents[1])


@pytest.mark.parametrize("name", ["passed", "zeros", "exploded"])
def test_every_chart_of_a_run_is_drawn(browser: Browser, runs: Runs, name: str) -> None:
    file = runs[name].directory / "report.html"
    browser.open(file)
    plots = browser.ask("document.querySelectorAll('.plot').length")
    assert plots == browser.ask("document.querySelectorAll('.plot > .plot-container').length") > 3
    assert "NaN" not in browser.ask("[...document.querySelectorAll('.plot svg path')].map((p) => p.outerHTML).join()")
    assert browser.noticed() == []
    assert browser.requests() == [file.as_uri()]


def test_names_of_classes_are_names(browser: Browser, runs: Runs) -> None:
    browser.open(runs["passed"].directory / "report.html")
    assert browser.ask("window.injected") is None
    sources = "[...document.querySelectorAll('img, svg image')].map((image) => image.src ?? image.href.baseVal)"
    assert all(source.startswith("data:image/png;base64,") for source in browser.ask(sources))
    assert browser.ask("document.querySelectorAll('.plot a').length") == 0
    ticks = "[...document.querySelectorAll('#confusion .ytick text')].map((text) => text.textContent)"
    assert set(browser.ask(ticks)) == {EVIL, "<b>bold</b>", "plain & simple"}
    assert EVIL in browser.ask("document.querySelector('table').textContent")


def test_hovering_over_confusions_names_the_classes(browser: Browser, runs: Runs) -> None:
    browser.open(runs["passed"].directory / "report.html")
    label = "[...document.querySelectorAll('#confusion .hoverlayer text')].map((part) => part.textContent).join(' ')"
    browser.hover("#confusion .nsewdrag", until=lambda: "taken for" in browser.ask(label))
    assert "<b>bold</b>" in browser.ask(label)
    assert browser.noticed() == []


def test_pictures_are_shown(browser: Browser, runs: Runs) -> None:
    browser.open(runs["passed"].directory / "report.html")
    images = browser.ask("[...document.images].map((image) => [image.complete, image.naturalWidth])")
    assert len(images) > 6
    assert all(complete and width for complete, width in images)


@pytest.mark.parametrize("width", [320, 390])
def test_a_run_on_a_phone(browser: Browser, runs: Runs, width: int) -> None:
    browser.open(runs["passed"].directory / "report.html", width=width, height=800)
    assert browser.ask("document.documentElement.scrollWidth") <= width


def test_the_page_of_all_runs_leads_to_each(browser: Browser, index: Path) -> None:
    browser.open(index)
    links = browser.ask("[...document.querySelectorAll('td a')].map((link) => link.getAttribute('href'))")
    assert len(links) == 3
    assert all((index.parent / link).is_file() for link in links)
    assert browser.ask("window.injected") is None
    assert browser.noticed() == []


def test_two_runs_side_by_side(browser: Browser, index: Path) -> None:
    browser.open(index)
    choose = (
        "const [a, b] = document.querySelectorAll('#side-by-side select');"
        "for (const [select, name] of [[a, 'passed'], [b, 'zeros']]) {"
        "  select.value = [...select.options].find((option) => option.text.startsWith(name)).value;"
        "  select.dispatchEvent(new Event('change')); }"
    )
    browser.driver.execute_script(choose)
    cells = "[...document.querySelectorAll('#side-by-side tr')].map((row) => [...row.cells].map((c) => c.textContent))"
    rows = {row[0]: row[1:] for row in browser.ask(cells)}
    assert rows["verdict"] == ["passed", "failed"]
    assert any(key.startswith("init.") for key in rows), "in which they differ"
    assert not {"seed", "optimizer.lr"} & rows.keys(), "in which the two agree, and all three or not"
    assert browser.ask("document.getElementById('compare-chart').data.length") == 2
    browser.driver.execute_script(
        "[...document.querySelectorAll('#side-by-side button')].find((b) => b.textContent === 'accuracy').click()"
    )
    assert browser.ask("document.getElementById('compare-chart').layout.yaxis.title.text") == "accuracy"
    assert browser.noticed() == []


@pytest.fixture
def port(runs: Runs) -> Iterator[int]:
    with server(runs["passed"].directory.parents[1], 0) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        assert running.server_address[0] == "127.0.0.1"
        yield running.server_port
        running.shutdown()
        thread.join()


def _get(port: int, path: str, host: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path, headers={"Host": host})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_serving_is_for_this_machine(port: int, runs: Runs) -> None:
    status, page = _get(port, "/", f"127.0.0.1:{port}")
    assert status == 200
    assert "3 runs" in page
    assert _get(port, "/", "evil.example")[0] == 403, "a name that was pointed here"
    assert _get(port, f"/passed/{runs['passed'].directory.name}/report.html", f"localhost:{port}")[0] == 200
    assert _get(port, "/../mine.npz", "localhost")[0] == 404, "nothing outside the folder"
