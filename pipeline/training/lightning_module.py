"""The LightningModule: a network with its data on the device, trained several optimizer steps per Lightning step.

Lightning spends 0.4 to 2 ms around each `training_step`, which would dominate small networks. So a "batch" of Lightning
is here a list of minibatches: (step, index) pairs, whose images are selected on the device. Manual optimization runs
one optimizer step for each; `global_step` counts optimizer steps, as ever. Where a step's examples are accumulated from
several passes, or dealt out to several processes, the step is the same to rounding.

All randomness is a function of (seed, epoch, example) or (seed, step), never of what ran before: order and augmentation
come from `pipeline.data.shuffle`, and the global generator (dropout) is seeded anew at each step. So a run that
resumes from a checkpoint ends with the same bits as one that was never stopped.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from pipeline.data import Augmentation, EpochBatchSampler, Images, NoAugmentation, Preprocessing, derive_seed
from pipeline.data.shuffle import split_batches
from pipeline.model.losses import Loss
from pipeline.model.regularization import decay_groups, penalty
from pipeline.signals.recorder import Recorder, StepProbe
from pipeline.training.compile import compiled
from pipeline.training.schedule import Schedule

Chunk = Sequence[tuple[int, Tensor]]
"""Minibatches of one Lightning step: (step within the epoch, index (B,))."""

EVALUATION_BATCH = 500
"""Examples at once where no gradient is needed: bounds memory, and is beyond what more would speed up."""


class Classifier(pl.LightningModule):
    """`network(preprocessing(images))` -> logits, with its loss, optimizer and schedule, over images in memory.

    Per step the data loss (nats, without penalty) and the number of right answers stay on the device:
    `last_losses`, `last_correct` hold those of the last Lightning step, the epoch's sums are kept for its report;
    whoever transfers them calls `note_steps`, which keeps `losses` and `accuracies` of every step.
    `history` has a row per epoch: epoch, step, lr, loss, penalty, accuracy, val_loss, val_accuracy, seconds; with a
    `recorder`, which looks at some steps from inside, and `probe` examples also probe_loss and probe_accuracy.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        preprocessing: Preprocessing,
        loss: Loss,
        optimizer: Callable[..., Optimizer],
        train: Images,
        seed: int,
        steps: EpochBatchSampler | Sequence[Chunk],
        augmentation: Augmentation | None = None,
        l2: float = 0.0,
        schedule: Schedule | None = None,
        epochs: int = 1,
        val: Images | None = None,
        channels_last: bool = False,
        recorder: Recorder | None = None,
        probe: Images | None = None,
        accumulate: int = 1,
        compile_for: int | None = None,
    ):
        super().__init__()
        self.automatic_optimization = False
        self.network = network
        self.preprocessing = preprocessing
        self.loss = loss
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.train_images, self.val_images = train, val
        self.augmentation = augmentation or NoAugmentation()
        self.make_optimizer, self.schedule, self.epochs, self.l2 = optimizer, schedule, epochs, l2
        self.seed = seed
        self.steps, self.accumulate = steps, accumulate
        self.recorder, self.probe_images = recorder, probe
        # only passes of so many examples: each other shape (the last batch, evaluation) would be compiled anew
        self.compile_for, self._compiled_forward = compile_for, compiled(self.forward) if compile_for else None
        self.epoch, self.step_in_epoch = 0, 0
        self.last_losses = self.last_correct = torch.zeros(0)
        self.losses: list[float] = []
        self.accuracies: list[float] = []
        self.history: list[dict[str, float]] = []
        self.seconds_before = 0.0
        self.checkpoint_extra: dict[str, Any] = {}
        """Plain data that goes into every checkpoint, such as what rebuilds the network."""
        self._sums = torch.zeros(3)  # of this epoch: loss x examples, right answers, examples
        self._val_sums = torch.zeros(3)
        self._draws: tuple[int, Tensor] | None = None
        self._backward_pass: Callable[[Tensor], None] = Tensor.backward
        """Lightning's `manual_backward` where it scales or exchanges gradients; else without its hooks, for which
        nobody waits: 0.1 ms a step."""
        self._started = time.perf_counter()

    # ------------------------------------------------------------------ setting up

    def setup(self, stage: str) -> None:
        self.network.to(memory_format=self.memory_format)

    def configure_optimizers(self) -> Any:
        optimizer = self.make_optimizer(decay_groups(self.network, l2=self.l2))
        if self.schedule is None:
            return optimizer
        assert isinstance(self.steps, EpochBatchSampler)
        scheduler = self.schedule.build(optimizer, epochs=self.epochs, steps_per_epoch=self.steps.steps_per_epoch)
        return [optimizer], [scheduler]

    def train_dataloader(self) -> Any:
        return _BatchChunks(self._rest_of_epoch)

    def val_dataloader(self) -> Any:
        images = self.val_images
        return _BatchChunks(lambda: [[(0, torch.arange(len(images)))]]) if images is not None else []

    def on_fit_start(self) -> None:
        self.train_images = self.train_images.to(self.device)
        self.val_images = self.val_images.to(self.device) if self.val_images is not None else None
        self.probe_images = self.probe_images.to(self.device) if self.probe_images is not None else None
        self._sums, self._val_sums = self._sums.to(self.device), self._val_sums.to(self.device)

    def transfer_batch_to_device(self, batch: Chunk, device: torch.device, dataloader_idx: int) -> Chunk:
        """As Lightning does, without looking for tensors in everything: 0.02 ms a step."""
        return [(step, index.to(device, non_blocking=True)) for step, index in batch]

    def _rest_of_epoch(self) -> Iterable[Chunk]:
        if isinstance(self.steps, EpochBatchSampler):
            self.steps.epoch, self.steps.step = self.epoch, self.step_in_epoch
        return self.steps

    # ------------------------------------------------------------------ training

    def forward(self, pixels: Tensor) -> Tensor:
        """Raw images (N, C, H, W) -> logits (N, classes)."""
        return self.network(self.preprocessing(pixels).contiguous(memory_format=self.memory_format))

    def training_step(self, chunk: Chunk, _: int) -> None:
        optimizer: Any = self.optimizers()
        scheduler: Any = self.lr_schedulers() if self.schedule else None
        each_step = self.schedule is not None and self.schedule.update_event(scheduler) == "step"
        losses, correct = [], []
        alone = self.accumulate == self.trainer.world_size == 1
        looks = _instrumented_steps(self.recorder, self.trainer.global_step, self.network)
        scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None  # 16-mixed: may skip an update
        update = optimizer.step if scaled else functools.partial(_counted_step, optimizer)
        self._backward_pass = self.manual_backward if scaled or self.trainer.world_size > 1 else Tensor.backward
        for step, index in chunk:
            look = next(looks)
            optimizer.zero_grad()
            if alone:
                loss, right = self._backward(step, index, look)
            else:
                loss, right = self._backward_in_parts(step, index, look)
            update()
            if look:
                look.after_update(optimizer.param_groups[0]["lr"])
            if each_step:
                scheduler.step()
            losses.append(loss)
            correct.append(right)
            self.step_in_epoch = step + 1
        self.last_losses, self.last_correct = self._reduce_over_processes(
            torch.stack(losses).float(), torch.stack(correct)
        )
        sizes = torch.tensor([float(len(index)) for _, index in chunk], device=self.device)
        self._sums += torch.stack([self.last_losses @ sizes, self.last_correct.sum().float(), sizes.sum()])

    def _backward(
        self, step: int, index: Tensor, look: StepProbe | None, *, part: int = 0, weight: float = 1.0, last: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Add the gradient of weight x mean loss over the examples at `index`; that loss, and the right answers."""
        _seed(derive_seed(self.seed, 1, self.epoch, step, *([part] if part else [])), self.device)
        pixels, labels = self._examples(index)
        if self._compiled_forward is not None and look is None and len(pixels) == self.compile_for:
            logits = self._compiled_forward(pixels)
        else:
            with look.forward() if look else nullcontext():
                logits = self(pixels)
        loss = self.loss(logits, labels)
        if weight != 1:
            loss = loss * weight
        self._backward_pass(loss)
        if look and last:
            look.before_update(logits)
        return loss.detach(), (logits.detach().argmax(1) == labels).sum()

    def _backward_in_parts(self, step: int, index: Tensor, look: StepProbe | None) -> tuple[Tensor, Tensor]:
        """The same where a step's examples are dealt out: part j of `accumulate` x processes belongs to process j mod
        processes. DDP averages over processes, so each part counts its share of the examples times their number.

        The network sees one part after the other; it is watched in the last one.
        """
        world, rank, strategy = self.trainer.world_size, self.trainer.global_rank, self.trainer.strategy
        dealt = list(enumerate(torch.tensor_split(index, self.accumulate * world)))[rank::world]
        totals: list[tuple[Tensor, Tensor]] = []
        for part, share in dealt:
            last = part == dealt[-1][0]
            weight = world * len(share) / len(index)
            wait = nullcontext() if last or world == 1 else strategy.block_backward_sync()  # type: ignore[attr-defined]
            with wait:  # one exchange a step; a process without an example takes part with a gradient of zero
                examples = share if len(share) else index[:1]
                loss, right = self._backward(
                    step, examples, look if last else None, part=part, weight=weight, last=last
                )
            totals.append((loss, right if len(share) else torch.zeros_like(right)))
        losses, correct = zip(*totals, strict=True)
        return torch.stack(losses).sum(), torch.stack(correct).sum()

    def _reduce_over_processes(self, losses: Tensor, correct: Tensor) -> tuple[Tensor, Tensor]:
        """Losses and right answers of some steps, over all processes, in one exchange."""
        if self.trainer.world_size == 1:
            return losses, correct
        both = self._total(torch.stack([losses / self.trainer.world_size, correct.float()]))
        return both[0], both[1].round().long()

    def record_steps(self, losses: list[float], sizes: list[int]) -> None:
        """Keep the losses of the last Lightning step, already transferred, and its shares of right answers."""
        self.losses += losses
        self.accuracies += [right / size for right, size in zip(self.last_correct.tolist(), sizes, strict=True)]

    def _examples(self, index: Tensor) -> tuple[Tensor, Tensor]:
        images = self.train_images
        pixels = images.pixels.index_select(0, index)
        if not isinstance(self.augmentation, NoAugmentation):
            if self._draws is None or self._draws[0] != self.epoch:
                draws = self.augmentation.sample_parameters(self.seed, self.epoch, len(images), self.device)
                self._draws = self.epoch, draws
            pixels = self.augmentation(pixels, self._draws[1].index_select(0, index))
        return pixels, images.labels.index_select(0, index)

    def on_validation_start(self) -> None:
        """Running statistics are those of the first process from here on: all evaluate the network that is saved."""
        if self.trainer.world_size > 1:
            for buffer in self.network.buffers():
                torch.distributed.broadcast(buffer, src=0)

    def validation_step(self, chunk: Chunk, _: int) -> None:
        assert self.val_images is not None
        for _step, everything in chunk:
            mine = torch.tensor_split(everything, self.trainer.world_size)[self.trainer.global_rank]
            both_ways = functools.partial(self.augmentation.average_logits, self)
            self._val_sums += self.score(self.val_images, mine, both_ways)

    def score(self, images: Images, index: Tensor, logits_of: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """(3,): sum of the loss, right answers and number of the examples at `index`, in the mode the network is in.
        `logits_of` maps images to logits; the classifier itself when None."""
        sums = torch.zeros(3, device=self.device)
        for some in split_batches(index.to(images.labels.device), EVALUATION_BATCH):
            labels = images.labels.index_select(0, some)
            logits = (logits_of or self)(images.pixels.index_select(0, some))
            right, count = (logits.argmax(1) == labels).sum(), labels.new_tensor(len(labels))
            sums += torch.stack([self.loss(logits, labels).float() * count, right.float(), count.float()])
        return sums

    def probe_indices(self) -> Tensor:
        """Places of the probe examples that this epoch looks at: evenly spaced ones, after the last epoch all."""
        assert self.recorder is not None
        assert self.probe_images is not None
        n = len(self.probe_images)
        few = (
            n if self.epoch + 1 >= self.epochs else min(n, self.recorder.config.probe_examples(len(self.train_images)))
        )
        return torch.arange(few) * n // few

    def _probe(self) -> dict[str, float]:
        """The network in evaluation mode on some training examples, without random changes; dead units are noted."""
        if self.recorder is None or self.probe_images is None:
            return {}
        self.network.eval()
        with torch.no_grad():
            if self.epoch + 1 < self.epochs and not self.recorder.probe_due(self.global_step):
                sums = self.score(self.probe_images, self.probe_indices())
            else:
                with self.recorder.probe_epoch(self.network, epoch=self.epoch, step=self.global_step) as before_pass:

                    def logits_of(pixels: Tensor) -> Tensor:
                        before_pass()
                        return self(pixels)

                    sums = self.score(self.probe_images, self.probe_indices(), logits_of)
        self.network.train()
        return _means(sums, "probe_")

    # ------------------------------------------------------------------ ends of epochs

    def on_train_epoch_end(self) -> None:
        """Write the epoch's row, move the schedule, and step on to the next epoch's first batch."""
        scheduler: Any = self.lr_schedulers() if self.schedule else None
        optimizer: Any = self.optimizers()
        row = {"epoch": float(self.epoch), "step": float(self.global_step), "lr": optimizer.param_groups[0]["lr"]}
        row |= _means(self._sums, "")
        row["penalty"] = float(penalty(self.network, self.l2).detach()) if self.l2 else 0.0
        if self.val_images is not None:
            row |= _means(self._total(self._val_sums), "val_")
        row |= self._probe()
        row["seconds"] = self.seconds_before + time.perf_counter() - self._started
        self.history.append(row)
        if scheduler is not None:
            self._step_scheduler(scheduler, row)
        self._sums.zero_()
        self._val_sums.zero_()
        self.epoch, self.step_in_epoch = self.epoch + 1, 0
        # what callbacks that monitor a value look at; `self.log` would take 2 ms for each
        self.trainer.callback_metrics.update({name: torch.tensor(value) for name, value in row.items()})

    def _step_scheduler(self, scheduler: LRScheduler, row: dict[str, float]) -> None:
        assert self.schedule is not None
        waits_for = self.schedule.update_event(scheduler)
        if waits_for == "epoch":
            scheduler.step()
        elif waits_for == "validation":
            scheduler.step(row.get("val_loss", row["loss"]))  # type: ignore[arg-type]

    def _total(self, sums: Tensor) -> Tensor:
        """Summed over all processes."""
        return self.trainer.strategy.reduce(sums.clone(), reduce_op="sum")

    # ------------------------------------------------------------------ checkpoints: plain data only

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["pipeline"] = self.checkpoint_extra | {
            "epoch": self.epoch,
            "step_in_epoch": self.step_in_epoch,
            "history": self.history,
            "sums": self._sums.cpu(),
            "seconds": self.seconds_before + time.perf_counter() - self._started,
            "losses": torch.tensor(self.losses),
            "accuracies": torch.tensor(self.accuracies),
            "signals": None if self.recorder is None else self.recorder.state(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint["pipeline"]
        self.epoch, self.step_in_epoch = state["epoch"], state["step_in_epoch"]
        self.history, self._sums = list(state["history"]), state["sums"].to(self.device)
        self.seconds_before = state["seconds"]
        self.losses, self.accuracies = state["losses"].tolist(), state["accuracies"].tolist()
        if self.recorder is not None and state["signals"] is not None:
            self.recorder.load(state["signals"])


class _BatchChunks:
    """Calls `begin()` for the chunks of each pass.

    It has no length on purpose: Lightning then counts nothing, goes on until the chunks end, and a run that resumes in
    the middle of an epoch simply gets the rest of it.
    """

    def __init__(self, begin: Callable[[], Iterable[Chunk]]):
        self.begin = begin

    def __iter__(self) -> Iterator[Chunk]:
        return iter(self.begin())


def _instrumented_steps(recorder: Recorder | None, done: int, network: nn.Module) -> Iterator[StepProbe | None]:
    """What looks at each of the steps that follow `done` ones. (Lightning's `global_step` takes 8 us, so it is asked
    once for several steps.)"""
    while True:
        done += 1
        yield None if recorder is None else recorder.sample(done, network)


def _counted_step(optimizer: LightningOptimizer) -> None:
    """`optimizer.step()` as Lightning counts it for `global_step`, without its hooks, for which nobody waits."""
    optimizer._on_before_step()
    optimizer.optimizer.step()
    optimizer._on_after_step()


def _seed(seed: int, device: torch.device) -> None:
    """Seed the generators that a step on `device` draws from.

    `torch.manual_seed` also queues a call, with a stack trace, for each kind of device that is not in use: 1 ms a step.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def _means(sums: Tensor, prefix: str) -> dict[str, float]:
    loss, right, count = sums.tolist()
    return {f"{prefix}loss": loss / count, f"{prefix}accuracy": right / count}
