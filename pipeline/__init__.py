"""A training pipeline that will not train what is broken.

`pipeline.run(["init=zeros", "stage=sanity"])` runs the workflow and returns a `RunResult`;
`pipeline.load("outputs/latest")` returns a predictor for raw images. Importing this package imports no torch and
changes nothing in the process.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.predictor import Predictor
    from pipeline.workflow.result import RunResult

__all__ = ["load", "run"]


def run(overrides: Sequence[str] = (), *, quiet: bool = False) -> RunResult:
    """Run the workflow with the same overrides that the command line takes.

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

    return runner.run(compose_config(list(overrides)), overrides=list(overrides), quiet=quiet)


def load(run_directory: str | Path, checkpoint: str = "best") -> Predictor:
    """Load the trained network of a run: a predictor from raw images to class names, preprocessing inside."""
    from pipeline.predictor import load_predictor

    return load_predictor(Path(run_directory), checkpoint)
