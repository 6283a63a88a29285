"""report.html of a search: its result in sentences, charts and a table. Computed from a `Search` alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pipeline.report.blocks import Block, Callout, Command, Section, StatTiles
from pipeline.report.page import render_page
from pipeline.search.records import COMPLETE, FINISHED, Search, Trial
from pipeline.search.report.charts import curves_chart, seeds_chart
from pipeline.search.report.sections import (
    importance_section,
    parameter_section,
    relevant_edges,
    sampler_section,
    trial_section,
)
from pipeline.search.report.style import format_value, metric_name, round_names
from pipeline.search.results.compare_best import SeedComparison
from pipeline.search.results.importance import Importance, importances

COMPARISON_TITLES = {
    "better": "The best trial is better than the second best",
    "within_noise": "The best two trials are equal within seed noise",
    "worse": "The second best trial is better",
    "broken": "One of the best two trials breaks with other seeds",
    "inconclusive": "The seeds do not decide",
    "single": "Only one trial is complete",
}
OPEN_TRIAL_ON_CLICK = """addEventListener("plotly", () => new MutationObserver(() => {
  for (const plot of document.querySelectorAll(".plot")) plot.on?.("plotly_click", ({ points }) => {
    const directory = points[0].customdata;
    if (typeof directory === "string" && directory) location.assign(directory);
  });
}).observe(document.documentElement, { attributes: true, attributeFilter: ["data-drawn"] }));"""
"""Script of the page: a click on a trial opens its directory."""


def search_page(search: Search, comparison: SeedComparison | None, *, best_file: str) -> str:
    """Return the page as HTML. `best_file`: path of the recipe as it can be typed."""
    weights = importances(search)
    best = next((t for t in search.trials if comparison and t.number == comparison.chosen), None)
    best = best or next(iter(search.ranking()), None)
    has_curves = any(t.scores for t in search.trials)
    sections = [
        *([_comparison_section(search, comparison)] if comparison else []),
        parameter_section(search, best, weights),
        *importance_section(weights),
        *([Section("Learning curves", [curves_chart(search, best)])] if has_curves else []),
        *sampler_section(search),
        trial_section(search, best, Path(best_file).parent),
    ]
    return render_page(
        title=f"search {search.name}",
        verdict=_headline(search, best, comparison),
        status=_status(search, best, weights),
        subtitle=_subtitle(search),
        top=_top(search, best, comparison, best_file),
        sections=sections,
        scripts=[OPEN_TRIAL_ON_CLICK],
    )


def _headline(search: Search, best: Trial | None, comparison: SeedComparison | None) -> str:
    if best is None:
        if not search.finished:
            return "No trial is complete yet."
        return "No trial is complete: the table of trials below has the reasons."
    metric = metric_name(search).capitalize()
    values = ", ".join(f"{key}={format_value(value)}" for key, value in best.params.items())
    retrained = comparison.retrained(best.number) if comparison else None
    if retrained is not None and retrained.mean is not None:
        spread = "" if retrained.spread is None else f" ± {retrained.spread:.4f}"
        return f"{metric} {retrained.mean:.4f}{spread} over {len(retrained.known)} seeds with {values}"
    return f"{metric} {best.score:.4f} with {values}"


def _status(search: Search, best: Trial | None, weights: Sequence[Importance]) -> str:
    if not search.finished:
        return "interrupted"
    return "failed" if best is None else "warning" if relevant_edges(search, weights) else "passed"


def _subtitle(search: Search) -> str:
    n_finished = sum(t.state in FINISHED for t in search.trials)
    rounds = ", then ".join(
        f"{name} ({sum(t.round == i for t in search.trials)} trials of {search_round.epochs} epochs)"
        for i, (name, search_round) in enumerate(zip(round_names(search), search.rounds, strict=True))
    )
    interrupted = "" if search.finished else "Interrupted: the same command resumes the search. "
    return f"{interrupted}{n_finished} of {len(search.trials)} trials finished: {rounds}."


def _top(search: Search, best: Trial | None, comparison: SeedComparison | None, best_file: str) -> list[Block]:
    states = Counter(t.state for t in search.trials)
    others = ", ".join(f"{n} {state}" for state, n in states.items() if state != COMPLETE)
    seconds = _format_seconds(sum(t.seconds for t in search.trials))
    n_workers = len({t.worker for t in search.trials if t.worker})
    workers = f"on {n_workers} worker{'s' if n_workers != 1 else ''}" if n_workers else ""
    tiles = [
        ("complete trials", str(states[COMPLETE]), others or "all trials", ""),
        ("time in trials", seconds, workers, ""),
    ]
    if best is not None and best.score is not None:
        images = f"on {search.examples} validation images"
        tiles.insert(0, (f"in the search: trial {best.number}", f"{best.score:.4f}", images, "passed"))
    retrained = comparison.retrained(best.number) if comparison and best else None
    if retrained is not None and retrained.mean is not None:
        spread = f", ± {retrained.spread:.4f}" if retrained.spread else ""
        seeds = f"mean of {len(retrained.known)} other seeds{spread}"
        tiles.insert(1, ("trained again", f"{retrained.mean:.4f}", seeds, "passed"))
    blocks: list[Block] = [StatTiles(tiles)]
    if best is not None:
        blocks.append(Command(search.command_for(best_file), "train the best configuration"))
    blocks.append(Command(search.command, "repeat or resume the search"))
    return blocks


def _comparison_section(search: Search, comparison: SeedComparison) -> Section:
    status = "passed" if comparison.verdict in ("better", "single") else "info"
    callout = Callout(status, COMPARISON_TITLES[comparison.verdict], comparison.sentence)
    return Section("Best two trials", [callout, seeds_chart(search, comparison)], status)


def _format_seconds(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
