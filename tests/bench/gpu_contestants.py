"""How each contestant of tests/bench/gpu.py trains."""

from __future__ import annotations

import contextlib
import functools
import gc
import io
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pipeline.config.compose import compose_config
from pipeline.workflow.build import build_components
from pipeline.workflow.components import Components
from pipeline.workflow.runner import run
from tests.bench.contestants import Case, bare_loop, overrides, run_template
from tests.bench.gpu_cases import (
    BARE,
    BARE_CHANNELS_LAST,
    BARE_COMPILED,
    BEST_TEMPLATE,
    PIPELINES,
    USUAL_TEMPLATE,
)
from tests.bench.template import BEST, USUAL


def _bare_loop(components: Components, _: Path, *, channels_last: bool = False, compiled: bool = False) -> float:
    bf16 = components.device_config.amp_dtype is torch.bfloat16
    return bare_loop(components, channels_last=channels_last, bf16=bf16, compiled=compiled)


OTHERS: dict[str, Callable[[Components, Path], float]] = {
    BARE: _bare_loop,
    BARE_CHANNELS_LAST: functools.partial(_bare_loop, channels_last=True),
    BARE_COMPILED: lambda components, folder: _bare_loop(
        components, folder, channels_last=components.channels_last, compiled=True
    ),
    USUAL_TEMPLATE: lambda components, folder: run_template(components, folder, USUAL),
    BEST_TEMPLATE: lambda components, folder: run_template(components, folder, BEST),
}
"""Contestant -> a function that trains for one epoch and returns its seconds."""


def train(case: dict[str, Any], data: str, name: str, epochs: int, trainer: str) -> dict[str, Any]:
    """Let the contestant `name` train on the network of `case`, its fields as plain data, and return its times.

    `seconds_a_step` is what an optimizer step takes, validation and the end of an epoch included. A pipeline's first
    epoch, which compiles and captures, is left out; `stage_seconds_a_step` is that of the whole train stage. `trainer`
    is cpu or gpu.
    """
    warnings.simplefilter("ignore")
    fields = case | {"overrides": (*case["overrides"], f"trainer={trainer}"), "shape": tuple(case["shape"])}
    contest = Case(**fields | {"epochs": epochs})
    _begin_network(contest.name)
    try:
        if name in PIPELINES:
            return _train_pipeline(contest, Path(data), name)
        components = _components(Case(**fields), Path(data))
        with contextlib.redirect_stdout(io.StringIO()):
            seconds = sum(OTHERS[name](components, Path(data).parent) for _ in range(epochs))
        return {"seconds_a_step": seconds / (epochs * contest.steps), "epochs": epochs}
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # for the contestants of other processes


@functools.lru_cache(maxsize=1)
def _begin_network(name: str) -> None:
    """Forget the compiled code of the network before: torch compiles a function for eight of them at most."""
    torch.compiler.reset()


@functools.lru_cache(maxsize=1)
def _components(case: Case, data: Path) -> Components:
    return build_components(compose_config(overrides(case, data)))


def _train_pipeline(case: Case, data: Path, name: str) -> dict[str, Any]:
    more = PIPELINES[name]
    if "trainer=cpu" in case.overrides:  # a dry run, without graphs
        more = tuple(override.replace("cuda_graph=true", "cuda_graph=auto") for override in more)
    args = overrides(case, data, *more)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):  # where the progress bar is drawn
        result = run(compose_config(args), overrides=args)
    outcome = result.outcomes[0]
    shutil.rmtree(result.directory)  # large checkpoints, many times
    seconds = [row["seconds"] for row in outcome.metrics["history"]]
    if len(seconds) != case.epochs:
        raise RuntimeError(f"the training ended after {len(seconds)} of {case.epochs} epochs\n{printed.getvalue()}")
    signals = outcome.signals or {}
    return {
        "seconds_a_step": (seconds[-1] - seconds[0]) / ((case.epochs - 1) * case.steps),
        "stage_seconds_a_step": outcome.seconds / (case.epochs * case.steps),
        "first_epoch_seconds": seconds[0],
        "epochs": case.epochs,
        "steps": case.epochs * case.steps,
        "graph_steps": signals.get("graph_steps"),
        "graph_refused": signals.get("graph_refused"),
    }
