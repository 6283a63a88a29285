"""Replayed steps on a simulated GPU: whole runs end with the bits of eager ones, from images on the host as well.

tests/training/test_graphed_step.py does the same on the CPU in more cases; here nothing may be left on the host.
"""

from __future__ import annotations

import pytest

from pipeline.training import graphed_step, lightning_module
from tests.resumed_training import differences, read, resumed, stopped, train
from tests.small_run import MakeRun
from tests.training.recorded_graph import RecordingCapturer

GPU = ("trainer=gpu", "data.batch_size=32", "trainer.steps_per_call=2")
CASES = {
    "default": (),
    "convnet": (
        "model=convnet",
        "model.width=4",
        "model.depth=2",
        "augmentation=crop_flip",
        "trainer.precision=32-true",
    ),
    "rmsprop": ("optimizer=rmsprop", "optimizer.momentum=0.5", "regularization=l2_dropout"),
    "nesterov": ("optimizer=nesterov", "schedule=cosine"),
    "adagrad": ("optimizer=adagrad", "schedule=plateau"),
    "accumulate": ("trainer.accumulate=2", "optimizer=adam", "augmentation=crop_flip"),
    "host": ("trainer.images_on=host", "augmentation=crop_flip"),
}


@pytest.fixture(autouse=True)
def _captures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lightning_module, "capturer_for", lambda device: RecordingCapturer())
    monkeypatch.setattr(graphed_step, "MIN_STEPS", 5)


@pytest.mark.parametrize("name", CASES)
def test_bits_of_eager_steps(small_run: MakeRun, name: str) -> None:
    eager, replayed = (small_run(*GPU, *CASES[name], f"trainer.cuda_graph={wanted}") for wanted in ("false", "true"))
    one, other = (train(3)(*small, []) for small in (eager, replayed))
    assert (one.signals["graph_steps"], other.signals["graph_steps"] > 5) == (0, True)
    assert "graph_refused" not in other.signals
    assert differences(read(eager), read(replayed)) == []
    assert one.signals["losses"] == other.signals["losses"]


def test_a_resumed_training_has_the_same_bits(small_run: MakeRun) -> None:
    options = (*GPU, "optimizer=adam", "augmentation=crop_flip", "regularization=l2_dropout", "trainer.cuda_graph=true")
    whole = small_run(*options)
    train(3)(*whole, [])
    path = stopped(train(3), small_run(*options), 8)
    later, _ = resumed(train(3), small_run(*options), path)
    assert differences(read(whole), read(later)) == []


def test_a_training_that_diverges_gives_up_its_graph(small_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    released = []
    release = graphed_step.GraphedStep.release
    monkeypatch.setattr(
        graphed_step.GraphedStep, "release", lambda step: released.append(step.replayed) or release(step)
    )
    diverging = ("optimizer.lr=100", "schedule=constant", "batchnorm=none", "optimizer=sgd", "optimizer.lr=1e3")
    outcome = train(3, break_factor=2.0)(*small_run(*GPU, *diverging), [])
    assert not outcome.passed
    assert released
