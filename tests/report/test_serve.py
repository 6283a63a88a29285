"""`serve`: pages of this machine's runs, for this machine alone."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.cli.serve import create_server

Runs = dict[str, Any]


@pytest.fixture
def port(runs: Runs) -> Iterator[int]:
    with create_server(runs["passed"].directory.parents[1], 0) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        assert running.server_address[0] == "127.0.0.1"
        yield running.server_port
        running.shutdown()
        thread.join()


def get(port: int, path: str, host: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path, headers={"Host": host})
    response = connection.getresponse()
    return response.status, response.read().decode()


def test_index_is_served(port: int, runs: Runs) -> None:
    status, page = get(port, "/", f"127.0.0.1:{port}")
    assert status == 200
    assert all(f"{name}/" in page for name in runs)


def test_report_is_served(port: int, runs: Runs) -> None:
    assert get(port, f"/passed/{runs['passed'].directory.name}/report.html", f"localhost:{port}")[0] == 200


def test_other_hosts_are_refused(port: int) -> None:
    """A page elsewhere could have its name point to this machine."""
    assert get(port, "/", "evil.example")[0] == 403


def test_nothing_outside_the_folder(port: int) -> None:
    assert get(port, "/../mine.npz", "localhost")[0] == 404
