"""`predict`: classify images, arrays or rows of a table with the network of a run."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli.parser import CommandParser, positive_int
from pipeline.cli.run_arguments import add_run_arguments
from pipeline.data.tables.text_file import counted
from pipeline.errors import PASSED, UserError
from pipeline.report.console import console
from pipeline.report.prediction_files import describe, to_csv, to_dict
from pipeline.runs.find_checkpoint import find_checkpoint
from pipeline.runs.json_files import to_json
from pipeline.runs.paths import write_text

if TYPE_CHECKING:
    from pipeline.prediction.answers import Answers

MAX_LISTED = 10
"""Inputs that could not be read that are listed on the terminal; all are in the JSON."""
MAX_PICTURES = 300
"""Pictures on the page."""


def predict(args: Sequence[str]) -> int:
    """Predict, print the answers or write them into files, and list what could not be read."""
    parsed = _parse(args)
    checkpoint = find_checkpoint(parsed.run, parsed.outputs, parsed.checkpoint)
    from pipeline.prediction.answers import predict_inputs
    from pipeline.prediction.input_format import check_fit
    from pipeline.prediction.predictor import load_predictor

    predictor = load_predictor(checkpoint)
    if parsed.fit:
        check_fit(parsed.fit, predictor.input_format)
        predictor = predictor.with_fit(parsed.fit)
    with console().status("predicting ...") as status:
        result = predict_inputs(
            predictor,
            parsed.inputs,
            top_k=parsed.top_k,
            max_pictures=MAX_PICTURES if parsed.page else 0,
            on_progress=lambda done: status.update(f"predicting ... {done:,}"),
        )
    if parsed.out:
        write_text(parsed.out, to_csv(result, predictor.classes, parsed.top_k))
    if parsed.page:
        from pipeline.report.prediction_page import prediction_page

        write_text(parsed.page, prediction_page(result, run=str(checkpoint)))
    if parsed.json:
        print(to_json(to_dict(result, str(checkpoint), predictor.classes), indent=1))
    else:
        _print_answers(result, parsed.out, parsed.page)
    return PASSED


def _parse(args: Sequence[str]) -> Any:
    parser = CommandParser("predict", "Predict images, arrays or rows of a table with the network of a run.")
    add_run_arguments(parser)
    parser.add_argument("inputs", metavar="INPUT", nargs="+", type=Path,
                        help="images, folders of images, .npz, .npy or .csv files")  # fmt: skip
    parser.add_argument("--out", type=Path, help="write a .csv file with a line for each input")
    parser.add_argument("--page", type=Path, help=f"write an .html page with the first {MAX_PICTURES} pictures")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--top-k", type=positive_int, default=3, help="classes to name for each input (3)")
    parser.add_argument("--fit", choices=("crop", "pad", "stretch"),
                        help="resize images that are not of the run's size")  # fmt: skip
    parsed = parser.parse(args, intermixed=True)
    for flag, path, ending in (("--out", parsed.out, ".csv"), ("--page", parsed.page, ".html")):
        if path is None:
            continue
        if path.suffix.lower() != ending:
            raise UserError(f"must be a file that ends in {ending}, not {str(path)!r}.", field=flag)
        if path.is_dir() or path.resolve() in [given.resolve() for given in parsed.inputs]:
            raise UserError(f"{str(path)!r} is a folder or an input. Choose another file.", field=flag)
    return parsed


def _print_answers(result: Answers, out: Path | None, page: Path | None) -> None:
    if out is None and page is None:
        for answer in result.answers:
            print(f"{answer.name}  {describe(answer, result.task)}")
    else:
        counts = Counter(", ".join(answer.classes) or "no label" for answer in result.answers)
        named = [f"{name}: {count:,}" for name, count in counts.most_common(MAX_LISTED)]
        summary = (
            "" if result.task == "regression" else f" ({'; '.join(named)}{'; ...' if len(counts) > len(named) else ''})"
        )
        print(f"{counted(len(result.answers), 'prediction')}{summary}")
        for path in filter(None, (out, page)):
            print(path)
    for note in result.notes:
        print(f"note: {note}", file=sys.stderr)
    if result.unreadable:
        print(f"{len(result.unreadable)} inputs could not be read:", file=sys.stderr)
        for name, reason in [*result.unreadable.items()][:MAX_LISTED]:
            print(f"  {name} ({reason})", file=sys.stderr)
        if len(result.unreadable) > MAX_LISTED:
            print(f"  and {len(result.unreadable) - MAX_LISTED} more; --json lists all", file=sys.stderr)
