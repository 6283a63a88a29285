"""A search in PostgreSQL, which two processes share."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.search.shell import TINY, Shell
from tests.search.studies import count_states

pytestmark = [pytest.mark.slow, pytest.mark.nightly]


@pytest.fixture
def postgres() -> Iterator[str]:
    """Return the URL of a database in a directory that is removed afterwards."""
    servers = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    if not servers:
        pytest.skip("PostgreSQL is not installed (apt install postgresql)")
    programs, directory = servers[-1].parent, Path(tempfile.mkdtemp(prefix="postgres"))  # pytest's is for one user
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []  # the server refuses to run as root
    if user:
        shutil.chown(directory, "postgres")
    port = str(random.randint(20_000, 60_000))
    data = str(directory / "data")

    def run(program: str, *args: str) -> None:
        command = [*user, str(programs / program), *args]
        subprocess.run(command, check=True, cwd="/", stdout=subprocess.DEVNULL, timeout=60)

    run("initdb", "-D", data, "-A", "trust", "-U", "me")
    options = f"-p {port} -k {directory} -c listen_addresses=127.0.0.1"
    run("pg_ctl", "-D", data, "-o", options, "-l", str(directory / "log"), "-w", "start")
    try:
        run("createdb", "-h", "127.0.0.1", "-p", port, "-U", "me", "trials")
        yield f"postgresql://me@127.0.0.1:{port}/trials"
    finally:
        run("pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(directory)


def test_two_processes_share_a_database(tmp_path: Path, postgres: str) -> None:
    """No trial is lost or doubled."""
    words = ["search=coarse", "search.max_widenings=0", "optimizer.lr=tag(log,interval(1e-3,1e-1))",
             "search.trials=60", "search.workers=1", f"search.storage={postgres}", "search.join=true"]  # fmt: skip
    shells = [Shell(tmp_path / name) for name in ("here", "there")]
    processes = [shell.start(*TINY, *words) for shell in shells]
    for process in processes:
        _, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
    one, other = (shell.search() for shell in shells)
    assert count_states(one.trials) == count_states(other.trials) == {"complete": 60}
    assert [t.score for t in one.trials] == [t.score for t in other.trials]
    assert len({trial.worker.partition("-")[0] for trial in one.trials}) == 2
    directories = [path.name for shell in shells for path in shell.directory.glob("trials/[0-9]*")]
    assert sorted(directories) == sorted(f"{trial.number:04d}" for trial in one.trials)
