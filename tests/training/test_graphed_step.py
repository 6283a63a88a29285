"""Replayed steps: the bits of eager ones, what is never replayed, and why a step cannot be captured."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, OneCycleLR, ReduceLROnPlateau

from pipeline.data import Augmentation, CropFlip, EpochBatchSampler, Flip, Images, NoAugmentation
from pipeline.data.augmentation import CutMix, Mixup
from pipeline.errors import UserError
from pipeline.model import CrossEntropy
from pipeline.signals.recorder import Recorder, RecorderConfig
from pipeline.training import graphed_step, lightning_module, step_graph
from pipeline.training.clipping import GradientClipping
from pipeline.training.device_rates import DeviceRates
from pipeline.training.lightning_module import Classifier
from pipeline.training.schedule import Schedule
from tests.training import recorded_graph
from tests.training.recorded_graph import RecordingCapturer
from tests.training.test_lightning_module import images, lightning, network, preprocessing, same_bits

N, BATCH = 50, 8
STEPS = 7  # an epoch: six of 8 and one of 2
TRAIN, VAL = images(N, 1), images(40, 2)
WITH_DROPOUT = functools.partial(network, 0.3)
MOMENTUM = functools.partial(SGD, lr=0.05, momentum=0.9, fused=True)
ONE_CYCLE = functools.partial(OneCycleLR, max_lr=0.2, cycle_momentum=False)


def scheduled(interval: str, length: str | None, scheduler: Callable[..., Any]) -> Schedule:
    return Schedule(interval=interval, length_argument=length, scheduler=scheduler)


@dataclass
class Case:
    network: Callable[[], nn.Module] = WITH_DROPOUT
    optimizer: Callable[..., Optimizer] = MOMENTUM
    epochs: int = 3
    augmentation: Augmentation = field(default_factory=NoAugmentation)
    l2: float = 0.01
    schedule: Schedule | None = None
    accumulate: int = 1
    recorder: RecorderConfig | None = None
    host: bool = False
    precision: Any = "32-true"
    steps_per_call: int = 3
    clipping: GradientClipping | None = None
    ema: float | None = None

    def train(self, folder: Path, wanted: bool | str) -> Classifier:
        steps = EpochBatchSampler(N, batch_size=BATCH, seed=7, steps_per_call=self.steps_per_call)
        classifier = Classifier(
            self.network(),
            preprocessing=preprocessing(),
            loss=CrossEntropy(label_smoothing=0.1),
            optimizer=self.optimizer,
            train=TRAIN,
            val=VAL,
            seed=7,
            steps=steps,
            augmentation=self.augmentation,
            l2=self.l2,
            schedule=self.schedule,
            epochs=self.epochs,
            recorder=Recorder(self.recorder, total_steps=self.epochs * STEPS) if self.recorder else None,
            probe=Images(TRAIN.pixels[:20], TRAIN.labels[:20]),
            accumulate=self.accumulate,
            cuda_graph=wanted,
            images_on_host=self.host,
            clipping=self.clipping,
            ema=self.ema,
        )
        lightning(folder, max_epochs=self.epochs, precision=self.precision).fit(classifier)
        return classifier


@pytest.fixture
def capturers(monkeypatch: pytest.MonkeyPatch) -> list[RecordingCapturer]:
    """Let the CPU capture. Returns the capturers that are made."""
    made: list[RecordingCapturer] = []

    def capturer_for(device: torch.device) -> RecordingCapturer:
        made.append(RecordingCapturer())
        return made[-1]

    monkeypatch.setattr(lightning_module, "capturer_for", capturer_for)
    monkeypatch.setattr(graphed_step, "MIN_STEPS", 5)
    monkeypatch.setattr(step_graph, "_LIBRARIES", (*step_graph._LIBRARIES, Path(recorded_graph.__file__)))
    return made


CASES = {
    "dropout and batchnorm": Case(),
    "augmentation": Case(augmentation=CropFlip(padding=1, p=0.5)),
    "flip": Case(augmentation=Flip(p=0.5, average=True)),
    "nesterov": Case(optimizer=functools.partial(SGD, lr=0.05, momentum=0.9, nesterov=True)),
    "dampening": Case(optimizer=functools.partial(SGD, lr=0.05, momentum=0.9, dampening=0.5)),
    "adam": Case(optimizer=functools.partial(Adam, lr=0.01)),
    "adamw, amsgrad": Case(optimizer=functools.partial(AdamW, lr=0.01, amsgrad=True)),
    "adagrad": Case(optimizer=functools.partial(Adagrad, lr=0.01, fused=True)),
    "one cycle": Case(schedule=scheduled("step", "total_steps", ONE_CYCLE)),
    "cosine": Case(schedule=scheduled("step", "T_max", CosineAnnealingLR)),
    "exponential": Case(schedule=scheduled("epoch", None, functools.partial(ExponentialLR, gamma=0.5))),
    "plateau": Case(schedule=scheduled("epoch", None, functools.partial(ReduceLROnPlateau, patience=0, threshold=1.0))),
    "recorder": Case(recorder=RecorderConfig(every_n_steps=4, max_samples=100, probe_fraction=1.0)),
    "images on the host": Case(host=True, augmentation=CropFlip(padding=1, p=0.5)),
    "bf16": Case(precision="bf16-mixed"),
    "two minibatches": Case(accumulate=2, augmentation=CropFlip(padding=1, p=0.5)),
    "four minibatches": Case(accumulate=4, optimizer=functools.partial(Adam, lr=0.01)),
    "clipped": Case(clipping=GradientClipping(norm=0.05, value=0.02)),
    "clipped, two minibatches": Case(clipping=GradientClipping(norm=0.05), accumulate=2),
    "clipped, recorder": Case(
        clipping=GradientClipping(norm=0.05),
        recorder=RecorderConfig(every_n_steps=4, max_samples=100, probe_fraction=1.0),
    ),
    "averaged weights": Case(ema=0.9),
    "mixup": Case(augmentation=Mixup(flip=0.5, alpha=0.4)),
    "cutmix on the host": Case(augmentation=CutMix(flip=0.5, alpha=1.0), host=True),
    "no momentum": Case(optimizer=functools.partial(SGD, lr=0.05)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_bits_of_eager_steps(name: str, capturers: list[RecordingCapturer], tmp_path: Path) -> None:
    case = CASES[name]
    eager, replayed = case.train(tmp_path, False), case.train(tmp_path, "auto")
    assert (eager.graphed_step.replayed, eager.graphed_step.refusal) == (0, None)
    assert replayed.graphed_step.refusal is None
    assert same_bits(eager.state_dict(), replayed.state_dict())
    assert all(torch.isfinite(value).all() for value in replayed.state_dict().values())
    for one, other in zip(eager.history, replayed.history, strict=True):
        assert one | {"seconds": 0} == other | {"seconds": 0}
    full_steps = case.epochs * (STEPS - 1)
    passes = case.accumulate + 1 if case.accumulate > 1 else 1  # the update has a graph of its own then
    assert capturers[-1].captures == min(passes, 3)
    if case.recorder is None:
        assert replayed.graphed_step.replayed == full_steps - 1  # the first one is eager
    else:  # eager: the first, and those that are looked into
        steps = eager.recorder.samples["step"]
        if case.clipping:  # and the steps after them: a replay leaves clipped gradients
            steps = sorted({*steps, *(step + 1 for step in steps if step < case.epochs * STEPS)})
        looked = [step for step in steps if step > 1 and step % STEPS]
        assert eager.recorder.samples == replayed.recorder.samples
        assert replayed.graphed_step.replayed == full_steps - 1 - len(looked)
    assert capturers[-1].replays == (replayed.graphed_step.replayed + 2) * passes  # two steps are a trial


# ------------------------------------------------------------------------------------------ what goes on eager


class ReadsBack(nn.Module):
    """Reads a number back in each pass."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.abs().max() > 1e9 else x


