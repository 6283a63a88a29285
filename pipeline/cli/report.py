"""`report`: a run's page made anew, and the page of all runs; `serve`: both in a browser of this machine alone."""

from __future__ import annotations

import datetime
import os
import shlex
from collections.abc import Sequence
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pipeline.cli.diff import configuration
from pipeline.cli.parser import CommandParser
from pipeline.errors import UserError
from pipeline.report.index_page import RunRow, index_page
from pipeline.report.run_files import read_history
from pipeline.report.run_page import REPORT, write_report
from pipeline.runs.index import SEARCH, RunEntry, list_runs, resolve_run
from pipeline.runs.json_files import OUTCOME
from pipeline.runs.paths import write_text

INDEX = "index.html"
LOCALHOST = "127.0.0.1"


def report(words: Sequence[str]) -> int:
    """Write the pages and say where they are."""
    parser = CommandParser("report", "Make a run's report.html anew from its files, and the page of all runs.")
    parser.add_argument("runs", metavar="RUN", nargs="*", help="folders, `latest`, names, or letters of ids")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="the folder in which runs are kept")
    asked = parser.parse(words)
    for folder in [resolve_run(word, asked.outputs) for word in asked.runs]:
        if (folder / SEARCH).is_file():
            raise UserError(f"{str(folder)!r} is a search; the search itself writes its report.html.")
        print(write_report(folder))
    print(write_index(asked.outputs))
    return 0


def serve(words: Sequence[str]) -> int:
    """Serve the outputs folder on this machine's own address until Ctrl-C."""
    parser = CommandParser("serve", "Show all runs in a browser on this machine; nobody else can connect.")
    parser.add_argument("--port", type=int, default=8000, help="0: any that is free")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="the folder in which runs are kept")
    asked = parser.parse(words)
    with server(asked.outputs, asked.port) as running:
        print(f"http://{LOCALHOST}:{running.server_port}/  (Ctrl-C ends it)", flush=True)
        try:
            running.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0


def write_index(outputs: Path) -> Path:
    """index.html in the outputs folder."""
    if not outputs.is_dir():
        raise UserError(f"there is no folder {str(outputs)!r}: there are no runs yet.", field="outputs")
    write_text(outputs / INDEX, index_page([_listed(run, outputs) for run in list_runs(outputs)], folder=outputs.name))
    return outputs / INDEX


def server(outputs: Path, port: int) -> ThreadingHTTPServer:
    """A server of the folder; the page of all runs is made anew whenever it is asked for."""
    write_index(outputs)

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(outputs))

        def do_GET(self) -> None:
            host = self.headers.get("Host", "").partition(":")[0]
            if host not in (LOCALHOST, "localhost"):  # a page elsewhere whose name was pointed to this machine
                self.send_error(403)
                return
            if self.path in ("/", f"/{INDEX}"):
                write_index(outputs)
            page = Path(self.translate_path(self.path))
            if page.name == REPORT and not page.exists() and (page.parent / OUTCOME).is_file():
                write_report(page.parent)  # a search's trials have none until somebody looks
            super().do_GET()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    try:
        return ThreadingHTTPServer((LOCALHOST, port), Handler)
    except (OSError, OverflowError) as error:
        raise UserError(f"port {port} cannot be used ({error}); try --port 0.") from error


def _listed(run: RunEntry, outputs: Path) -> RunRow:
    page = run.directory / REPORT
    try:
        config = configuration(run.directory)
    except UserError:
        config = {}
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
        config=config,
        curves=read_history(run.directory),
    )
