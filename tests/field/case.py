"""A case of the walk: a row of the table of own data and own networks, with what is tried and what is expected."""

from __future__ import annotations

import importlib
import itertools
import multiprocessing
import re
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.field.program import Ended, Prepare, Wrong, last_line, start

FILES = ("folders", "large", "arrays", "sources", "options", "weights", "use", "networks", "without_effect")
QUICK = ("report=false", "trainer=cpu")
"""Appended to every run: no pictures, and the device that every machine has."""


@dataclass
class Trial:
    """What a case works with: an empty folder, and the program."""

    folder: Path
    allow: set[str] = field(default_factory=set)
    """Names that the configuration may call."""
    numbers: Any = field(default_factory=itertools.count)

    def run(self, *overrides: str, prepare: Prepare | None = None, terminal: bool = False) -> Ended:
        """Run the workflow with `overrides`, with outputs of its own."""
        outputs = self.folder / f"outputs{next(self.numbers)}"
        words = [*overrides, *QUICK, f"outputs={outputs}"]
        return self._start(words, outputs, prepare, terminal)

    def command(self, *words: str, prepare: Prepare | None = None) -> Ended:
        """Run a command such as `predict`."""
        return self._start(list(words), self.folder / "outputs", prepare, terminal=False)

    def _start(self, words: list[str], outputs: Path, prepare: Prepare | None, terminal: bool) -> Ended:
        environment = {"PIPELINE_ALLOW": ",".join(self.allow), "XDG_CACHE_HOME": str(self.folder / "cache")}
        return start(words, self.folder, outputs, environment, prepare=prepare, terminal=terminal)


@dataclass(frozen=True)
class Case:
    number: int
    tried: str
    expected: str
    body: Callable[[Trial], str]
    """Returns what was got, or raises `Wrong`."""
    slow: bool = False


@dataclass(frozen=True)
class Verdict:
    case_number: int
    tried: str
    is_right: bool
    got: str
    seconds: float


_CASES: list[Case] = []


def case(
    number: int, tried: str, expected: str, *, slow: bool = False
) -> Callable[[Callable[[Trial], str]], Callable[[Trial], str]]:
    """Add the function below to the walk as row `number`."""

    def add(body: Callable[[Trial], str]) -> Callable[[Trial], str]:
        _CASES.append(Case(number, tried, expected, body, slow))
        return body

    return add


def read_cases() -> list[Case]:
    """Return all cases in the order of their numbers."""
    for name in FILES:
        importlib.import_module(f"tests.field.cases.{name}")
    return sorted(_CASES, key=lambda one: (one.slow, one.number))


def judge(index: int) -> Verdict:
    """Judge the case at `index` of `read_cases()` in a child process.

    What a case does with torch itself, such as loading a network, must not be in the processes that later cases fork.
    """
    receiver, sender = multiprocessing.get_context("fork").Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=lambda: sender.send(_judge(index)))
    child.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        return Verdict(read_cases()[index].number, read_cases()[index].tried, False, "the case itself crashed", 0.0)
    finally:
        child.join()


def _judge(index: int) -> Verdict:
    """Run the case in a folder of its own, which is removed afterwards."""
    chosen = read_cases()[index]
    folder = Path(tempfile.mkdtemp(prefix=f"field_{chosen.number}_"))
    started = time.perf_counter()
    try:
        is_right, got = True, chosen.body(Trial(folder))
    except Wrong as wrong:
        is_right, got = False, str(wrong)
    except Exception as error:  # noqa: BLE001 - what a case did not foresee is wrong, too
        where = traceback.extract_tb(error.__traceback__)[-1]
        is_right, got = False, f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Verdict(chosen.number, chosen.tried, is_right, " ".join(got.split()), time.perf_counter() - started)


# ---------------------------------------------------------------- what cases ask


def want(condition: object, got: str) -> None:
    """Raise `Wrong` unless `condition` holds."""
    if not condition:
        raise Wrong(got)


def flat(text: str) -> str:
    """Return `text` in one line, since a terminal breaks lines anywhere."""
    return " ".join(text.split())


def want_words(text: str, words: tuple[str, ...], without: tuple[str, ...] = ()) -> None:
    """Raise `Wrong` unless `text` matches all patterns of `words`, and none of `without`, in any case."""
    whole = flat(text)
    missing = [word for word in words if not re.search(word, whole, re.IGNORECASE)]
    there = [word for word in without if re.search(word, whole, re.IGNORECASE)]
    want(not missing, f"says nothing of {missing}: {whole[-240:]}")
    want(not there, f"says {there}: {whole[-240:]}")


def want_no_crash(ended: Ended) -> None:
    """Raise `Wrong` for a traceback, a signal or the exit code of a crash."""
    aborted = [line for line in ended.text.splitlines() if "what()" in line or "terminate called" in line]
    want(ended.code >= 0, f"ended by signal {-ended.code}: {' '.join(aborted) or last_line(ended.text)}")
    raised = re.findall(r"^[\w.]*(?:Error|Exception)\b.*", ended.text, re.MULTILINE)
    want("Traceback" not in ended.text, f"traceback: {(raised or [last_line(ended.text)])[-1][:160]}")
    want(ended.code in (0, 2, 3), f"exit {ended.code}: {last_line(ended.text)}")


def refused(ended: Ended, *words: str, without: tuple[str, ...] = ()) -> str:
    """Check that the command was refused before any training with one message that has `words`; return the message."""
    want_no_crash(ended)
    want(ended.code == 2, f"exit {ended.code} instead of 2: {last_line(ended.text)}")
    want(ended.text.count("error: ") == 1, f"{ended.text.count('error: ')} messages: {flat(ended.text)[:200]}")
    want_words(ended.text, words, without)
    left = [str(path.relative_to(ended.outputs)) for path in ended.outputs.rglob("*")] if ended.outputs.exists() else []
    want(not left, f"left behind: {left[:3]}")
    return flat(ended.text[ended.text.index("error: ") :])


def passed(ended: Ended, *words: str, without: tuple[str, ...] = ()) -> str:
    """Check that the run passed, and what it printed; return the last line."""
    want_no_crash(ended)
    want(ended.code == 0, f"exit {ended.code}: {flat(ended.text)[-300:]}")
    want_words(ended.text, words, without)
    return last_line(ended.text)