class DrawsOnHost(nn.Module):
    """Drops its input at random, with Python's generator."""

    def forward(self, x: Tensor) -> Tensor:
        return x * random.choice([0.1, 1.0, 3.0])


class Counts(nn.Module):
    """Computes something else in each pass."""

    def __init__(self) -> None:
        super().__init__()
        self.passes = 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return x * (1 + self.passes % 2)


class OwnOptimizer(SGD):
    pass


def with_layer(layer: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(network(), layer())


REFUSED: dict[str, tuple[Case, str]] = {
    "a value is read back": (Case(network=with_layer(ReadsBack)), f"{Path(__file__).name}, line"),
    "random numbers of the host": (Case(network=with_layer(DrawsOnHost)), "other numbers"),
    "a count in Python": (Case(network=with_layer(Counts)), "other numbers"),
    "an optimizer of one's own": (Case(optimizer=functools.partial(OwnOptimizer, lr=0.05)), "OwnOptimizer"),
    "momentum in a cycle": (
        Case(schedule=scheduled("step", "total_steps", functools.partial(OneCycleLR, max_lr=0.2))), "schedule"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_goes_on_eager(name: str, capturers: list[RecordingCapturer], tmp_path: Path) -> None:
    case, reason = REFUSED[name]
    random.seed(0)
    classifier = case.train(tmp_path, "auto")
    assert reason in classifier.graphed_step.refusal
    assert len(classifier.history) == case.epochs
    if name == "a value is read back":  # found before a capture, whose failure torch does not always survive
        assert capturers[0].captures == 0
    if name not in ("random numbers of the host", "a count in Python"):  # whose state a trial cannot restore
        assert classifier.graphed_step.replayed <= 1
        eager = case.train(tmp_path, False)
        assert same_bits(eager.state_dict(), classifier.state_dict())


@pytest.mark.parametrize("name", REFUSED)
def test_required(name: str, capturers: list[RecordingCapturer], tmp_path: Path) -> None:
    case, reason = REFUSED[name]
    random.seed(0)
    with pytest.raises(UserError) as caught:
        case.train(tmp_path, True)
    assert caught.value.field == "trainer.cuda_graph"
    assert reason in str(caught.value)


def test_too_few_steps(capturers: list[RecordingCapturer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphed_step, "MIN_STEPS", 3 * STEPS + 1)
    short = Case().train(tmp_path, "auto")
    assert (short.graphed_step.replayed, short.graphed_step.refusal) == (0, None)
    assert Case().train(tmp_path, True).graphed_step.replayed == 3 * (STEPS - 1) - 1


@pytest.mark.parametrize(("world_size", "has_scaler"), [(2, False), (1, True)])
def test_known_obstacles(world_size: int, has_scaler: bool) -> None:
    """Nothing is tried where gradients are exchanged, or where an update may be left out."""
    rates = DeviceRates(SGD(nn.Linear(1, 1).parameters(), lr=0.1), torch.device("cpu"))
    step: Any = SimpleNamespace(trainer=SimpleNamespace(world_size=world_size), has_scaler=has_scaler, rates=rates)
    options: dict[str, Any] = {"capturer": RecordingCapturer(), "buffers": [], "step_size": 8, "steps_to_come": 10**6}
    assert graphed_step.GraphedStep(step, wanted="auto", **options).signals().keys() == {"graph_steps", "graph_refused"}
    assert graphed_step.GraphedStep(step, wanted=False, **options).signals() == {"graph_steps": 0}
    with pytest.raises(UserError):
        graphed_step.GraphedStep(step, wanted=True, **options)


def test_no_signals_of_the_cpu(tmp_path: Path) -> None:
    assert Case(epochs=1).train(tmp_path, "auto").graphed_step.signals() == {}


def test_empty_parts_count_nothing(tmp_path: Path) -> None:
    """The last step has two examples for four passes: two of them are empty, and count neither loss nor answers."""
    once, in_parts = (
        Case(network=linear, accumulate=accumulate, epochs=6).train(tmp_path, False) for accumulate in (1, 4)
    )
    for row, expected in zip(in_parts.history, once.history, strict=True):
        for key in ("loss", "accuracy", "val_loss"):
            assert row[key] == pytest.approx(expected[key], rel=1e-5)


def linear() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
