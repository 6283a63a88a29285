"""report.html of a search: its data, and in a real browser hovering, a click on a trial, and no injected script."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from pipeline.search.records import Parameter, RangeChange, Round, Search
from pipeline.search.report.page import COMPARISON_TITLES, search_page
from pipeline.search.report.parameter_chart import parameter_axis
from pipeline.search.report.sections import relevant_edges
from pipeline.search.results.compare_best import ComparisonVerdict, compare_best_two
from pipeline.search.results.files import write_results
from pipeline.search.results.importance import importances

SearchOf = Callable[..., Search]
EVIL = "</script><script>window.injected=1</script><img src=x onerror=window.injected=1>"


def compare(search: Search, *, better: float = 0.0) -> Any:
    """Compare the best two trials, with a difference of `better` and noise."""
    rng = random.Random(0)
    best = search.ranking()[0].number
    return compare_best_two(
        search, lambda jobs: [0.8 + better * (job.trial == best) + rng.gauss(0, 0.01) for job in jobs], seeds=3
    )


def charts(page: str) -> dict[str, Any]:
    block = re.search(r'<script type="application/json" id="data-charts">(.*?)</script>', page, re.DOTALL)
    assert block is not None
    return {chart["id"]: chart for chart in json.loads(block[1])}


def text_of(page: str) -> str:
    return re.sub(r"<[^>]+>", " ", page[page.index("<body>") : page.index('<script type="application/json"')])


def test_every_trial_is_a_point_of_each_parameter(search_of: SearchOf) -> None:
    search = search_of(fine=True)
    best = search.ranking()[0]
    drawn = charts(search_page(search, None, best_file="x/best.yaml"))
    for i, key in enumerate(["optimizer.lr", "regularization.l2"]):
        data = {trace["name"]: trace for trace in drawn[f"parameter-{i}"]["data"]}
        assert list(data) == ["coarse", "fine", "broken or pruned", "best"]
        x = [value for name in ("coarse", "fine", "broken or pruned") for value in data[name]["x"]]
        assert sorted(x) == sorted(t.params[key] for t in search.trials)  # type: ignore[type-var]
        assert data["best"]["x"] == [best.params[key]]
        assert len({data["coarse"]["marker"]["color"], data["fine"]["marker"]["color"]}) == 2
        assert drawn[f"parameter-{i}"]["layout"]["xaxis"]["type"] == "log"
    assert "xaxis" in drawn["parameter-2"]["layout"]
    points = drawn["parameter-0"]["data"][0]
    assert "optimizer.lr = " in points["text"][0]
    assert points["customdata"][0].startswith("trials/")


def test_arrow_at_a_widened_end(search_of: SearchOf) -> None:
    search = search_of(trials=10)
    wider = replace(search.rounds[0].parameters[0], low=1e-7)
    change = RangeChange("optimizer.lr", "widened", "low", "optimizer.lr: widened")
    second = replace(search.rounds[0], parameters=(wider, *search.rounds[0].parameters[1:]), moves=(change,))
    page = search_page(replace(search, rounds=(search.rounds[0], second)), None, best_file="x")
    (arrow,) = charts(page)["parameter-0"]["layout"]["annotations"]
    assert arrow["x"] == pytest.approx(-5)
    assert arrow["text"] == "◂"
    assert {line["x0"] for line in charts(page)["parameter-0"]["layout"]["shapes"] if line["type"] == "line"} == {
        1e-5,
        1e-7,
    }
    assert "coarse 2" in text_of(page)


def test_best_at_an_edge(search_of: SearchOf) -> None:
    """It is a warning, unless the parameter does not matter."""
    search = search_of(trials=60)
    good = Parameter(key="optimizer.lr", kind="float", low=1e-5, high=0.04, log=True)
    near = tuple(t for t in search.trials if t.params["optimizer.lr"] <= 0.04)  # type: ignore[operator]
    cut = replace(
        search, rounds=(replace(search.rounds[0], parameters=(good, *search.rounds[0].parameters[1:])),), trials=near
    )
    assert {i.key: i.beyond_chance for i in importances(cut)}["optimizer.lr"]
    page = search_page(cut, None, best_file="x")
    assert '<header class="warning">' in page
    assert [edge.key for edge in relevant_edges(cut, importances(cut))] == ["optimizer.lr"]
    best = replace(cut.ranking()[0], params=cut.ranking()[0].params | {"regularization.l2": 1.01e-6})
    moved = replace(cut, trials=tuple(best if t.number == best.number else t for t in cut.trials))
    assert [edge.key for edge in relevant_edges(moved, importances(moved))] == ["optimizer.lr"]


def test_commands_and_comparison(search_of: SearchOf) -> None:
    search = search_of(fine=True)
    page = search_page(search, compare(search), best_file="a/best.yaml")
    assert "python -m pipeline experiment=a/best.yaml" in text_of(page)
    other = replace(search, command="python -m pipeline --config-dir=mine search=coarse")
    page = search_page(other, compare(search), best_file="a/best.yaml")
    assert "python -m pipeline --config-dir=mine experiment=a/best.yaml" in text_of(page)
    assert "python -m pipeline report a/trials/" in text_of(page)
    dots = charts(page)["seeds"]["data"][1]
    assert len(dots["x"]) == 6


@pytest.mark.parametrize("verdict", get_args(ComparisonVerdict))
def test_every_verdict_has_a_title(verdict: Any, search_of: SearchOf) -> None:
    search = search_of(trials=12)
    comparison = replace(compare(search), verdict=verdict, sentence="A sentence.")
    page = search_page(search, comparison, best_file="x")
    assert COMPARISON_TITLES[verdict] in text_of(page)
    assert "A sentence." in text_of(page)


def test_comparison_of_samplers(search_of: SearchOf) -> None:
    search = search_of(trials=12, samplers=("random", "grid", "tpe"))
    page = search_page(search, None, best_file="x")
    drawn = charts(page)["samplers"]
    assert {"xaxis", "xaxis2", "xaxis3"} <= drawn["layout"].keys()
    assert drawn["layout"]["annotations"][1]["text"].startswith("grid: 12 ")
    assert [line["name"] for line in charts(page)["progress"]["data"]] == ["random", "grid", "tpe"]
    assert "samplers" not in charts(search_page(search_of(trials=12), None, best_file="x"))


@pytest.mark.parametrize("keep", [0, 1, 3])
def test_interrupted_search(search_of: SearchOf, keep: int) -> None:
    search = search_of()
    waiting = replace(search.trials[0], state="waiting", score=None, scores=[], number=99, directory="")
    page = search_page(replace(search, trials=(*search.trials[:keep], waiting), finished=False), None, best_file="x")
    assert '<header class="interrupted">' in page
    assert f"{keep} of {keep + 1} " in text_of(page)


@pytest.mark.parametrize("best_has_it", [True, False])
def test_conditional_parameter(search_of: SearchOf, best_has_it: bool) -> None:
    momentum = Parameter(key="optimizer.momentum", kind="float", low=0.5, high=0.99)
    rate = Parameter(key="optimizer.lr", kind="float", low=1e-4, high=0.1, log=True)
    search = search_of(momentum, rate, samplers=("random", "grid"), trials=16)
    best = search.ranking()[0].number
    without = [t.number for t in search.trials if (t.number - best) % 2 == best_has_it]
    trials = tuple(
        replace(t, params={"optimizer.lr": t.params["optimizer.lr"]}) if t.number in without else t
        for t in search.trials
    )
    drawn = charts(search_page(replace(search, trials=trials), None, best_file="x"))
    data = {trace["name"]: trace for trace in drawn["parameter-0"]["data"]}
    assert len(data["coarse"]["x"]) == len(trials) - len(without)
    assert ("best" in data) == best_has_it
    assert sum(len(trace["x"]) for trace in drawn["samplers"]["data"][::3]) == len(trials) - len(without)
    assert len(drawn["parameter-1"]["data"][0]["x"]) == len(trials)


def test_parameter_axis() -> None:
    assert "range" not in parameter_axis(Parameter(key="a", kind="float", low=0.1, high=0.1, log=True))
    assert parameter_axis(Parameter(key="a", kind="int", low=1, high=9))["range"] == [1, 9]


def with_markup(search: Search) -> Search:
    """Return the search with choices, keys, reasons and names that are markup."""
    choice = Parameter(key=f"activation{EVIL}", kind="choice", choices=(EVIL, "b"))
    trials = tuple(
        replace(t, params=t.params | {choice.key: choice.choices[t.number % 2]}, reason=EVIL, worker=EVIL)
        for t in search.trials
    )
    rounds = tuple(
        Round(EVIL, (*r.parameters, choice), r.trials, r.epochs, (RangeChange("x", "kept", "", EVIL),))
        for r in search.rounds
    )
    return replace(search, name=EVIL, command=EVIL, trials=trials, rounds=rounds)


@pytest.mark.slow
def test_in_a_browser(browser: Any, search_of: SearchOf) -> None:
    search = search_of(fine=True, samplers=("random", "grid"))
    search = with_markup(replace(search, trials=tuple(replace(t, sampler=t.sampler + EVIL) for t in search.trials)))
    write_results(search, compare(search))
    folder = Path(search.directory)
    for trial in search.trials:
        (folder / trial.directory).mkdir(parents=True, exist_ok=True)
    browser.open(folder / "report.html")
    assert browser.console_messages() == []
    assert [address for address in browser.requests() if not address.endswith("report.html")] == []
    assert browser.evaluate("window.injected === undefined")
    count = browser.evaluate("document.querySelectorAll('.plot .main-svg').length")
    assert count >= 3 * len(charts((folder / "report.html").read_text()))
    point = "document.querySelector('#parameter-0 .scatterlayer .point')"
    browser.driver.execute_script(f"{point}.scrollIntoView({{block: 'center'}})")
    box = json.loads(browser.evaluate(f"JSON.stringify({point}.getBoundingClientRect())"))

    def mouse(kind: str, away: float = 0.0) -> None:
        x, y = box["x"] + box["width"] / 2 + away, box["y"] + box["height"] / 2
        event = {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1}
        browser.driver.execute_cdp_cmd("Input.dispatchMouseEvent", event)

    def hover() -> str:
        mouse("mouseMoved", 0.5)
        mouse("mouseMoved")
        return browser.evaluate("document.querySelector('#parameter-0 .hovertext')?.textContent") or ""

    browser.wait(lambda: "regularization.l2 = " in hover() and EVIL[:8] in hover())
    assert browser.evaluate("window.injected === undefined")
    time.sleep(0.2)  # a hand rests before it clicks, and plotly looks for the mouse every 50 ms
    mouse("mousePressed")
    mouse("mouseReleased")
    browser.wait(lambda: "/trials/" in browser.driver.current_url)


@pytest.mark.slow
def test_narrow_and_dark(browser: Any, search_of: SearchOf) -> None:
    search = search_of(fine=True, samplers=("random", "grid"))
    write_results(search, compare(search))
    page = Path(search.directory) / "report.html"
    browser.open(page, width=360, height=700, dark=True)
    assert browser.evaluate("document.documentElement.scrollWidth") <= 360
    assert browser.console_messages() == []
    assert page.stat().st_size < 3_000_000
