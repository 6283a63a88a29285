"""A training that is interrupted anywhere and resumed ends with the bits of the uninterrupted one."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from pipeline.errors import Interrupted, UserError
from pipeline.training.callbacks import CheckpointCallback
from pipeline.training.lightning_module import Classifier
from tests.resumed_training import (
    RANDOM,
    STEPS,
    differences,
    read,
    resumed,
    stopped,
    train,
    without_seconds,
)
from tests.small_run import MakeRun


@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
@pytest.mark.parametrize("per_call", [1, 3, 10])
def test_resume_from_any_step(small_run: MakeRun, schedule: str, per_call: int) -> None:
    """A run that is interrupted at any step and resumed ends with the bits of the uninterrupted one."""
    options = (*RANDOM, f"schedule={schedule}", f"trainer.steps_per_call={per_call}")
    stage = train(2)
    whole = small_run(*options)
    outcome = stage(*whole, [])
    steps = [
        end for epoch in (0, STEPS) for end in sorted({epoch + min(k, STEPS) for k in range(per_call, 99, per_call)})
    ]
    for end in steps[:-1]:  # each step at which a run can be interrupted
        small = small_run(*options)
        path = stopped(stage, small, end)
        state = read(small)
        assert state["global_step"] == end
        assert (state["pipeline"]["epoch"], state["pipeline"]["step_in_epoch"]) == divmod(end, STEPS)
        later, again = resumed(stage, small_run(*options), path)
        assert not differences(read(whole), read(later)), f"stopped at {end}"
        assert not differences(read(whole, "best"), read(later, "best")), f"stopped at {end}"
        assert without_seconds(again.metrics["history"]) == without_seconds(outcome.metrics["history"])
        assert again.headline == outcome.headline


def test_repeated_interruptions(small_run: MakeRun) -> None:
    options = (*RANDOM, "schedule=plateau", "trainer.steps_per_call=1")
    stage, whole = train(3), small_run(*options)
    stage(*whole, [])
    path = stopped(stage, small_run(*options), 2)
    for step in (3, 4, 7, 9):  # within an epoch, at its end, into the next, past one
        small = small_run(*options).replace(resume_from=path)
        path = stopped(stage, small, step)
        assert read(small)["global_step"] == step
    later, _ = resumed(stage, small_run(*options), path)
    assert not differences(read(whole), read(later))
    assert not differences(read(whole, "best"), read(later, "best"))


def test_resume_with_channels_last(small_run: MakeRun) -> None:
    options = ("model=convnet", "model.width=4", "model.depth=2", "optimizer=adam", *RANDOM, "trainer.steps_per_call=1")
    stage, whole = train(2), small_run(*options)
    stage(*whole, [])
    path = stopped(stage, small_run(*options), 5)
    later, _ = resumed(stage, small_run(*options), path)
    assert not differences(read(whole), read(later))


def test_interrupted_after_last_step(small_run: MakeRun) -> None:
    """The run is complete when it is interrupted. Resumed, it must still write all files of a whole run."""
    stage, whole = train(2), small_run()
    outcome = stage(*whole, [])
    path = stopped(stage, small_run(), 2 * STEPS)
    later, again = resumed(stage, small_run(), path)
    assert without_seconds(again.metrics["history"]) == without_seconds(outcome.metrics["history"])
    for name in ("best", "last"):
        assert not differences(read(whole, name), read(later, name))
    assert (later.context.directory / "history.csv").exists()


def test_resumed_run_that_dies_at_once(small_run: MakeRun) -> None:
    """Its directory is the newest then. Without the checkpoint in it, `resume=auto` would start from the beginning."""
    path = stopped(train(), small_run(), 2)

    class Died(Exception):
        pass

    def die(*_: object, **__: object) -> None:
        raise Died

    small = small_run(progress=die, resume_from=path)
    with pytest.raises(Died):
        train()(*small, [])
    assert read(small)["global_step"] == read(small.replace(directory=path.parents[1]))["global_step"]


def test_patience_is_resumed(small_run: MakeRun) -> None:
    options = ("optimizer.lr=1e-12", "batchnorm=none")
    stage, whole = train(9, patience=2), small_run(*options)
    outcome = stage(*whole, [])
    path = stopped(stage, small_run(*options), 3 * STEPS)  # the epoch in which patience ends
    _, again = resumed(stage, small_run(*options), path)
    assert without_seconds(again.metrics["history"]) == without_seconds(outcome.metrics["history"])


def test_resume_finished_training(small_run: MakeRun) -> None:
    """Where a later stage was interrupted, the training is taken from its checkpoint as it ended."""
    options = ("optimizer.lr=1e-12", "batchnorm=none")
    stage, whole = train(9, patience=2), small_run(*options)
    outcome = stage(*whole, [])
    _, again = resumed(stage, small_run(*options), whole.context.directory / "checkpoints" / "last.ckpt")
    assert without_seconds(again.metrics["history"]) == without_seconds(outcome.metrics["history"])


def test_seconds_are_resumed(small_run: MakeRun) -> None:
    small = small_run()
    path = stopped(train(), small, STEPS)
    before = read(small)["pipeline"]["seconds"]
    _, outcome = resumed(train(), small_run(), path)
    seconds = [row["seconds"] for row in outcome.metrics["history"]]
    assert seconds == sorted(seconds)
    assert seconds[1] > before


def test_signal_stops_after_checkpoint(small_run: MakeRun) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):

        def progress(done: float, *_: float, number: int = number, **__: float) -> None:
            if done == 2:
                os.kill(os.getpid(), number)

        small = small_run("trainer.steps_per_call=1", progress=progress)
        with small.context.interrupt_handler.installed(), pytest.raises(Interrupted) as stop:
            train()(*small, [])
        assert stop.value.signal == number
        assert read(small)["global_step"] == 2


@pytest.mark.parametrize("after", ["batch", "epoch"])
def test_sigterm_just_after_checkpoint(small_run: MakeRun, monkeypatch: pytest.MonkeyPatch, after: str) -> None:
    """Lightning exits by itself at a SIGTERM there, and saves nothing."""
    sent: list[bool] = []

    def send() -> None:
        if not sent:
            sent.append(True)
            os.kill(os.getpid(), signal.SIGTERM)

    save = CheckpointCallback.on_train_epoch_end

    def after_batch(module: Classifier, *_: Any) -> None:  # the module's hook comes after the callbacks'
        if module.step_in_epoch == 2:
            send()

    def after_epoch(keep: CheckpointCallback, *arguments: Any) -> None:
        save(keep, *arguments)
        send()

    if after == "batch":
        monkeypatch.setattr(Classifier, "on_train_batch_end", after_batch)
    else:
        monkeypatch.setattr(CheckpointCallback, "on_train_epoch_end", after_epoch)
    small = small_run("trainer.steps_per_call=1")
    with small.context.interrupt_handler.installed(), pytest.raises(Interrupted) as stop:
        train()(*small, [])
    assert stop.value.signal == signal.SIGTERM
    assert read(small)["global_step"] >= (2 if after == "batch" else STEPS)


@pytest.mark.parametrize("damage", [b"", b"truncated"])
def test_damaged_checkpoint(small_run: MakeRun, damage: bytes) -> None:
    path = stopped(train(), small_run(), 2)
    path.write_bytes(damage)
    with pytest.raises(UserError) as caught:
        resumed(train(), small_run(), path)
    assert caught.value.field == "resume"
