"""Directories of runs, and files that appear whole or not at all."""

from __future__ import annotations

import os
import random
import re
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import pytest

from pipeline.errors import UserError
from pipeline.runs.paths import (
    new_run_id,
    update_latest_link,
    validate_name,
    validate_writable,
    write_atomic,
    write_text,
)

ROOT = Path(__file__).resolve().parents[2]


def entries(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_run_ids_are_unique() -> None:
    """With 48 random bits, 10,000 ids of one second have an equal pair once in five million times."""
    assert len({new_run_id() for _ in range(10_000)}) >= 9_999


def test_run_ids_sort_by_time() -> None:
    before = datetime.now().replace(microsecond=0)
    run_id = new_run_id()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_[0-9a-f]{12}", run_id)
    assert before <= datetime.strptime(run_id[:19], "%Y-%m-%d_%H-%M-%S") <= datetime.now()


def test_missing_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.bin"
    write_atomic(path, lambda file: file.write(b"\x00\xff"))
    assert path.read_bytes() == b"\x00\xff"
    write_text(path, "ä\n")
    assert path.read_bytes() == "ä\n".encode()
    assert entries(path.parent) == ["file.bin"]


def test_file_mode(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_text(tmp_path / "a", "x")
        (tmp_path / "b").write_text("x")
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failure_keeps_the_old_file(error: type[BaseException], tmp_path: Path) -> None:
    def fail(file: BinaryIO) -> None:
        file.write(b"half")
        file.flush()
        assert (tmp_path / "file").read_text() == "old"
        raise error

    write_text(tmp_path / "file", "old")
    with pytest.raises(error):
        write_atomic(tmp_path / "file", fail)
    assert (tmp_path / "file").read_text() == "old"
    assert entries(tmp_path) == ["file"]


def test_failed_rename_leaves_no_temporary(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(IsADirectoryError):
        write_text(tmp_path / "taken", "x")
    assert entries(tmp_path) == ["taken"]


WRITER = """
import sys
from pathlib import Path
from pipeline.runs.paths import write_atomic
sizes = [1, 70_001, 400_009]
step = 0
while True:
    step += 1
    content = bytes([65 + step % 3]) * sizes[step % 3]
    def write(file):
        for start in range(0, len(content), 10_000):
            file.write(content[start : start + 10_000])
    write_atomic(Path(sys.argv[1]), write)
"""


def test_killed_writer(tmp_path: Path) -> None:
    path, luck = tmp_path / "file", random.Random(0)
    whole = {65 + i: size for i, size in enumerate([1, 70_001, 400_009])}
    for _ in range(6):
        path.unlink(missing_ok=True)
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], env=os.environ | {"PYTHONPATH": str(ROOT)})
        deadline = time.monotonic() + 20
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(luck.uniform(0, 0.1))
        writer.kill()
        writer.wait()
        content = path.read_bytes()
        assert set(content) == {content[0]}
        assert len(content) == whole[content[0]]


def test_content_is_synced_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def recording_fsync(handle: int) -> None:
        events.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else f"{os.fstat(handle).st_size} bytes")
        fsync(handle)

    def recording_replace(path: Path, target: Path) -> Path:
        events.append(f"{path.parent.name} -> {target.parent.name}")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", recording_fsync)
    monkeypatch.setattr(Path, "replace", recording_replace)
    write_text(tmp_path / "file", "12345")
    assert events == ["5 bytes", f"{tmp_path.name} -> {tmp_path.name}", "folder"]


@pytest.fixture
def frequent_thread_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("frequent_thread_switches")
def test_reader_sees_whole_files(tmp_path: Path) -> None:
    path, done = tmp_path / "file", threading.Event()
    write_text(path, "a" * 100_000)

    def rewrite() -> None:
        for i in range(40):
            write_text(path, "ab"[i % 2] * 100_000)
        done.set()

    writer = threading.Thread(target=rewrite)
    writer.start()
    while not done.is_set():
        assert path.read_text() in ("a" * 100_000, "b" * 100_000)
    writer.join()


def run_folder(outputs: Path, name: str) -> Path:
    folder = outputs / "run" / name
    folder.mkdir(parents=True)
    return folder


def test_latest_is_relative(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    for name in ("1", "2"):
        run = run_folder(outputs, name)
        update_latest_link(run, outputs)
        assert (outputs / "latest").resolve() == run
    assert entries(outputs) == ["latest", "run"]
    outputs.rename(tmp_path / "moved")
    assert (tmp_path / "moved" / "latest").resolve() == tmp_path / "moved" / "run" / "2"


@pytest.mark.usefixtures("frequent_thread_switches")
def test_latest_is_never_missing(tmp_path: Path) -> None:
    runs = [run_folder(tmp_path, name) for name in "12"]
    update_latest_link(runs[0], tmp_path)
    done = threading.Event()

    def move() -> None:
        for i in range(300):
            update_latest_link(runs[i % 2], tmp_path)
        done.set()

    mover = threading.Thread(target=move)
    mover.start()
    while not done.is_set():
        assert (tmp_path / "latest").readlink() in (Path("run/1"), Path("run/2"))
    mover.join()


def test_dangling_latest_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to("gone")
    run = run_folder(tmp_path, "1")
    update_latest_link(run, tmp_path)
    assert (tmp_path / "latest").resolve() == run


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_latest_of_the_user_is_left_alone(kind: str, tmp_path: Path) -> None:
    existing = tmp_path / "latest"
    if kind == "folder":
        existing.mkdir()
        (existing / "mine").write_text("x")
    else:
        existing.write_text("mine")
    update_latest_link(run_folder(tmp_path, "1"), tmp_path)
    assert not existing.is_symlink()
    assert (existing / "mine").read_text() == "x" if kind == "folder" else existing.read_text() == "mine"
    assert entries(tmp_path) == ["latest", "run"]


def test_without_symbolic_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def impossible(*_: object, **__: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(Path, "symlink_to", impossible)
    update_latest_link(run_folder(tmp_path, "1"), tmp_path)
    assert entries(tmp_path) == ["run"]


@pytest.mark.parametrize("name", ["run", "a", "9", "_x", "mnist-v1.2+b", "größe", 3, 1.5, "x" * 100])
def test_valid_name(name: object) -> None:
    validate_name(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "a/b", "/a", "a\\b", "a b", "a\n", "-a", "a\0", "x" * 101, None, [], "$x"]
)
def test_invalid_name(name: object) -> None:
    with pytest.raises(UserError) as error:
        validate_name(name)
    assert error.value.field == "name"


@pytest.mark.parametrize("below", ["", "new", "new/deep/deeper"])
def test_writable_folder_is_left_as_it_was(below: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").write_text("x")
    validate_writable(tmp_path / below)
    monkeypatch.chdir(tmp_path)
    validate_writable(Path(below))
    assert entries(tmp_path) == ["mine"]


@pytest.mark.parametrize("below", ["file", "file/new", "file/new/deep", "x" * 300])
def test_unwritable_folder(below: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError) as error:
        validate_writable(tmp_path / below)
    assert error.value.field == "outputs"
    assert below in error.value.message
    assert entries(tmp_path) == ["file"]


def test_partly_made_folder_is_removed(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        validate_writable(tmp_path / "new" / ("x" * 300))
    assert entries(tmp_path) == []


def test_runs_that_start_together(tmp_path: Path) -> None:
    failures: list[BaseException] = []
    start = threading.Barrier(8)

    def check() -> None:
        start.wait()
        for i in range(40):
            try:
                validate_writable(tmp_path / str(i) / "outputs")
            except UserError as error:
                failures.append(error)

    threads = [threading.Thread(target=check) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
