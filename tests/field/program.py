"""The program as a user starts it: in a process of its own, in an empty folder, with its exit code and all it prints.

The process is forked from one that has imported the program already, since importing it takes longer than most cases.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

TIMEOUT = 240
"""Seconds after which a command is killed."""
Prepare = Callable[[], None]
"""Called in the process before the program starts."""


@dataclass(frozen=True)
class Ended:
    """How one command ended. `text` is everything that it printed, `outputs` the folder of its runs."""

    code: int
    text: str
    outputs: Path
    seconds: float

    @property
    def runs(self) -> list[Path]:
        """The directories of runs that were left behind."""
        return sorted(path.parent for path in self.outputs.rglob("outcome.json"))

    @property
    def directory(self) -> Path:
        """The directory of the only run. Raises `Wrong` if there is none, or more."""
        if len(self.runs) != 1:
            raise Wrong(f"{len(self.runs)} runs, exit {self.code}: {last_line(self.text)}")
        return self.runs[0]

    @cached_property
    def record(self) -> dict[str, Any]:
        return json.loads((self.directory / "outcome.json").read_text())

    @property
    def stages(self) -> dict[str, dict[str, Any]]:
        """The outcome of each stage in the record, by name."""
        return {stage["name"]: stage for stage in self.record["stages"]}

    @property
    def findings(self) -> dict[str, dict[str, Any]]:
        """The findings of all stages in the record, by check."""
        return {finding["check"]: finding for stage in self.record["stages"] for finding in stage["findings"]}

    @cached_property
    def signals(self) -> dict[str, Any]:
        """The signals of all stages in the record, by stage."""
        return json.loads((self.directory / "signals.json").read_text())["stages"]


class Wrong(AssertionError):
    """A case that did not end as expected; the message says what was got."""


def last_line(text: str) -> str:
    """Return the last line that is not empty, cut to 160 characters."""
    lines = [line for line in text.splitlines() if line.strip()]
    return (lines[-1] if lines else "(nothing printed)")[:160]


def preload() -> None:
    """Import the program and what it imports itself, once for all commands."""
    import lightning_utilities  # noqa: F401
    import pytorch_lightning  # noqa: F401
    import torch

    import pipeline.cli.launch
    import pipeline.workflow.build
    import pipeline.workflow.runner  # noqa: F401

    torch.set_num_threads(1)


def start(
    words: list[str],
    folder: Path,
    outputs: Path,
    environment: Mapping[str, str],
    *,
    prepare: Prepare | None = None,
    terminal: bool = False,
) -> Ended:
    """Run `python -m pipeline WORDS` in `folder` and return how it ended. With `terminal` it writes to a terminal."""
    sys.stdout.flush(), sys.stderr.flush()
    started = time.perf_counter()
    reading = -1
    if terminal:
        pid, reading = pty.fork()
    else:
        reading, writing = os.pipe()
        pid = os.fork()
    if pid == 0:
        if not terminal:
            os.dup2(writing, 1), os.dup2(writing, 2)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        _become_program(words, folder, environment, prepare)
    if not terminal:
        os.close(writing)
    text = _read_all(reading, pid)
    _, status = os.waitpid(pid, 0)
    return Ended(os.waitstatus_to_exitcode(status), text, outputs, time.perf_counter() - started)


def _become_program(
    words: list[str], folder: Path, environment: Mapping[str, str], prepare: Prepare | None
) -> NoReturn:
    code = 1
    try:
        signal.alarm(TIMEOUT)
        os.chdir(folder)
        os.environ.update(environment)
        sys.path[0:0] = [str(folder)]
        sys.argv = ["pipeline", *words]
        sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115 - a descriptor, not a path
        sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        if prepare:
            prepare()
        from pipeline.__main__ import main

        main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:  # noqa: BLE001 - as Python does at its end
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)


def _read_all(descriptor: int, pid: int) -> str:
    parts = []
    with contextlib.suppress(OSError):  # a terminal ends with an error
        while part := os.read(descriptor, 65536):
            parts.append(part)
    os.close(descriptor)
    return b"".join(parts).decode(errors="replace")
