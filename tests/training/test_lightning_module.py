"""The Classifier, compared with a bare loop bit by bit; schedules, checkpoints and callbacks of Lightning."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.precision import Precision
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, OneCycleLR, ReduceLROnPlateau, StepLR

from pipeline.data import (
    Affine,
    Augmentation,
    CropFlip,
    EpochBatchSampler,
    Flip,
    Images,
    NoAugmentation,
    Preprocessing,
    derive_seed,
    permutation,
)
from pipeline.model import CrossEntropy
from pipeline.training.lightning_module import EVALUATION_BATCH, Classifier
from pipeline.training.schedule import Schedule

N, BATCH, SEED, CLASSES, LR = 50, 16, 7, 3, 0.05
STEPS = 4  # an epoch: 16 + 16 + 16 + 2


def images(n: int, seed: int) -> Images:
    """Return noise that is brighter in the row of its class, so that there is something to learn."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES, (n,), generator=generator)
    pixels = torch.randint(0, 200, (n, 1, 6, 6), generator=generator)
    pixels[torch.arange(n), 0, labels] += 55
    return Images(pixels.to(torch.uint8), labels)


TRAIN, VAL = images(N, 1), images(EVALUATION_BATCH + 130, 2)  # more than one evaluation batch


def preprocessing() -> Preprocessing:
    return Affine(torch.full((1, 6, 6), 1 / 255), torch.full((1, 6, 6), -0.5))


def network(dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(3)
    first, last = nn.Conv2d(1, 4, 3), nn.Linear(64, CLASSES)
    return nn.Sequential(first, nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(dropout), nn.Flatten(), last)


def scheduled(interval: str, length: str | None, scheduler: Callable[..., Any]) -> Schedule:
    return Schedule(interval=interval, length_argument=length, scheduler=scheduler)


MOMENTUM = functools.partial(SGD, lr=LR, momentum=0.9)
COSINE = scheduled("step", "T_max", functools.partial(CosineAnnealingLR, eta_min=0.0))


@dataclass
class Case:
    """One way of training, done by Lightning and by a bare loop."""

    optimizer: Callable[..., Optimizer] = MOMENTUM
    epochs: int = 3
    dropout: float = 0.0
    augmentation: Augmentation | None = None
    l2: float = 0.0
    schedule: Schedule | None = None
    steps_per_call: int = 3
    channels_last: bool = False

    def classifier(self) -> Classifier:
        return Classifier(
            network(self.dropout),
            preprocessing=preprocessing(),
            loss=CrossEntropy(label_smoothing=0.0),
            optimizer=self.optimizer,
            train=TRAIN,
            val=VAL,
            seed=SEED,
            steps=EpochBatchSampler(N, batch_size=BATCH, seed=SEED, steps_per_call=self.steps_per_call),
            augmentation=self.augmentation,
            l2=self.l2,
            schedule=self.schedule,
            epochs=self.epochs,
            channels_last=self.channels_last,
        )

    def by_lightning(self, folder: Path) -> tuple[Classifier, pl.Trainer]:
        classifier, trainer = self.classifier(), lightning(folder, max_epochs=self.epochs)
        trainer.fit(classifier)
        return classifier, trainer

    def bare(self) -> tuple[nn.Module, list[dict[str, float]]]:
        """Train in a bare loop. Returns the network and a row for every epoch."""
        net, prepare = network(self.dropout), preprocessing()
        weights = [p for p in net.parameters() if p.ndim > 1]
        others = [p for p in net.parameters() if p.ndim == 1]
        optimizer = self.optimizer(
            [{"params": weights, "weight_decay": self.l2}, {"params": others, "weight_decay": 0}]
        )
        schedule = self.schedule
        scheduler = schedule and schedule.build(optimizer, epochs=self.epochs, steps_per_epoch=STEPS)
        augment, rows = self.augmentation or NoAugmentation(), []
        for epoch in range(self.epochs):
            parameters = augment.sample_parameters(SEED, epoch, N, "cpu")
            total_loss, correct, rate = 0.0, 0, optimizer.param_groups[0]["lr"]
            for step, index in enumerate(permutation(SEED, epoch, N).split(BATCH)):
                torch.manual_seed(derive_seed(SEED, 1, epoch, step))
                logits = net(prepare(augment(TRAIN.pixels[index], parameters[index])))
                loss = F.cross_entropy(logits, TRAIN.labels[index])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if scheduler and schedule and schedule.interval == "step":
                    scheduler.step()
                    rate = optimizer.param_groups[0]["lr"]
                total_loss += float(loss.detach()) * len(index)
                correct += int((logits.argmax(1) == TRAIN.labels[index]).sum())
            rows.append({"epoch": epoch, "step": (epoch + 1) * STEPS, "lr": rate})
            rows[-1] |= {"loss": total_loss / N, "accuracy": correct / N} | validation(net, prepare, augment)
            rows[-1]["penalty"] = self.l2 / 2 * sum(float(w.detach().square().sum()) for w in weights)
            if scheduler and schedule and schedule.interval == "epoch":
                scheduler.step()
        return net, rows


def validation(net: nn.Module, prepare: nn.Module, augment: Augmentation) -> dict[str, float]:
    net.eval()
    with torch.no_grad():
        logits = net(prepare(VAL.pixels))
        if isinstance(augment, Flip) and augment.average:
            logits = (logits + net(prepare(VAL.pixels.flip(-1)))) / 2
    net.train()
    loss, accuracy = F.cross_entropy(logits, VAL.labels), (logits.argmax(1) == VAL.labels).double().mean()
    return {"val_loss": float(loss), "val_accuracy": float(accuracy)}


def lightning(folder: Path, *, checkpointing: bool = False, **options: Any) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=checkpointing,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        **options,
    )


