"""A training pipeline that will not train what is broken.

`pipeline.run(["init=zeros", "stage=sanity"])` runs the workflow and returns a `RunResult`;
`pipeline.load("outputs/latest")` returns a predictor for raw images.

For a training loop of your own there are `preflight`, which checks a model before it is trained, and `watch`, which
checks it while it is trained; `LightningWatch` and `HFWatch` are the same for the trainers of Lightning and of Hugging
Face. Importing this package imports no torch and changes nothing in the process.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    from pipeline.prediction.predictor import Predictor
    from pipeline.watching.errors import CheckFailed, PreflightError
    from pipeline.watching.findings import Findings
    from pipeline.watching.lightning import LightningWatch
    from pipeline.watching.transformers import HFWatch
    from pipeline.watching.watch import Watch
    from pipeline.workflow.result import RunResult

__all__ = [
    "CheckFailed",
    "Findings",
    "HFWatch",
    "LightningWatch",
    "PreflightError",
    "load",
    "preflight",
    "run",
    "watch",
]
_LAZY = {
    "Findings": "pipeline.watching.findings",
    "CheckFailed": "pipeline.watching.errors",
    "PreflightError": "pipeline.watching.errors",
    "LightningWatch": "pipeline.watching.lightning",
    "HFWatch": "pipeline.watching.transformers",
}
"""Names that are imported when they are asked for: each needs a package that other users may not have."""


def run(overrides: Sequence[str] = (), *, quiet: bool = False, config_dir: str | Path | None = None) -> RunResult:
    """Run the workflow with the same overrides that the command line takes.

    `config_dir` is a folder of options of your own, as `--config-dir` is.

    Raises `pipeline.errors.UserError` where the command line would exit with 2. A stage that fails its checks is a
    result, not an exception: `result.status == "failed"`, and `result.findings` says why.
    """
    from pipeline.config.compose import compose_config
    from pipeline.config.overrides import swept_keys
    from pipeline.errors import UserError
    from pipeline.workflow.process_setup import configure_process

    if keys := swept_keys(overrides):
        raise UserError("takes one value in a single run.", field=keys[0])
    configure_process()
    from pipeline.workflow import runner  # imports torch, so it comes last

    folder = None if config_dir is None else str(config_dir)
    config = compose_config(list(overrides), config_dir=folder)
    return runner.run(config, overrides=list(overrides), quiet=quiet, config_dir=folder)


def load(run_directory: str | Path, checkpoint: str = "best") -> Predictor:
    """Load the trained network of a run: a predictor from images, arrays or files to class names.

    `run_directory` is the directory of a run, its name or id, `latest`, or a .ckpt file; `checkpoint` is best or last.
    Reading and preprocessing are those of the run.
    """
    from pipeline.prediction.predictor import load_predictor
    from pipeline.runs.find_checkpoint import find_checkpoint

    return load_predictor(find_checkpoint(str(run_directory), Path("outputs"), checkpoint))


def preflight(
    model: nn.Module,
    batch: Any,
    loss: Any = None,
    optimizer: Any = None,
    data: Any = None,
    *,
    fit: bool = True,
    ignore: Collection[str] = (),
    quiet: bool = False,
) -> Findings:
    """Check a model, a batch, a loss and an optimizer before training; the model stays as it was.

    Return the findings, ranked, and print them unless `quiet`. `findings.raise_on("failure")` raises `CheckFailed`.

    - `batch`: a pair (inputs, labels) of two examples or more, on the model's device. Inputs are one tensor of any
      shape, or a tuple or dictionary of arguments for the model.
    - `loss`: a function of outputs and labels that returns one number. Without it, the labels decide: cross-entropy for
      whole numbers, the squared error for real ones, the model's own loss for a dictionary.
    - `optimizer`: an optimizer, or a function of parameters that makes one.
    - `data`: the training set as a pair (inputs, labels) or a `Dataset`, or a dictionary of such by train, val, test.
    - `fit`: whether the model is fitted to the batch for some steps, the slowest measurement.
    - `ignore`: names of checks to leave out.

    Raises `PreflightError` where the arguments do not fit together.
    """
    from pipeline.watching.preflight import preflight as check

    return check(model, batch, loss, optimizer, data, fit=fit, ignore=ignore, quiet=quiet)


def watch(
    model: nn.Module,
    optimizer: Optimizer | Sequence[Optimizer] | None = None,
    *,
    classes: int | None = None,
    every: int = 50,
    out: str | Path | None = None,
    policy: str = "warn",
    ignore: Collection[str] = (),
    epochs: int | None = None,
    scheduler: LRScheduler | None = None,
    name: str = "watch",
) -> Watch:
    """Watch a training loop of your own.

        with pipeline.watch(model, optimizer, classes=10) as w:
            for epoch in range(epochs):
                for x, y in loader:
                    with w.step():
                        optimizer.zero_grad()
                        logits = model(x)
                        loss = F.cross_entropy(logits, y)
                        loss.backward()
                        w.backward_done(loss, logits, y)
                        optimizer.step()
                w.epoch(val_loss=val_loss, val_accuracy=val_accuracy)
                if w.should_stop:
                    break

    - `classes`: the number of classes; without it accuracies are not judged.
    - `every`: one step in so many is measured from inside, and the first few; the others cost about 20 microseconds.
    - `out`: a folder for signals.json, outcome.json and report.html.
    - `policy`: "warn" prints findings as they come, "stop" also sets `should_stop` at a failure, "silent" prints
      nothing.
    - `ignore`: names of checks to leave out.
    - `epochs`: how many are planned, if it is known.
    - `scheduler`: the learning-rate scheduler; its length is compared with the moves that the loop makes.

    `w.findings` are the findings so far; after the loop they are those of the whole training.
    """
    from pipeline.watching.watch import Watch

    return Watch(
        model,
        optimizer,
        classes=classes,
        every=every,
        out=out,
        policy=policy,
        ignore=ignore,
        epochs=epochs,
        scheduler=scheduler,
        name=name,
    )


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
