"""The journal file: processes that are killed while they write, and the moments at which it reaches the disk."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from optuna.study import StudyDirection

from pipeline.errors import UserError
from pipeline.search.plan import JOURNAL
from pipeline.search.study import journal
from pipeline.search.study.storage import open_storage
from tests.search.studies import ROUND, complete_result, count_states, journal_in, open_round, trials_of


def in_another_process(directory: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run code with the journal open as `storage`."""
    start = (
        "import os, signal; import pipeline.search.study.journal as journal\n"
        "from pipeline.search.study.storage import open_storage\n"
        f"storage = open_storage({str(directory / JOURNAL)!r})\n"
    )
    command = [sys.executable, "-c", start + textwrap.dedent(code)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_torn_line_is_cut_off(tmp_path: Path) -> None:
    study = open_round(tmp_path)
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(b'{"op_code": 6, "wor')
    assert study.claim() is not None
    assert count_states(trials_of(open_round(tmp_path))) == {"running": 1, "waiting": 5}


def test_kill_while_writing(tmp_path: Path) -> None:
    """The process holds the lock, and leaves half a line. No finished trial is lost, and others continue."""
    study = open_round(tmp_path)
    claim = study.claim()
    assert claim is not None
    assert study.complete(claim, complete_result(0.7))
    done = in_another_process(
        tmp_path,
        """
        def write_half_a_line(file):
            file.seek(0, os.SEEK_END)
            file.write(b'{"op_code": 6, "wor')
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)

        journal.cut_torn_line = write_half_a_line
        storage.set_study_user_attr(0, "written", True)
        """,
    )
    assert done.returncode == -signal.SIGKILL
    ours = open_round(tmp_path)
    assert "written" not in ours.storage.get_study_user_attrs(ours.id)
    assert ours.claim() is not None
    assert trials_of(open_round(tmp_path))[claim.number].score == 0.7


def test_kill_after_writing(tmp_path: Path) -> None:
    open_round(tmp_path)
    code = 'storage.set_study_user_attr(0, "written", True)\nos.kill(os.getpid(), signal.SIGKILL)'
    assert in_another_process(tmp_path, code).returncode == -signal.SIGKILL
    ours = open_round(tmp_path)
    assert ours.storage.get_study_user_attrs(ours.id)["written"]


def test_reader_waits_for_writer(tmp_path: Path) -> None:
    study = open_round(tmp_path)
    reader = threading.Thread(target=study.count_finished, daemon=True)
    with (tmp_path / JOURNAL).open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        reader.start()
        reader.join(0.1)
        assert reader.is_alive()
    reader.join(10)
    assert not reader.is_alive()


def test_fsync_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at each line, but after the last."""
    storage = journal_in(tmp_path)
    path = tmp_path / JOURNAL
    synced_lines: list[int] = []

    def fsync(file: int) -> None:
        if os.path.samestat(os.fstat(file), path.stat()):  # not the journal of another test
            synced_lines.append(path.read_text().count("\n"))

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(journal, "FSYNC_SECONDS", 0.2)
    for lines in (29, 1):
        for _ in range(lines):
            storage.create_new_study([StudyDirection.MAXIMIZE])
        written, until = path.read_text().count("\n"), time.monotonic() + 10
        while synced_lines[-1:] != [written] and time.monotonic() < until:
            time.sleep(0.02)
        assert synced_lines[-1] == written
    assert len(synced_lines) < 10


def test_fsync_at_exit(tmp_path: Path) -> None:
    open_round(tmp_path)
    code = "os.fsync = lambda file: print('synced')\nstorage.set_study_user_attr(0, 'written', True)"
    assert in_another_process(tmp_path, code).stdout == "synced\n"


@pytest.mark.parametrize("address", ["postgresql://me@localhost:1/none", "mysql://x/y", "/proc/none/j.log"])
def test_storage_that_cannot_be_opened(address: str) -> None:
    with pytest.raises(UserError) as error:
        open_storage(address)
    assert error.value.field == "search.storage"


@pytest.mark.parametrize("text", ["dear diary", '{"seed": 0}', "a\nb"])
def test_other_file_is_left_as_it_is(text: str, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text(text)
    with pytest.raises(UserError) as error:
        open_storage(str(tmp_path / "mine"))
    assert error.value.field == "search.storage"
    assert (tmp_path / "mine").read_text() == text


@pytest.mark.parametrize("text", ["", '{"op', '{"op_code": 0, "wor'])
def test_journal_without_a_whole_line(text: str, tmp_path: Path) -> None:
    """A kill left it so; it begins again."""
    (tmp_path / JOURNAL).write_text(text)
    assert count_states(trials_of(open_round(tmp_path))) == {"waiting": ROUND.trials}
