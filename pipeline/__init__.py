"""A training pipeline that will not train what is broken.

`pipeline.run(["init=zeros", "stage=sanity"])` runs the workflow and returns a `RunResult`;
`pipeline.load("outputs/latest")` gives a predictor on raw images. Importing this imports no torch; import it
before torch, since how OpenMP's threads wait is settled then.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

# Before torch is imported: OpenMP threads that spin for long while they wait make steps ten times slower beside other
# work. 10,000 turns are short enough for that; 1,000 cost 15 % on a quiet machine (docs/LOG.md).
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

if TYPE_CHECKING:
    from pipeline.predictor import Predictor
    from pipeline.workflow import RunResult

__all__ = ["load", "run"]


def run(overrides: Sequence[str] = (), *, quiet: bool = False) -> RunResult:
    """Run the workflow with the same overrides that the command line takes.

    Raises `pipeline.errors.UserError` where the command line would exit with 2. A stage that fails its checks is a
    result, not an exception: `result.status == "failed"`, `result.findings` says why.
    """
    from pipeline.errors import UserError
    from pipeline.overrides import composed, swept
    from pipeline.runner import run_config

    if keys := swept(overrides):
        raise UserError("takes one value in a single run.", field=keys[0])
    return run_config(composed(list(overrides)), overrides=list(overrides), quiet=quiet)


def load(run_directory: str | Path, checkpoint: str = "best") -> Predictor:
    """The trained network of a run, from raw images to class names; preprocessing is inside."""
    from pipeline.predictor import load_predictor

    return load_predictor(Path(run_directory), checkpoint)
