"""The files that a search writes beside search.json: trials.csv, best.yaml, final.json, report.html."""

from __future__ import annotations

import csv
import io
import shlex
from pathlib import Path
from typing import Any

from pipeline.config.compose import CONF
from pipeline.config.experiments import to_experiment_yaml
from pipeline.config.override_keys import override_key
from pipeline.runs.json_files import to_json
from pipeline.runs.paths import write_text
from pipeline.search.records import Search, Trial
from pipeline.search.report.page import search_page
from pipeline.search.results.analysis import is_number
from pipeline.search.results.compare_best import SeedComparison

TRIALS, BEST, FINAL, REPORT = "trials.csv", "best.yaml", "final.json", "report.html"
NOT_IN_RECIPE = ("stage", "search", "hydra", "resume", "fix", "verbose", "outputs", "report")
"""Keys that say how or where the search ran, and not what was trained."""


def write_results(search: Search, comparison: SeedComparison | None = None) -> None:
    """Write all files, each in one move.

    best.yaml is written if a trial is complete, and final.json if the best two were trained again.
    """
    directory = Path(search.directory)
    write_text(directory / REPORT, search_page(search, comparison, best_file=_typed_path(directory / BEST)))
    write_text(directory / TRIALS, trials_csv(search))
    if (best := chosen_trial(search, comparison)) is not None:
        write_text(directory / BEST, best_recipe(search, best, comparison))
    if comparison is not None:
        write_text(directory / FINAL, to_json(comparison.as_dict(), indent=1) + "\n")


def chosen_trial(search: Search, comparison: SeedComparison | None = None) -> Trial | None:
    """Return the trial to use: that of the comparison, or else the first of the ranking."""
    if comparison is not None:
        return next((t for t in search.trials if t.number == comparison.chosen), None)
    return next(iter(search.ranking()), None)


def trials_csv(search: Search) -> str:
    """Return a table with one row for each trial, in the order of their numbers, and a column for each parameter."""
    ranks = {trial.number: rank for rank, trial in enumerate(search.ranking(), start=1)}
    rows = [_csv_row(trial, search, ranks.get(trial.number)) for trial in sorted(search.trials, key=lambda t: t.number)]
    columns = dict.fromkeys(column for row in rows for column in row) or _csv_row(_NO_TRIAL, search, None)
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def best_recipe(search: Search, best: Trial, comparison: SeedComparison | None = None) -> str:
    """Return the trial as a recipe (best.yaml). Its header says which scores to expect."""
    overrides = [override for override in (*search.base, *best.overrides) if _belongs_to_recipe(override)]
    overrides.append(f"stages.train.epochs={search.rounds[-1].epochs}")
    groups = [folder.relative_to(CONF).as_posix() for folder in CONF.rglob("*") if folder.is_dir()]
    return to_experiment_yaml(overrides, groups=groups, header="\n".join(_header(search, best, comparison)))


def _header(search: Search, best: Trial, comparison: SeedComparison | None) -> list[str]:
    name = f"Trial {best.number} of {len(search.trials)} of the search {search.name}"
    lines = [f"{name}: {search.metric} {best.score:.4f} on {search.examples} validation images."]
    retrained = comparison.retrained(best.number) if comparison else None
    if retrained is not None and retrained.mean is not None:
        spread = "" if retrained.spread is None else f" ± {retrained.spread:.4f}"
        lines += [f"With {len(retrained.known)} other seeds: {retrained.mean:.4f}{spread} (mean ± standard deviation)."]
    use = search.command_for(_typed_path(Path(search.directory) / BEST))
    return [*lines, "", f"  {use}", "", "It was found with", f"  {search.command}"]


def _typed_path(path: Path) -> str:
    """Return the path as it can be typed: relative if it lies below the working directory."""
    here = Path.cwd()
    return str(path.resolve().relative_to(here)) if path.resolve().is_relative_to(here) else str(path)


def _csv_row(trial: Trial, search: Search, rank: int | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "trial": trial.number,
        "place": rank,
        "round": trial.round,
        "round_name": search.rounds[trial.round].name if trial.round < len(search.rounds) else "",
        "state": trial.state,
        "reason": trial.reason,
        "score": trial.score,
    }
    row |= trial.params
    row |= {f"metrics.{name}": value for name, value in trial.metrics.items() if is_number(value)}
    return row | {
        "epochs": len(trial.scores),
        "trial_seed": trial.seed,
        "seconds": round(trial.seconds, 3),
        "sampler": trial.sampler,
        "worker": trial.worker,
        "directory": trial.directory,
        "overrides": shlex.join(trial.overrides),
    }


def _belongs_to_recipe(override: str) -> bool:
    key = override_key(override)
    is_run_key = key.startswith("hydra") or key.partition(".")[0] in NOT_IN_RECIPE
    return not is_run_key and key != "stages.train.epochs"


_NO_TRIAL = Trial(number=0, round=0, params={}, overrides=(), state="")
