"""Runs tasks in a worker process: each trial from its configuration to its result."""

from __future__ import annotations

import dataclasses
import gc
import math
import os
import shutil
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.errors import FAILED, PASSED, UserError
from pipeline.runs.json_files import OUTCOME, SCHEMA, SIGNALS, to_json
from pipeline.search.records import BROKEN, COMPLETE, CRASHED, PRUNED
from pipeline.search.workers.task import Task
from pipeline.training.metrics import AUTO, choose_monitor
from pipeline.workflow.build import BuildCache, build_from_dict
from pipeline.workflow.components import Components, RunContext
from pipeline.workflow.execution import execute
from pipeline.workflow.outcome import Outcome
from pipeline.workflow.outcome_writer import OutcomeWriter
from pipeline.workflow.stage_loop import run_stage


class TrialPruned(Exception):
    """The pruner has stopped the trial."""


class TrialRunner:
    """Runs tasks one after another, and keeps what the next one may use again.

    `should_prune(epoch, score)` returns whether the running trial is to stop.
    """

    def __init__(self, should_prune: Callable[[int, float], bool]):
        self.should_prune = should_prune
        self.cache = BuildCache()

    def run(self, task: Task) -> Any:
        """Run the task and return its result."""
        try:
            return self._check_sanity(task) if task.is_sanity_check else self._run_trial(task)
        finally:  # a network and its trainer refer to each other, and the networks of a dozen trials would be in memory
            gc.collect()

    def _check_sanity(self, task: Task) -> dict[str, Any] | UserError:
        """Run the stage `sanity`, if it is chosen, as a run of its own.

        Return its entry in outcome.json and the size of the validation split, or the user's mistake.
        """
        assert task.directory is not None
        try:
            components = build_from_dict(task.config, cache=self.cache)
            _check_metric(components.data.task, task.metric)
            stages = {name: stage for name, stage in components.stages.items() if name == "sanity"}
            components = dataclasses.replace(components, stages=stages, loggers={})
            context = RunContext(task.directory)
            outcomes = execute(components, context, arguments=task.arguments).outcomes if stages else ()
        except UserError as error:
            return error
        return {"stage": next((o.to_dict() for o in outcomes), None), "examples": len(components.data.val)}

    def _run_trial(self, task: Task) -> dict[str, Any]:
        """Run a trial, and return the fields of a `Trial` that it decides. Errors in the trial become its state."""
        started = time.perf_counter()
        scores: list[float] = []
        result: dict[str, Any] = {"scores": scores}
        try:
            components = build_from_dict(_with_monitor(task), cache=self.cache)
            result["seed"] = components.seed
            context = RunContext(is_trial=True, on_epoch_end=self._make_epoch_callback(task, scores))
            outcome = run_stage(components, context, "train", ())
            result |= _summarize(outcome, task.metric)
            if task.directory is not None:
                _write_trial_dir(components, task, task.directory, outcome)
                result["directory"] = f"{task.directory.parent.name}/{task.directory.name}"
        except TrialPruned:
            reason = f"pruned after {len(scores)} epochs at {task.metric} {scores[-1]:.4g}"
            result |= {"state": PRUNED, "reason": reason, "score": scores[-1]}
        except UserError as error:
            result |= {"state": CRASHED, "reason": " ".join(str(error).split())}
        except Exception as error:  # noqa: BLE001 - an error in a trial must not end the search
            result |= {"state": CRASHED, "reason": _describe_error(error)}
        result["seconds"] = round(time.perf_counter() - started, 4)
        return result

    def _make_epoch_callback(self, task: Task, scores: list[float]) -> Callable[[dict[str, float]], None]:
        """Return a function that appends the score of each epoch to `scores`, and asks the pruner."""
        epochs = task.config["stages"]["train"]["epochs"]

        def on_epoch_end(row: dict[str, float]) -> None:
            scores.append(row[task.metric])
            can_save_time = task.asks_pruner and len(scores) < epochs
            if can_save_time and math.isfinite(scores[-1]) and self.should_prune(len(scores) - 1, scores[-1]):
                raise TrialPruned

        return on_epoch_end


def _with_monitor(task: Task) -> dict[str, Any]:
    """Return the configuration with the metric among the scores of each epoch."""
    stages = task.config["stages"]
    if task.metric in ("val_loss", "val_accuracy") or stages["train"]["monitor"] != AUTO:
        return task.config
    train = stages["train"] | {"monitor": task.metric}
    return task.config | {"stages": stages | {"train": train}}


def _check_metric(name: str, metric: str) -> None:
    """Raise `UserError` where the task `name` has no such score."""
    try:
        choose_monitor(name, metric)
    except UserError as error:
        raise UserError(error.message, field="search.metric") from error


def _describe_error(error: Exception) -> str:
    location = traceback.extract_tb(error.__traceback__)[-1]
    message = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {message} ({Path(location.filename).name}:{location.lineno})"


def _summarize(outcome: Outcome, metric: str) -> dict[str, Any]:
    """Return the state of a trial that has trained, its score and its metrics."""
    metrics = outcome.metrics
    keys = [key for key in metrics if key.startswith("val_") or key == "best_epoch"]
    numbers = {str(key): float(metrics[key]) for key in keys}
    if metrics["history"]:
        last = metrics["history"][-1]
        numbers |= {key: float(last[key]) for key in ("loss", "accuracy", "r2") if key in last}
    broken = {"state": BROKEN, "metrics": numbers}
    if "exploded_step" in metrics:
        cost, original, step = (metrics[key] for key in ("exploded_cost", "original_cost", "exploded_step"))
        reason = f"cost {cost:.3g} above {metrics['break_factor']:g} x the original cost {original:.3g} at step {step}"
        return broken | {"reason": reason}
    if "nonfinite_step" in metrics:
        return broken | {"reason": f"cost not finite at step {metrics['nonfinite_step']}"}
    score = numbers.get(metric, math.nan)
    if not math.isfinite(score):
        return broken | {"reason": f"{metric} is {score}"}
    return {"state": COMPLETE, "score": score, "metrics": numbers}


def _write_trial_dir(components: Components, task: Task, directory: Path, outcome: Outcome) -> None:
    """Write the record of the trial, as that of a run, in one move.

    Its files are not forced to the disk: the study counts, and a trial that is not in it runs again.
    """
    writer = OutcomeWriter(components, RunContext(directory), task.arguments)
    status, exit_code = ("passed", PASSED) if outcome.passed else ("failed", FAILED)
    temporary = directory.with_name(f".{directory.name}.{os.getpid()}")
    (temporary / ".hydra").mkdir(parents=True)
    contents = {
        OUTCOME: writer.to_dict(components, [outcome], status, exit_code),
        SIGNALS: {"schema": SCHEMA, "stages": {outcome.name: outcome.signals}},
        ".hydra/config.yaml": components.config,  # JSON is YAML
        ".hydra/overrides.yaml": list(task.overrides),
    }
    for name, content in contents.items():
        (temporary / name).write_text(to_json(content) + "\n")
    if directory.exists():  # its worker was killed before it could report the result
        shutil.rmtree(directory)
    temporary.replace(directory)
