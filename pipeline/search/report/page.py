"""report.html of a search: what it comes to, in words, pictures and one table. Pure: `Search` -> HTML."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pipeline.report.blocks import Block, Callout, Cell, Command, Link, Section, StatTiles, Table, Text
from pipeline.report.page import render_page
from pipeline.search.records import COMPLETE, FINISHED, Search, Trial
from pipeline.search.report.charts import curves_chart, importance_chart, progress_chart, samplers_chart, seeds_chart
from pipeline.search.report.parameter_chart import parameter_charts
from pipeline.search.report.style import metric_name, round_names, shown, trial_link
from pipeline.search.results.analysis import Edge, Gap, edges, gaps, sampler_stats, untried_choices
from pipeline.search.results.compare_best import RetrainedTrial, SeedComparison
from pipeline.search.results.importance import Importance, importances

SPARSE = 2.0
"""A gap so many times as wide as random trials leave on average is a hole."""
TITLES = {
    "better": "The winner is better",
    "within_noise": "No difference beyond luck",
    "worse": "The runner-up is better",
    "broken": "One of the two breaks",
    "untold": "The seeds leave it open",
    "alone": "There is no runner-up",
}
FOLDERS = """addEventListener("plotly", () => new MutationObserver(() => {
  for (const plot of document.querySelectorAll(".plot")) plot.on?.("plotly_click", ({ points }) => {
    const folder = points[0].customdata;
    if (typeof folder === "string" && folder) location.assign(folder);
  });
}).observe(document.documentElement, { attributes: true, attributeFilter: ["data-drawn"] }));"""
"""A click on a trial opens its folder."""


def search_page(search: Search, comparison: SeedComparison | None, *, best_file: str) -> str:
    """The whole page. `best_file`: the recipe's path as it can be typed."""
    weights = importances(search)
    best = next((t for t in search.trials if comparison and t.number == comparison.chosen), None)
    best = best or next(iter(search.ranking()), None)
    sections = [
        *([_seeds(search, comparison)] if comparison else []),
        _parameters(search, best, weights),
        *_importance(weights),
        *([Section("Learning curves", [curves_chart(search, best)])] if any(t.scores for t in search.trials) else []),
        *_samplers(search),
        _trials(search, best, Path(best_file).parent),
    ]
    return render_page(
        title=f"search {search.name}",
        verdict=_verdict(search, best, comparison),
        status=_status(search, best, weights),
        subtitle=_subtitle(search),
        top=_top(search, best, comparison, best_file),
        sections=sections,
        scripts=[FOLDERS],
    )


def _verdict(search: Search, best: Trial | None, comparison: SeedComparison | None) -> str:
    if best is None:
        return "No trial is complete yet." if not search.finished else "No trial was completed: see what broke below."
    values = ", ".join(f"{key}={shown(value)}" for key, value in best.params.items())
    again = _again(comparison, best)
    if again is not None and again.mean is not None:
        spread = "" if again.spread is None else f" ± {again.spread:.4f}"
        return (
            f"{metric_name(search).capitalize()} {again.mean:.4f}{spread} over {len(again.known)} seeds with {values}"
        )
    return f"{metric_name(search).capitalize()} {best.score:.4f} with {values}"


def _again(comparison: SeedComparison | None, best: Trial) -> RetrainedTrial | None:
    trained = (comparison.winner, comparison.runner_up) if comparison else ()
    return next((r for r in trained if r is not None and r.trial == best.number), None)


def _status(search: Search, best: Trial | None, weights: Sequence[Importance]) -> str:
    if not search.finished:
        return "interrupted"
    return "failed" if best is None else "warning" if _telling_edges(search, weights) else "passed"


def _subtitle(search: Search) -> str:
    done = sum(t.state in FINISHED for t in search.trials)
    rounds = ", then ".join(
        f"{name} ({sum(t.round == i for t in search.trials)} trials of {about.epochs} epochs)"
        for i, (name, about) in enumerate(zip(round_names(search), search.rounds, strict=True))
    )
    stopped = "" if search.finished else "Interrupted: the same command goes on. "
    return f"{stopped}{done} of {len(search.trials)} trials finished: {rounds}."


def _top(search: Search, best: Trial | None, comparison: SeedComparison | None, best_file: str) -> list[Block]:
    states = Counter(t.state for t in search.trials)
    lost = ", ".join(f"{n} {state}" for state, n in states.items() if state != COMPLETE)
    seconds = sum(t.seconds for t in search.trials)
    workers = len({t.worker for t in search.trials if t.worker})
    numbers = [
        ("complete trials", str(states[COMPLETE]), lost or "all of them", ""),
        ("time in trials", _time(seconds), f"of {workers} worker{'s' if workers != 1 else ''}" if workers else "", ""),
    ]
    if best is not None and best.score is not None:
        sure = f"on {search.examples} validation images"
        numbers.insert(0, (f"in the search: trial {best.number}", f"{best.score:.4f}", sure, "passed"))
    if (again := _again(comparison, best) if best else None) is not None and again.mean is not None:
        about = f"mean of {len(again.known)} other seeds" + (f", ± {again.spread:.4f}" if again.spread else "")
        numbers.insert(1, ("trained again", f"{again.mean:.4f}", about, "passed"))
    blocks: list[Block] = [StatTiles(numbers)]
    if best is not None:
        blocks.append(Command(search.command_for(best_file), "use the best"))
    blocks.append(Command(search.command, "search again, or go on"))
    return blocks


