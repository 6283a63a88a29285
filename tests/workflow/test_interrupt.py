"""Ctrl-C and SIGTERM: at once where nothing is lost, after the next safe point where something would be."""

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
    """A signal that the stopper misses fails the test instead of ending it."""

    def missed(number: int, _frame: object) -> None:
        raise AssertionError(f"signal {number} was not taken")

    before = {number: signal.signal(number, missed) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number: int) -> None:
    """To this process; Python has run the handler when the call returns, or raised."""
    signal.raise_signal(number)


@BOTH
def test_signal_raises_at_once(number: int) -> None:
    stopper = InterruptHandler()
    with pytest.raises(Interrupted) as stop, stopper.installed():
        send(number)
        raise AssertionError("went on")
    assert stop.value.signal == number
    assert stopper.pending_signal is None


@BOTH
def test_deferred_signal(number: int) -> None:
    stopper = InterruptHandler()
    reached: list[str] = []
    with pytest.raises(Interrupted) as stop, stopper.installed(), stopper.deferred():
        assert stopper.pending_signal is None
        send(number)
        assert stopper.pending_signal == number
        reached.append("safe point")
    assert reached == ["safe point"]
    assert stop.value.signal == number


def test_second_signal_raises_at_once() -> None:
    stopper = InterruptHandler()
    reached: list[str] = []
    with pytest.raises(Interrupted) as stop, stopper.installed(), stopper.deferred():
        send(signal.SIGTERM)
        reached.append("after the first")
        send(signal.SIGINT)
        reached.append("after the second")
    assert reached == ["after the first"]
    assert stop.value.signal == signal.SIGINT


def test_interrupted_inside_deferral() -> None:
    stopper = InterruptHandler()
    with pytest.raises(Interrupted) as stop, stopper.installed(), stopper.deferred():
        send(signal.SIGTERM)
        raise Interrupted(stopper.pending_signal or 0)
    assert stop.value.signal == signal.SIGTERM


def test_error_inside_deferral() -> None:
    stopper = InterruptHandler()
    with pytest.raises(ZeroDivisionError), stopper.installed(), stopper.deferred():
        send(signal.SIGTERM)
        raise ZeroDivisionError


def test_signal_after_deferral() -> None:
    stopper = InterruptHandler()
    with stopper.installed():
        with stopper.deferred():
            pass
        with pytest.raises(ZeroDivisionError), stopper.deferred():
            raise ZeroDivisionError
        with pytest.raises(Interrupted):
            send(signal.SIGTERM)


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


def test_handlers_are_restored() -> None:
    before = handlers()
    with InterruptHandler().installed() as stopper:
        assert handlers() != before
        with stopper.deferred():
            pass
    assert stopper.pending_signal is None
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
        mine = handlers()
        with InterruptHandler().installed():
            assert handlers() != mine
        assert handlers() == mine


def in_a_thread(function: Callable[[], None]) -> None:
    errors: list[BaseException] = []

    def run() -> None:
        try:
            function()
        except BaseException as error:  # noqa: BLE001 - brought to the test's own thread
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


def test_outside_main_thread() -> None:
    before = handlers()
    seen: list[bool] = []

    def listen() -> None:
        stopper = InterruptHandler()
        with stopper.installed() as given, stopper.deferred():
            seen.extend([given is stopper, handlers() == before])

    in_a_thread(listen)
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