def same_bits(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


CASES = {
    "plain": Case(),
    "dropout": Case(dropout=0.5),
    "augmentation": Case(augmentation=CropFlip(padding=2, p=0.5)),
    "two views": Case(augmentation=Flip(p=0.5, average=True)),
    "l2": Case(l2=0.01),
    "cosine": Case(schedule=COSINE),
    "exponential": Case(schedule=scheduled("epoch", None, functools.partial(ExponentialLR, gamma=0.5)), epochs=2),
    "adam": Case(optimizer=functools.partial(Adam, lr=0.01), l2=0.01),
    "all at once": Case(dropout=0.3, augmentation=CropFlip(padding=1, p=0.5), l2=0.01, schedule=COSINE),
}


# ------------------------------------------------------------------------------------------ against a bare loop


@pytest.mark.parametrize("name", CASES)
def test_bits_of_bare_loop(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    classifier, _ = case.by_lightning(tmp_path)
    bare, rows = case.bare()
    assert same_bits(classifier.network.state_dict(), bare.state_dict())
    # the loop evaluates all images at once and the module in batches, so that sums have another order
    for row, expected in zip(classifier.history, rows, strict=True):
        assert row.pop("seconds") > 0
        assert row == pytest.approx(expected, rel=1e-5, abs=1e-12)


@pytest.mark.parametrize("steps_per_call", [1, 2, 10])
def test_steps_per_call_changes_no_bit(steps_per_call: int, tmp_path: Path) -> None:
    case = CASES["all at once"]
    changed = Case(**(vars(case) | {"steps_per_call": steps_per_call}))
    one, _ = case.by_lightning(tmp_path)
    other, _ = changed.by_lightning(tmp_path)
    assert same_bits(one.network.state_dict(), other.network.state_dict())
    for row, expected in zip(other.history, one.history, strict=True):
        assert row | {"seconds": 0} == pytest.approx(expected | {"seconds": 0}, rel=1e-6)


def test_earlier_draws_do_not_matter(tmp_path: Path) -> None:
    torch.manual_seed(0)
    one, _ = CASES["dropout"].by_lightning(tmp_path)
    torch.manual_seed(1)
    torch.rand(17)
    two, _ = CASES["dropout"].by_lightning(tmp_path)
    assert same_bits(one.state_dict(), two.state_dict())


# ------------------------------------------------------------------------------------------ steps and rows


@pytest.mark.parametrize("steps_per_call", [1, 3, 10])
def test_global_step_counts_optimizer_steps(steps_per_call: int, tmp_path: Path) -> None:
    _, trainer = Case(epochs=2, steps_per_call=steps_per_call).by_lightning(tmp_path)
    assert trainer.global_step == 2 * STEPS


def test_last_losses(tmp_path: Path) -> None:
    losses_of_calls: list[list[float]] = []
    correct_of_calls: list[list[int]] = []

    class Recorder(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, module: Any, *_: Any) -> None:
            losses_of_calls.append(module.last_losses.tolist())
            correct_of_calls.append(module.last_correct.tolist())

    classifier, trainer = Case().classifier(), lightning(tmp_path, max_epochs=1, callbacks=[Recorder()])
    trainer.fit(classifier)
    assert [len(losses) for losses in losses_of_calls] == [3, 1]
    sizes = [16, 16, 16, 2]
    losses, correct = [x for call in losses_of_calls for x in call], [x for call in correct_of_calls for x in call]
    assert classifier.history[0]["loss"] == pytest.approx(sum(s * x for s, x in zip(sizes, losses, strict=True)) / N)
    assert classifier.history[0]["accuracy"] == pytest.approx(sum(correct) / N)


def test_no_validation_images(tmp_path: Path) -> None:
    classifier = Case().classifier()
    classifier.val_images = None
    lightning(tmp_path, max_epochs=1).fit(classifier)
    assert set(classifier.history[0]) == {"epoch", "step", "lr", "loss", "accuracy", "penalty", "seconds"}


def test_penalty_is_not_in_loss(tmp_path: Path) -> None:
    frozen = functools.partial(SGD, lr=0.0)
    (without, _), (with_l2, _) = (Case(optimizer=frozen, l2=l2, epochs=1).by_lightning(tmp_path) for l2 in (0.0, 100.0))
    assert without.history[0]["loss"] == with_l2.history[0]["loss"]
    assert without.history[0]["penalty"] == 0
    assert with_l2.history[0]["penalty"] > 10


def test_channels_last(tmp_path: Path) -> None:
    plain, _ = Case(epochs=1).by_lightning(tmp_path)
    last, _ = Case(epochs=1, channels_last=True).by_lightning(tmp_path)
    for classifier, layout in ((plain, torch.contiguous_format), (last, torch.channels_last)):
        maps: list[Tensor] = []
        next(classifier.network.children()).register_forward_hook(lambda _m, _i, output, maps=maps: maps.append(output))
        classifier(TRAIN.pixels[:2])
        assert maps[0].is_contiguous(memory_format=layout)
    for one, two in zip(plain.network.parameters(), last.network.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


def test_forward_takes_raw_images() -> None:
    classifier = Case().classifier().eval()
    expected = classifier.network(TRAIN.pixels[:5].float() / 255 - 0.5)
    torch.testing.assert_close(classifier(TRAIN.pixels[:5]), expected)


# ------------------------------------------------------------------------------------------ schedules


def rates(schedule: Schedule, folder: Path, *, epochs: int, lr: float = LR) -> list[float]:
    """Return the rate of every optimizer step."""
    used: list[float] = []

    def optimizer(groups: Any) -> Optimizer:
        built = SGD(groups, lr=lr)
        built.register_step_pre_hook(lambda o, *_: used.append(o.param_groups[0]["lr"]))
        return built

    Case(optimizer=optimizer, schedule=schedule, epochs=epochs).by_lightning(folder)
    assert len(used) == epochs * STEPS
    return used


def test_cosine(tmp_path: Path) -> None:
    total = 3 * STEPS
    expected = [LR / 2 * (1 + math.cos(math.pi * step / total)) for step in range(total)]
    assert rates(COSINE, tmp_path, epochs=3) == pytest.approx(expected)


def test_exponential(tmp_path: Path) -> None:
    schedule = scheduled("epoch", None, functools.partial(ExponentialLR, gamma=0.8))
    expected = [LR * 0.8 ** (step // STEPS) for step in range(3 * STEPS)]
    assert rates(schedule, tmp_path, epochs=3) == pytest.approx(expected)


def test_step_schedule(tmp_path: Path) -> None:
    schedule = scheduled("epoch", None, functools.partial(StepLR, step_size=2, gamma=0.1))
    expected = [LR * 0.1 ** (step // STEPS // 2) for step in range(5 * STEPS)]
    assert rates(schedule, tmp_path, epochs=5) == pytest.approx(expected)


def test_one_cycle(tmp_path: Path) -> None:
    one_cycle = functools.partial(OneCycleLR, max_lr=LR, pct_start=0.3, div_factor=25.0, cycle_momentum=False)
    used = rates(scheduled("step", "total_steps", one_cycle), tmp_path, epochs=3)
    top = used.index(max(used))
    assert used[0] == pytest.approx(LR / 25)
    assert used[:top] == sorted(used[:top])
    assert used[top:] == sorted(used[top:], reverse=True)
    assert 0.85 * LR < used[top] <= LR  # the top lies between two steps
    assert used[-1] < LR / 1000


def test_plateau(tmp_path: Path) -> None:
    """At a rate of 1e-12 no weight changes in float32, so that from the second epoch on nothing is better."""
    schedule = scheduled("epoch", None, functools.partial(ReduceLROnPlateau, factor=0.1, patience=1, threshold=0.1))
    used = rates(schedule, tmp_path, epochs=7, lr=1e-12)
    # epoch 0 is the best; patience allows one of each of the pairs (1, 2), (3, 4) and (5, 6)
    assert used == pytest.approx([1e-12] * 3 * STEPS + [1e-13] * 2 * STEPS + [1e-14] * 2 * STEPS, rel=1e-6)


def test_plateau_follows_validation_loss(tmp_path: Path) -> None:
    schedule = scheduled("epoch", None, functools.partial(ReduceLROnPlateau, factor=0.1, patience=0, threshold=0.0))
    classifier = Case(schedule=schedule, epochs=6).classifier()
    classifier.val_images = Images(VAL.pixels, VAL.labels.roll(1))  # where learning the training images does not help
    lightning(tmp_path, max_epochs=6).fit(classifier)
    best, rate = math.inf, LR
    for row in classifier.history:
        assert row["lr"] == pytest.approx(rate)
        rate = rate if row["val_loss"] < best else rate * 0.1
        best = min(best, row["val_loss"])
    losses = [row["loss"] for row in classifier.history]
    assert min(losses[1:]) < losses[0], "the training loss should fall"
    assert rate < LR


# ------------------------------------------------------------------------------------------ checkpoints


def test_checkpoint_is_plain_data(tmp_path: Path) -> None:
    case = CASES["all at once"]
    classifier, trainer = case.by_lightning(tmp_path)
    classifier.checkpoint_extra = {"classes": ["a", "b", "c"]}
    trainer.save_checkpoint(tmp_path / "x.ckpt", weights_only=False)
    state = torch.load(tmp_path / "x.ckpt", weights_only=True)
    assert same_bits(state["state_dict"], classifier.state_dict())
    assert state["global_step"] == case.epochs * STEPS
    assert state["pipeline"]["history"] == classifier.history
    assert state["pipeline"]["classes"] == ["a", "b", "c"]
    assert {name for name in state["state_dict"] if not name.startswith("network.")} == {
        "preprocessing.scale",
        "preprocessing.offset",
    }


def test_checkpoint_has_no_images(tmp_path: Path) -> None:
    _, trainer = Case(epochs=1).by_lightning(tmp_path)
    trainer.save_checkpoint(tmp_path / "x.ckpt", weights_only=False)
    assert (tmp_path / "x.ckpt").stat().st_size < VAL.pixels.numel() * VAL.pixels.element_size()


def test_callbacks_of_lightning(tmp_path: Path) -> None:
    """They see the numbers and steps of each epoch."""
    stop = pl.callbacks.EarlyStopping(monitor="val_loss", mode="max", patience=1)
    save = pl.callbacks.ModelCheckpoint(dirpath=tmp_path, monitor="val_loss", filename="{step}", save_top_k=-1)
    classifier = Case(epochs=5).classifier()
    trainer = lightning(tmp_path, max_epochs=5, checkpointing=True, callbacks=[stop, save])
    trainer.fit(classifier)
    losses = [row["val_loss"] for row in classifier.history]
    worse = next(i for i, (a, b) in enumerate(pairwise(losses), start=1) if b < a)
    assert len(losses) == worse + 1  # with mode="max" a lower loss is worse
    assert sorted(path.stem for path in tmp_path.glob("*.ckpt")) == [f"step={STEPS * i}" for i in range(1, worse + 2)]
    assert float(trainer.callback_metrics["val_loss"]) == pytest.approx(losses[-1])
    counted = trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress.total
    assert counted.ready == counted.completed == trainer.global_step == STEPS * len(losses)


class Scaling(Precision):
    """Scales losses as 16-mixed does, and skips every third update as if its gradients had overflowed."""

    def __init__(self) -> None:
        super().__init__()
        self.scaler, self.updates = object(), 0

    def pre_backward(self, tensor: Tensor, module: Any) -> Tensor:
        return super().pre_backward(tensor * 1024, module)

    def optimizer_step(self, optimizer: Any, model: Any, closure: Any, **kwargs: Any) -> Any:
        self.updates += 1
        if self.updates % 3 == 0:
            return closure()
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad /= 1024
        return super().optimizer_step(optimizer, model=model, closure=closure, **kwargs)


class LossRecorder(pl.Callback):
    """Records the losses of all steps."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, *_: Any) -> None:
        self.losses += module.last_losses.tolist()


def test_scaled_losses(tmp_path: Path) -> None:
    """Where losses are scaled, Lightning does the backward pass and the update."""
    scaling, scaled, plain = Scaling(), LossRecorder(), LossRecorder()
    lightning(tmp_path, max_epochs=1, plugins=[scaling], callbacks=[scaled]).fit(Case(epochs=1).classifier())
    lightning(tmp_path, max_epochs=1, callbacks=[plain]).fit(Case(epochs=1).classifier())
    assert scaling.updates == STEPS
    equal = [a == b for a, b in zip(scaled.losses, plain.losses, strict=True)]
    assert equal == [True, True, True, False]  # the third update was skipped
