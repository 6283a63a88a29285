"""Ctrl-C and SIGTERM: at once, or at the next point where the state can be saved."""

# ruff: noqa: PT012 - what happens between the signal and the error is the point

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.errors import Interrupted
from pipeline.workflow.interrupt import InterruptHandler

ROOT = Path(__file__).parents[2]
BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@pytest.fixture(autouse=True)
def survive_and_restore() -> Iterator[None]:
    """Fail the test, instead of ending it, at a signal that the handler misses."""

    def missed(number: int, _frame: object) -> None:
        raise AssertionError(f"signal {number} was not taken")

    before = {number: signal.signal(number, missed) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, previous in before.items():
        signal.signal(number, previous)


def send(number: int) -> None:
    """Send a signal to this process. Python has run the handler when this returns or raises."""
    signal.raise_signal(number)


@BOTH
def test_signal_raises_at_once(number: int) -> None:
    handler = InterruptHandler()
    with pytest.raises(Interrupted) as stop, handler.installed():
        send(number)
        raise AssertionError("not interrupted")
    assert stop.value.signal == number
    assert handler.pending_signal is None


@BOTH
def test_deferred_signal(number: int) -> None:
    handler = InterruptHandler()
    reached: list[str] = []
    with pytest.raises(Interrupted) as stop, handler.installed(), handler.deferred():
        assert handler.pending_signal is None
        send(number)
        assert handler.pending_signal == number
        reached.append("safe point")
    assert reached == ["safe point"]
    assert stop.value.signal == number


def test_second_signal_raises_at_once() -> None:
    handler = InterruptHandler()
    reached: list[str] = []
    with pytest.raises(Interrupted) as stop, handler.installed(), handler.deferred():
        send(signal.SIGTERM)
        reached.append("after the first")
        send(signal.SIGINT)
        reached.append("after the second")
    assert reached == ["after the first"]
    assert stop.value.signal == signal.SIGINT


def test_interrupted_inside_deferral() -> None:
    handler = InterruptHandler()
    with pytest.raises(Interrupted) as stop, handler.installed(), handler.deferred():
        send(signal.SIGTERM)
        raise Interrupted(handler.pending_signal or 0)
    assert stop.value.signal == signal.SIGTERM


def test_error_inside_deferral() -> None:
    handler = InterruptHandler()
    with pytest.raises(ZeroDivisionError), handler.installed(), handler.deferred():
        send(signal.SIGTERM)
        raise ZeroDivisionError


def test_signal_after_deferral() -> None:
    handler = InterruptHandler()
    with handler.installed():
        with handler.deferred():
            pass
        with pytest.raises(ZeroDivisionError), handler.deferred():
            raise ZeroDivisionError
        with pytest.raises(Interrupted):
            send(signal.SIGTERM)


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


def test_handlers_are_restored() -> None:
    before = handlers()
    with InterruptHandler().installed() as handler:
        assert handlers() != before
        with handler.deferred():
            pass
    assert handler.pending_signal is None
    assert handlers() == before


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_handlers_are_restored_after_error(error: type[BaseException]) -> None:
    before = handlers()
    with pytest.raises(error), InterruptHandler().installed():
        raise error
    assert handlers() == before


def test_nested_handlers() -> None:
    outer = InterruptHandler()
    with outer.installed():
        of_outer = handlers()
        with InterruptHandler().installed():
            assert handlers() != of_outer
        assert handlers() == of_outer


def in_a_thread(function: Callable[[], None]) -> None:
    errors: list[BaseException] = []

    def run() -> None:
        try:
            function()
        except BaseException as error:  # noqa: BLE001 - raised again in the test's thread
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


def test_outside_main_thread() -> None:
    before = handlers()
    seen: list[bool] = []

    def install() -> None:
        handler = InterruptHandler()
        with handler.installed() as given, handler.deferred():
            seen.extend([given is handler, handlers() == before])

    in_a_thread(install)
    assert seen == [True, True]
    assert handlers() == before


SLEEPER = """
import sys, time
from pipeline.workflow.interrupt import InterruptHandler
from pipeline.errors import Interrupted
try:
    with InterruptHandler().installed():
        print("ready", flush=True)
        time.sleep(60)
except Interrupted as stop:
    sys.exit(128 + stop.signal)
"""


@BOTH
def test_exit_code_of_process(number: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEPER],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.wait(timeout=30) == 128 + number
