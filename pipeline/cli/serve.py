"""`serve`: the page of all runs, and the report of each, in a browser on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pipeline.cli.parser import CommandParser
from pipeline.cli.report import INDEX, write_index
from pipeline.errors import PASSED, UserError
from pipeline.report.run_page import REPORT, write_report
from pipeline.runs.json_files import OUTCOME

LOCALHOST = "127.0.0.1"


def serve(args: Sequence[str]) -> int:
    """Serve the outputs folder until Ctrl-C."""
    parser = CommandParser("serve", "Show all runs in a browser. Only this machine can connect.")
    parser.add_argument("--port", type=int, default=8000, help="the port; 0 is any free one")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="the folder of all runs")
    parsed = parser.parse(args)
    with create_server(parsed.outputs, parsed.port) as server:
        print(f"http://{LOCALHOST}:{server.server_port}/  (Ctrl-C ends it)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
    return PASSED


def create_server(outputs: Path, port: int) -> ThreadingHTTPServer:
    """Return a server of the folder that only this machine can reach.

    The page of all runs is written again for each request. Raises `UserError` for a port that cannot be used.
    """
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
                write_report(page.parent)  # the trials of a search have no report until someone opens it
            super().do_GET()

        def log_message(self, format: str, *args: Any) -> None:
            """Print nothing for a request."""

    try:
        return ThreadingHTTPServer((LOCALHOST, port), Handler)
    except (OSError, OverflowError) as error:
        raise UserError(f"{port} cannot be used ({error}). Try --port 0.", field="--port") from error
