"""The files that a search leaves beside search.json: trials.csv, best.yaml, final.json, report.html."""

from __future__ import annotations

import csv
import io
import shlex
from pathlib import Path
from typing import Any

from pipeline.config.compose import CONF
from pipeline.config.experiments import to_experiment_yaml
from pipeline.runs.json_files import to_json
from pipeline.runs.paths import write_text
from pipeline.search.records import Search, Trial
from pipeline.search.report.page import search_page
from pipeline.search.results.analysis import is_number
from pipeline.search.results.compare_best import RetrainedTrial, SeedComparison

TRIALS, BEST, FINAL, REPORT = "trials.csv", "best.yaml", "final.json", "report.html"
NOT_OF_A_RECIPE = ("stage", "search", "hydra", "resume", "fix", "verbose", "outputs", "report")
"""Keys that say how the search was run, or where, rather than what was trained."""


def write(search: Search, comparison: SeedComparison | None = None) -> None:
    """All of them, each whole; best.yaml once a trial is complete, final.json once the winner was trained again."""
    folder = Path(search.directory)
    write_text(folder / REPORT, search_page(search, comparison, best_file=_typed(folder / BEST)))
    write_text(folder / TRIALS, trials_csv(search))
    if (best := chosen(search, comparison)) is not None:
        write_text(folder / BEST, recipe(search, best, comparison))
    if comparison is not None:
        write_text(folder / FINAL, to_json(comparison.as_dict(), indent=1) + "\n")


def chosen(search: Search, comparison: SeedComparison | None = None) -> Trial | None:
    """The trial to keep: the first of the ranking, unless the seeds spoke for the runner-up."""
    if comparison is not None:
        return next((t for t in search.trials if t.number == comparison.chosen), None)
    return next(iter(search.ranking()), None)


def trials_csv(search: Search) -> str:
    """One row per trial, in the order of their numbers; parameters under their keys, lists of overrides as typed."""
    places = {trial.number: place for place, trial in enumerate(search.ranking(), start=1)}
    rows = [_row(trial, search, places.get(trial.number)) for trial in sorted(search.trials, key=lambda t: t.number)]
    columns = dict.fromkeys(column for row in rows for column in row) or _row(_NOBODY, search, None)
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def recipe(search: Search, best: Trial, comparison: SeedComparison | None = None) -> str:
    """best.yaml: the trial as a recipe, with what to expect of it in its header."""
    kept = [word for word in (*search.base, *best.overrides) if _belongs(_key(word))]
    kept = [word for word in kept if _key(word) != "stages.train.epochs"]
    kept.append(f"stages.train.epochs={search.rounds[-1].epochs}")
    groups = [folder.relative_to(CONF).as_posix() for folder in CONF.rglob("*") if folder.is_dir()]
    return to_experiment_yaml(kept, groups=groups, header="\n".join(_header(search, best, comparison)))


def _header(search: Search, best: Trial, comparison: SeedComparison | None) -> list[str]:
    name = f"Trial {best.number} of {len(search.trials)} of the search {search.name}"
    lines = [f"{name}: {search.metric} {best.score:.4f} on {search.examples} validation images."]
    if (again := _again(comparison, best.number)) is not None and again.mean is not None:
        spread = "" if again.spread is None else f" ± {again.spread:.4f}"
        lines += [f"With {len(again.known)} other seeds: {again.mean:.4f}{spread} (mean ± standard deviation)."]
    use = search.command_for(_typed(Path(search.directory) / BEST))
    lines += ["", f"  {use}", "", "It was found with", f"  {search.command}"]
    return lines


def _typed(path: Path) -> str:
    """As it can be typed where the search was: shorter where it lies below."""
    here = Path.cwd()
    return str(path.resolve().relative_to(here)) if path.resolve().is_relative_to(here) else str(path)


def _again(comparison: SeedComparison | None, number: int) -> RetrainedTrial | None:
    trained = (comparison.winner, comparison.runner_up) if comparison else ()
    return next((r for r in trained if r is not None and r.trial == number), None)


def _row(trial: Trial, search: Search, place: int | None) -> dict[str, Any]:
    about = search.rounds[trial.round].name if trial.round < len(search.rounds) else ""
    row: dict[str, Any] = {
        "trial": trial.number,
        "place": place,
        "round": trial.round,
        "round_name": about,
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


def _belongs(key: str) -> bool:
    return not key.startswith("hydra") and key.partition(".")[0] not in NOT_OF_A_RECIPE


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


_NOBODY = Trial(number=0, round=0, params={}, overrides=(), state="")
