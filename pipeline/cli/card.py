"""`card`: print the model card of a run."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.cli.parser import CommandParser
from pipeline.cli.run_arguments import add_run_arguments
from pipeline.errors import PASSED, UserError
from pipeline.report.model_card import model_card, read_config
from pipeline.report.run_files import read_run
from pipeline.runs.find_checkpoint import find_checkpoint
from pipeline.runs.paths import UnreadableFileError, run_of_checkpoint


def card(args: Sequence[str]) -> int:
    """Print the card, made from the files of the run."""
    parser = CommandParser("card", "Print the model card of a run: data, recipe, metrics, findings, limits.")
    add_run_arguments(parser)
    parsed = parser.parse(args)
    directory = run_of_checkpoint(find_checkpoint(parsed.run, parsed.outputs, parsed.checkpoint))
    try:
        run = read_run(directory)
    except (FileNotFoundError, UnreadableFileError) as error:
        raise UserError(f"{str(directory)!r} has no record that can be read (outcome.json).") from error
    print(model_card(run, read_config(directory)), end="")
    return PASSED
