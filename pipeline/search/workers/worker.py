"""One trial in a worker: from its configuration to its result, with everything kept that the next may use again."""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.runs.json_files import OUTCOME, SCHEMA, SIGNALS, to_json
from pipeline.search.records import BROKEN, COMPLETE, CRASHED, PRUNED
from pipeline.search.workers.task import Task
from pipeline.workflow.build import BuildCache, build_from_dict
from pipeline.workflow.components import Components, Outcome
from pipeline.workflow.sequence import OutcomeWriter, run_stages


class TrialPruned(Exception):
    """The pruner stops the trial."""


class TrialRunner:
    """Runs tasks one after another; `ask(epoch, score)` says whether a trial is hopeless."""

    def __init__(self, ask: Callable[[int, float], bool]):
        self.ask = ask
        self.kept = BuildCache()

    def run(self, task: Task) -> Any:
        return self._sanity(task) if task.sanity else self._trial(task)

    def _sanity(self, task: Task) -> dict[str, Any] | UserError:
        """The stage `sanity`, where it is chosen, on the search's configuration, as a run of its own."""
        try:
            parts = build_from_dict(task.config, kept=self.kept)
            stages = {name: stage for name, stage in parts.stages.items() if name == "sanity"}
            assert task.directory is not None
            parts = dataclasses.replace(parts, directory=task.directory, stages=stages, loggers={}, save_images=False)
            outcomes = run_stages(parts, arguments=task.words).outcomes if stages else ()
        except UserError as error:
            return error
        return {"stage": next((o.to_dict() for o in outcomes), None), "examples": len(parts.data.val)}

    def _trial(self, task: Task) -> dict[str, Any]:
        """What a `Trial` has beside its place; never raises for what went wrong in the trial."""
        started = time.perf_counter()
        curve: list[float] = []
        epochs = task.config["stages"]["train"]["epochs"]

        def epoch_ended(row: dict[str, float]) -> None:
            curve.append(row[task.metric])
            ask = task.report and len(curve) < epochs  # after the last nothing is left to save
            if ask and math.isfinite(curve[-1]) and self.ask(len(curve) - 1, curve[-1]):
                raise TrialPruned

        result: dict[str, Any] = {"scores": curve}
        try:
            parts = build_from_dict(task.config, kept=self.kept)
            parts = dataclasses.replace(parts, is_trial=True, save_images=False, on_epoch_end=epoch_ended)
            result["seed"] = parts.seed
            outcome = parts.stages["train"](parts, ())
            result |= _result(outcome, task.metric)
            if task.directory is not None:
                _write_trial_dir(parts, task.directory, task, outcome)
                result["directory"] = f"{task.directory.parent.name}/{task.directory.name}"
        except TrialPruned:
            result |= {"state": PRUNED, "reason": f"hopeless after {len(curve)} epochs: {task.metric} {curve[-1]:.4g}"}
            result["score"] = curve[-1]
        except UserError as error:
            result |= {"state": CRASHED, "reason": str(error)}
        except Exception as error:  # noqa: BLE001 - a trial never ends the search
            place = traceback.extract_tb(error.__traceback__)[-1]
            said = (str(error).strip().splitlines() or [""])[0]
            where = f"{Path(place.filename).name}:{place.lineno}"
            result |= {"state": CRASHED, "reason": f"{type(error).__name__}: {said} ({where})"}
        result["seconds"] = round(time.perf_counter() - started, 4)
        return result


def _result(outcome: Outcome, metric: str) -> dict[str, Any]:
    metrics = outcome.metrics
    known = ["val_accuracy", "val_loss", "best_epoch"]
    numbers = {str(key): float(metrics[key]) for key in known if key in metrics}
    if metrics["history"]:
        last = metrics["history"][-1]
        numbers |= {key: float(last[key]) for key in ("loss", "accuracy")}
    broken = {"state": BROKEN, "metrics": numbers}
    if "exploded_step" in metrics:
        cost, original, step = (metrics[key] for key in ("exploded_cost", "original_cost", "exploded_step"))
        reason = f"cost {cost:.3g}, above {metrics['break_factor']:g} x the original {original:.3g}, at step {step}"
        return broken | {"reason": reason}
    if "nonfinite_step" in metrics:
        return broken | {"reason": f"cost NaN or infinite at step {metrics['nonfinite_step']}"}
    score = numbers.get(metric, math.nan)
    if not math.isfinite(score):
        return broken | {"reason": f"{metric} is {score}"}
    return {"state": COMPLETE, "score": score, "metrics": numbers}


def _write_trial_dir(parts: Components, directory: Path, task: Task, outcome: Outcome) -> None:
    """The trial's record, as a run leaves it, in one go: the folder appears whole. It is not synced to the disk: what
    counts is the study, and a trial that is not in it runs again."""
    record = OutcomeWriter(parts, task.words)
    content = record.to_dict(parts, [outcome], "passed" if outcome.passed else "failed", 0 if outcome.passed else 3)
    beside = directory.with_name(f".{directory.name}.{os.getpid()}")
    (beside / ".hydra").mkdir(parents=True)
    signals = {"schema": SCHEMA, "stages": {outcome.name: outcome.signals}}
    for name, value in [
        (OUTCOME, content),
        (SIGNALS, signals),
        (".hydra/config.yaml", parts.config),  # JSON is YAML
        (".hydra/overrides.yaml", list(task.overrides)),
    ]:
        (beside / name).write_text(to_json(value) + "\n")
    if directory.exists():  # of a worker that was killed before it could tell
        shutil.rmtree(directory)
    beside.replace(directory)
