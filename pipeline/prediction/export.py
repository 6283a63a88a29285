"""A trained network with its preprocessing as one file for other programs: ONNX, or torch.export.

The file maps raw pixels (N, C, H, W), N from 1, to probabilities or values, and holds the names of the classes and how
inputs are read. It is compared with the original on real inputs before it appears under its name.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.data.dataset import REGRESSION
from pipeline.errors import UserError
from pipeline.prediction.predictor import Predictor
from pipeline.runs.paths import write_atomic

ONNX, TORCH = FORMATS = ("onnx", "torch.export")
ENDINGS = {ONNX: ".onnx", TORCH: ".pt2"}
INPUT, OUTPUTS = "pixels", {REGRESSION: "values"}
TOLERANCE = 1e-4
"""The largest difference of a probability, or of a value in units of its deviation: 32-bit floats in another order of
the sums differ by about 1e-6, a layer that is exported wrongly by far more."""
BATCH_SIZES = (1, 2, 5)
"""Sizes of the batches of the comparison; the rest of the inputs is one batch more."""
METADATA = "metadata.json"

Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Export:
    """A file that was written, and how far it is from the original."""

    path: Path
    difference: float
    """The largest difference of a probability, or of a value in units of its deviation."""
    inputs: int
    """Inputs that were compared."""


def export_predictor(predictor: Predictor, form: str, path: Path, pixels: Tensor) -> Export:
    """Write the network into `path`, if it gives what the original gives for raw `pixels` (N, C, H, W), N at least 1.

    Raises `UserError` where the network cannot be exported, the file differs by more than `TOLERANCE`, or a package is
    missing; nothing is left behind then.
    """
    if form == ONNX:
        _require_onnx()
    module = predictor.as_module().cpu().eval()
    while len(pixels) < sum(BATCH_SIZES):
        pixels = torch.cat([pixels, pixels])
    program = _trace(module, pixels[:2])
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export") as folder:
        written = Path(folder) / path.name
        with _quiet():
            metadata = describe(predictor, pixels)
            run = (_write_onnx if form == ONNX else _write_torch)(program, written, metadata)
            difference = _compare(predictor, module, run, pixels)
        if not difference <= TOLERANCE:
            raise UserError(
                f"the exported network differs from the original by {difference:.2g}, and at most {TOLERANCE:g} is "
                "allowed. Nothing was written. Does it draw random numbers when it is evaluated?"
            )
        data = written.read_bytes()
    write_atomic(path, lambda file: file.write(data))
    return Export(path, difference, len(pixels))


def describe(predictor: Predictor, pixels: Tensor) -> dict[str, Any]:
    """Return what a user of the file must know, as plain data: classes, shape, type and reading of the inputs."""
    return {
        "task": predictor.task,
        "classes": list(predictor.classes),
        "input": {
            "name": INPUT,
            "shape": ["N", *predictor.input_shape],
            "type": str(pixels.dtype).removeprefix("torch."),
            "scale": predictor.input_format.scale,
            "reading": dict(predictor.input_format.reading),
        },
        "output": OUTPUTS.get(predictor.task, "probabilities"),
    }


def _trace(module: nn.Module, pixels: Tensor) -> torch.export.ExportedProgram:
    """Return the exported program with a free number of inputs."""
    batch = torch.export.Dim("batch", min=1)
    try:
        with _quiet(), torch.no_grad():
            return torch.export.export(module, (pixels,), dynamic_shapes=({0: batch},))
    except Exception as error:  # whatever the code of a network runs into
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError(
            f"torch.export cannot export this network ({type(error).__name__}: {reason}). Its forward pass must not "
            "depend on the values of tensors or on the number of inputs: use torch.where and shapes in place of `if` "
            "and .item()."
        ) from error


def _write_torch(program: torch.export.ExportedProgram, path: Path, metadata: dict[str, Any]) -> Run:
    torch.export.save(program, path, extra_files={METADATA: json.dumps(metadata)})
    return torch.export.load(path).module()


def _write_onnx(program: torch.export.ExportedProgram, path: Path, metadata: dict[str, Any]) -> Run:
    import onnxruntime

    batch = torch.export.Dim("batch", min=1)
    try:
        exported = torch.onnx.export(
            program, dynamo=True, input_names=[INPUT], output_names=[metadata["output"]], dynamic_shapes=({0: batch},)
        )
        assert exported is not None
        exported.model.metadata_props.update({key: json.dumps(value) for key, value in metadata.items()})
        exported.save(path, external_data=False)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # an operation that ONNX does not have, or a model above its 2 GB
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError(
            f"this network cannot be written as ONNX ({type(error).__name__}: {reason}). --format torch.export has all "
            "operations of torch."
        ) from error
    return lambda pixels: torch.from_numpy(np.asarray(session.run(None, {INPUT: pixels.numpy()})[0]))


@torch.inference_mode()
def _compare(predictor: Predictor, module: nn.Module, run: Run, pixels: Tensor) -> float:
    """Return the largest difference between the original and the written network, over batches of several sizes."""
    unit = torch.ones(1) if predictor.target_moments is None else predictor.target_moments[1].float()
    sizes = [*BATCH_SIZES, len(pixels) - sum(BATCH_SIZES)]
    differences = []
    for part in pixels.split([size for size in sizes if size]):
        expected, given = predictor.to_answers(predictor.predict_batch(part)), run(part.clone())
        if expected.shape != given.shape:
            return float("inf")
        differences.append(((expected - given) / unit).abs().max())
    return float(torch.stack(differences).max())


def _require_onnx() -> None:
    missing = [package for package in ("onnx", "onnxscript", "onnxruntime") if find_spec(package) is None]
    if missing:
        raise UserError(
            f"ONNX needs {' and '.join(missing)}: pip install 'staged-training-pipeline[onnx]'. --format torch.export "
            "needs no more than torch.",
            field="--format",
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide what the exporters print about their own steps."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
