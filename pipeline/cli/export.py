"""`export`: write the network of a run with its preprocessing as one file for other programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.cli.evaluate_run import recorded_overrides
from pipeline.cli.parser import CommandParser
from pipeline.cli.run_arguments import add_run_arguments
from pipeline.config.compose import compose_config
from pipeline.config.to_dict import to_dict
from pipeline.errors import PASSED, UserError
from pipeline.report.console import console
from pipeline.runs.find_checkpoint import find_checkpoint
from pipeline.runs.paths import run_of_checkpoint

FORMATS = {"onnx": ".onnx", "torch.export": ".pt2"}
INPUTS = 64
"""Inputs on which the file is compared with the original."""


def export(args: Sequence[str]) -> int:
    """Export, compare, and print the largest difference."""
    parser = CommandParser(
        "export",
        "Write a trained network with its preprocessing as one file, which maps raw pixels to probabilities, and "
        "compare it with the original on real inputs.",
    )
    add_run_arguments(parser)
    parser.add_argument("inputs", metavar="INPUT", nargs="*", type=Path,
                        help="inputs to compare on; without them, test examples of the run's own data")  # fmt: skip
    parser.add_argument("--format", choices=tuple(FORMATS), required=True, help="ONNX, or a program of torch.export")
    parser.add_argument("--out", type=Path, help="the file; by default best.onnx or best.pt2 in the run's folder")
    parsed = parser.parse(args, intermixed=True)
    checkpoint = find_checkpoint(parsed.run, parsed.outputs, parsed.checkpoint)
    out = parsed.out or run_of_checkpoint(checkpoint) / f"{checkpoint.stem}{FORMATS[parsed.format]}"
    if out.is_dir() or out.suffix != FORMATS[parsed.format]:
        raise UserError(f"must be a file that ends in {FORMATS[parsed.format]}, not {str(out)!r}.", field="--out")

    from pipeline.prediction.export import TOLERANCE, export_predictor
    from pipeline.prediction.predictor import load_predictor

    with console().status("exporting ..."):
        predictor = load_predictor(checkpoint)
        pixels = _given_pixels(parsed.inputs, predictor) if parsed.inputs else _own_pixels(checkpoint)
        written = export_predictor(predictor, parsed.format, out, pixels)
    print(written.path)
    difference = f"{written.difference:.2g} on {written.inputs} inputs (allowed: {TOLERANCE:g})"
    print(f"largest difference from the original: {difference}")
    return PASSED


def _given_pixels(inputs: Sequence[Path], predictor: Any) -> Any:
    """Return raw pixels of the first inputs."""
    from pipeline.prediction.read_inputs import read_inputs

    unreadable: dict[str, str] = {}
    batch = next(read_inputs(inputs, predictor.input_format, on_unreadable=unreadable.__setitem__), None)
    if batch is None:
        raise UserError(f"none of the inputs can be read: {unreadable}.")
    return batch.pixels[:INPUTS]


def _own_pixels(checkpoint: Path) -> Any:
    """Return raw pixels of test examples of the run."""
    from pipeline.workflow.build import load_data

    overrides, config_dir = recorded_overrides(run_of_checkpoint(checkpoint))
    try:
        return load_data(to_dict(compose_config(overrides, config_dir=config_dir))["data"]).test.pixels[:INPUTS]
    except UserError as error:
        raise UserError(
            f"the data of the run cannot be loaded ({error}). Give inputs: export RUN INPUT --format ...", field="INPUT"
        ) from error
