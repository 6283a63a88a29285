"""Sections of the page of a search: parameters, importances, samplers, trials."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pipeline.report.blocks import Block, Callout, Cell, Command, Link, Section, Table, Text
from pipeline.search.records import COMPLETE, Search, Trial, Value
from pipeline.search.report.charts import importance_chart
from pipeline.search.report.parameter_chart import parameter_charts
from pipeline.search.report.sampler_charts import progress_chart, samplers_chart
from pipeline.search.report.style import format_value, metric_name, round_names, trial_link
from pipeline.search.results.analysis import Edge, Gap, find_edges, find_gaps, sampler_stats, untried_choices
from pipeline.search.results.importance import Importance

HOLE_RATIO = 2.0
"""A gap is called a hole if it is so many times as wide as the widest gap of random trials on average."""


def relevant_edges(search: Search, weights: Sequence[Importance]) -> list[Edge]:
    """Return the edges at which the best trial lies, of parameters that matter.

    The best value of a parameter without effect lies anywhere, edges included.
    """
    matters = {i.key: i.beyond_chance for i in weights}
    return [edge for edge in find_edges(search) if matters.get(edge.key, True)]


def parameter_section(search: Search, best: Trial | None, weights: Sequence[Importance]) -> Section:
    """Return the section with the score against each parameter, changes of ranges, and gaps."""
    edges = relevant_edges(search, weights)
    blocks: list[Block] = [
        Callout(
            "warning",
            f"The best {edge.key} lies at the {edge.end} end of its range",
            f"{format_value(edge.value)} is close to {format_value(edge.bound)}, so better values may lie beyond it. "
            "Widen the range.",
        )
        for edge in edges
    ]
    blocks += parameter_charts(search, best)
    names = round_names(search)
    changes: list[list[Cell]] = [
        [names[i], change.message]
        for i, search_round in enumerate(search.rounds)
        for change in search_round.moves
        if change.kind != "kept"
    ]
    if changes:
        blocks.append(Table(["round", "change of the range"], changes, sortable=False))
    gaps = [_gap_row(search, gap) for gap in find_gaps(search)]
    headers = ["round", "parameter", "widest gap, % of the range", "by chance, %", "from", "to", ""]
    if gaps:
        caption = "Widest gaps without a trial (shaded in the charts for the last round)"
        blocks.append(Table(headers, gaps, caption=caption))
    untried = untried_choices(search)
    blocks += [Text(f"{key}: no trial has the choice {', '.join(choices)}.") for key, choices in untried.items()]
    summary = (
        "The bars at the bottom are the ranges of the rounds, and ◂ ▸ mark an end beyond which a range was widened. "
        "The shaded part is the widest gap. A click on a trial opens its directory."
    )
    return Section("Parameters", blocks, "warning" if edges else "", summary)


def _gap_row(search: Search, gap: Gap) -> list[Cell]:
    width = f"{gap.decades:.2f} decades" if gap.decades is not None else f"{format_value(gap.high - gap.low)} wide"
    is_hole = gap.share > HOLE_RATIO * gap.chance
    comment = "a hole: run more trials, or choose another search.seed" if is_hole else "explored"
    name = round_names(search)[gap.round]
    bounds = format_value(gap.low), format_value(gap.high)
    return [name, gap.key, _percent(gap.share), _percent(gap.chance), *bounds, f"{width}: {comment}"]


def importance_section(weights: Sequence[Importance]) -> list[Section]:
    """Return the section with the importances; none if there are too few trials."""
    if not weights:
        return []
    relevant = [i.key for i in weights if i.beyond_chance]
    summary = f"Beyond chance: {', '.join(relevant)}." if relevant else "No parameter exceeds chance: run more trials."
    return [Section("Importance", [importance_chart(weights)], summary=summary)]


def sampler_section(search: Search) -> list[Section]:
    """Return the section that compares samplers; none if there is one sampler."""
    stats = sampler_stats(search)
    if len(stats) < 2:
        return []
    rows: list[list[Cell]] = [["trials", *(s.trials for s in stats)], ["best score", *(s.best for s in stats)]]
    for p in search.rounds[0].parameters:
        rows.append([f"distinct values of {p.key}", *(s.distinct[p.key] for s in stats)])
        if any(p.key in s.gaps for s in stats):
            rows.append([f"widest gap of {p.key}, % of its range", *(_percent(s.gaps.get(p.key)) for s in stats)])
    summary = (
        "Each sampler has the same number of trials. A grid repeats each value of a parameter for every value of the "
        "others; if one parameter decides, most of the grid is wasted. One search is one draw: its best score is "
        "partly luck."
    )
    table = Table(["", *(s.sampler for s in stats)], rows, sortable=False)
    chart = samplers_chart(search, stats)
    blocks: list[Block] = [*([chart] if chart else []), table, progress_chart(search, stats)]
    return [Section("Comparison of samplers", blocks, summary=summary)]


def trial_section(search: Search, best: Trial | None, directory: Path) -> Section:
    """Return the section with the table of all trials. `directory`: of the search, as it can be typed."""
    ranks = {t.number: rank for rank, t in enumerate(search.ranking(), start=1)}
    keys = list(dict.fromkeys(p.key for search_round in search.rounds for p in search_round.parameters))
    headers = ["rank", "trial", "round", metric_name(search), *keys, "state", "seconds", "reason"]
    names = round_names(search)
    order = sorted(search.trials, key=lambda t: (ranks.get(t.number, len(ranks) + 1), t.number))
    rows: list[list[Cell]] = [
        [
            ranks.get(t.number),
            Link(str(t.number), trial_link(t)) if t.directory else t.number,
            names[t.round],
            t.score,
            *(_value_cell(t.params.get(key)) for key in keys),
            t.state,
            t.seconds,
            t.reason,
        ]
        for t in order
    ]
    states = Counter(t.state for t in search.trials if t.state != COMPLETE)
    incomplete = f" Not complete: {', '.join(f'{n} {state}' for state, n in states.items())}." if states else ""
    blocks: list[Block] = [Table(headers, rows)]
    if best is not None and best.directory:
        path = shlex.quote(str(directory / best.directory))
        blocks.insert(0, Command(f"python -m pipeline report {path}", "write a page for one trial, such as the best"))
    return Section("Trials", blocks, summary=f"All trials, the best first, as in trials.csv.{incomplete}")


def _percent(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 1)


def _value_cell(value: Value) -> Cell:
    """Return a value for a table: a number sorts as a number, everything else as text."""
    return str(value) if isinstance(value, (bool, str)) else value
