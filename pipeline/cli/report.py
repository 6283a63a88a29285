"""`report`: write a run's report.html again from its files, and index.html, the page of all runs."""

from __future__ import annotations

import datetime
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from pipeline.cli.diff import read_flat_config
from pipeline.cli.parser import CommandParser
from pipeline.errors import PASSED, UserError
from pipeline.report.index_page import RunRow, index_page
from pipeline.report.model_card import write_model_card
from pipeline.report.run_files import load_history
from pipeline.report.run_page import REPORT, write_report
from pipeline.runs.index import SEARCH, RunEntry, list_runs, resolve_run
from pipeline.runs.paths import UnreadableFileError, write_text

INDEX = "index.html"


def report(args: Sequence[str]) -> int:
    """Write the pages and print their paths."""
    parser = CommandParser("report", "Write report.html of some runs again, and the page of all runs.")
    parser.add_argument("runs", metavar="RUN", nargs="*", help="folders, `latest`, names, or letters of ids")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="the folder of all runs")
    parsed = parser.parse(args)
    for directory in [resolve_run(reference, parsed.outputs) for reference in parsed.runs]:
        if (directory / SEARCH).is_file():
            raise UserError(f"{str(directory)!r} is a search, which writes its report.html itself.")
        print(write_report(directory))
        write_model_card(directory)
    if not parsed.runs or parsed.outputs.is_dir():  # a run may lie elsewhere
        print(write_index(parsed.outputs))
    return PASSED


def write_index(outputs: Path) -> Path:
    """Write index.html into the outputs folder and return its path."""
    if not outputs.is_dir():
        raise UserError(f"there is no folder {str(outputs)!r}, so there are no runs yet.", field="outputs")
    rows = [_to_row(run, outputs) for run in list_runs(outputs)]
    write_text(outputs / INDEX, index_page(rows, folder=outputs.name))
    return outputs / INDEX


def _to_row(run: RunEntry, outputs: Path) -> RunRow:
    page = run.directory / REPORT
    try:
        config = read_flat_config(run.directory)
    except UserError:
        config = {}
    curves, problem = {}, run.problem
    try:
        curves = load_history(run.directory)
    except FileNotFoundError:  # no epoch has ended
        pass
    except UnreadableFileError as error:
        problem = problem or str(error)
    return RunRow(
        label=f"{run.name}/{run.short_id}",
        href=Path(os.path.relpath(page, outputs)).as_posix() if page.exists() else None,
        status=run.status,
        validation=run.validation,
        test=run.test,
        seconds=run.seconds,
        started=f"{datetime.datetime.fromtimestamp(run.started):%Y-%m-%d %H:%M}",
        overrides=shlex.join(run.overrides),
        finding=run.first_finding,
        problem=problem,
        config=config,
        curves=curves,
    )