def _seeds(search: Search, comparison: SeedComparison) -> Section:
    sure = comparison.verdict in ("better", "alone")
    callout = Callout("passed" if sure else "info", TITLES[comparison.verdict], comparison.sentence)
    return Section("Winner and runner-up", [callout, seeds_chart(search, comparison)], "passed" if sure else "info")


def _parameters(search: Search, best: Trial | None, weights: Sequence[Importance]) -> Section:
    found = _telling_edges(search, weights)
    blocks: list[Block] = [
        Callout(
            "warning",
            f"The best {edge.key} lies at the {edge.end} end of its range",
            f"{shown(edge.value)} is close to {shown(edge.bound)}: better values may lie beyond. Widen the range.",
        )
        for edge in found
    ]
    blocks += parameter_charts(search, best)
    names = round_names(search)
    told = [(names[i], move) for i, about in enumerate(search.rounds) for move in about.moves]
    if moves := [[name, move.message] for name, move in told if move.kind != "kept"]:
        blocks.append(Table(["round", "what became of the range"], moves, sortable=False))
    rows = [_gap_row(search, gap) for gap in gaps(search)]
    headers = ["round", "parameter", "largest gap, % of the range", "by chance, %", "from", "to", ""]
    if rows:
        blocks.append(Table(headers, rows, caption="Where nothing was tried (shaded above, for the last round)"))
    blocks += [Text(f"{key}: no trial of {', '.join(rest)}.") for key, rest in untried_choices(search).items()]
    summary = (
        "Bars at the foot: the range of each round; ◂ ▸ an end beyond which it was widened. Shaded: the largest gap. "
        "A click on a trial opens its folder."
    )
    return Section("Parameters", blocks, "warning" if found else "", summary)


def _telling_edges(search: Search, weights: Sequence[Importance]) -> list[Edge]:
    """Without parameters that seem not to matter: their best value lies anywhere, edges included."""
    matters = {i.key: i.beyond_chance for i in weights}
    return [edge for edge in edges(search) if matters.get(edge.key, True)]


def _gap_row(search: Search, gap: Gap) -> list[Cell]:
    width = f"{gap.decades:.2f} decades" if gap.decades is not None else f"{shown(gap.high - gap.low)} wide"
    words = f"{width}: " + ("a hole; more trials, or another seed" if gap.share > SPARSE * gap.chance else "explored")
    name = round_names(search)[gap.round]
    return [name, gap.key, _percent(gap.share), _percent(gap.chance), shown(gap.low), shown(gap.high), words]


def _importance(found: Sequence[Importance]) -> list[Section]:
    if not found:
        return []
    telling = [i.key for i in found if i.beyond_chance]
    summary = f"Beyond chance: {', '.join(telling)}." if telling else "None stands out beyond chance: more trials."
    return [Section("Importance", [importance_chart(found)], summary=summary)]


def _samplers(search: Search) -> list[Section]:
    found = sampler_stats(search)
    if len(found) < 2:
        return []
    rows: list[list[Cell]] = [["trials", *(s.trials for s in found)], ["best score", *(s.best for s in found)]]
    for p in search.rounds[0].parameters:
        rows.append([f"distinct values of {p.key}", *(s.distinct[p.key] for s in found)])
        if any(p.key in s.gaps for s in found):
            rows.append([f"largest gap of {p.key}, % of its range", *(_percent(s.gaps.get(p.key)) for s in found)])
    summary = (
        "One budget, spent in different ways. A grid repeats each value of a parameter for every value of the others; "
        "where one parameter decides, most of it is wasted. One search is one draw: its best score is luck in part."
    )
    table = Table(["", *(s.sampler for s in found)], rows, sortable=False)
    chart = samplers_chart(search, found)
    blocks: list[Block] = [*([chart] if chart else []), table, progress_chart(search, found)]
    return [Section("Samplers compared", blocks, summary=summary)]


def _percent(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 1)


def _trials(search: Search, best: Trial | None, folder: Path) -> Section:
    places = {t.number: i for i, t in enumerate(search.ranking(), start=1)}
    keys = list(dict.fromkeys(p.key for about in search.rounds for p in about.parameters))
    headers = ["place", "trial", "round", metric_name(search), *keys, "state", "seconds", "reason"]
    names = round_names(search)
    order = sorted(search.trials, key=lambda t: (places.get(t.number, len(places) + 1), t.number))
    rows = [
        [
            places.get(t.number),
            Link(str(t.number), trial_link(t)) if t.directory else t.number,
            names[t.round],
            t.score,
            *(_cell(t.params.get(key)) for key in keys),
            t.state,
            t.seconds,
            t.reason,
        ]
        for t in order
    ]
    reasons = Counter(t.state for t in search.trials if t.state != COMPLETE)
    summary = "All of them, the best first; also in trials.csv." + (
        f" Not complete: {', '.join(f'{n} {state}' for state, n in reasons.items())}." if reasons else ""
    )
    blocks: list[Block] = [Table(headers, rows)]
    if best is not None and best.directory:
        own = shlex.quote(str(folder / best.directory))
        blocks.insert(0, Command(f"python -m pipeline report {own}", "a page for one trial, such as the best"))
    return Section("Trials", blocks, summary=summary)


def _cell(value: object) -> Cell:
    return (
        value
        if isinstance(value, (int, float)) and not isinstance(value, bool)
        else None
        if value is None
        else str(value)
    )


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
