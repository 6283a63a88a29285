"""The LightningModule: a network with its data on the device, trained several optimizer steps per Lightning step.

Lightning spends 0.4 to 2 ms around each `training_step`, which would dominate small networks. A "batch" of Lightning is
therefore a chunk: a list of (step, index) pairs, whose images are selected on the device. Manual optimization runs one
optimizer step for each pair, and `global_step` counts optimizer steps.

All randomness is a function of (seed, epoch, example) or (seed, step). Order and augmentation come from
`pipeline.data.shuffle`, and the global generator (dropout) is seeded at each step. A run that resumes from a checkpoint
therefore ends with the same bits as one that was never stopped.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from pipeline.data import Augmentation, EpochBatchSampler, Images, NoAugmentation, Preprocessing, derive_seed
from pipeline.data.dataset import CLASSIFICATION
from pipeline.data.shuffle import EVALUATION_BATCH as EVALUATION_BATCH
from pipeline.data.shuffle import evaluation_batch, split_batches
from pipeline.model.losses import Loss
from pipeline.model.regularization import decay_groups, penalty
from pipeline.model.task import SCORES, score_examples
from pipeline.signals.recorder import Recorder, StepSampler
from pipeline.training import checkpoints, data_parallel
from pipeline.training.clipping import GradientClipping
from pipeline.training.compile import compiled
from pipeline.training.device_rates import DeviceRates, make_capturable
from pipeline.training.examples import TrainingExamples, draws_parameters, place_examples
from pipeline.training.graphed_step import GraphedStep, capturer_for
from pipeline.training.layer_rates import apply_rate_factors
from pipeline.training.lightning_shortcuts import Chunk, ChunkLoader
from pipeline.training.metrics import compute_metrics
from pipeline.training.schedule import Schedule, change_length
from pipeline.training.step import TrainingStep, count_correct
from pipeline.training.weight_average import WeightAverage


class Classifier(pl.LightningModule):
    """Maps raw images to logits, `network(preprocessing(images))`, and trains the network on images in memory.

    After each Lightning step, `last_losses` (nats, without the penalty) and `last_correct` hold the loss and the number
    of correct predictions of each of its optimizer steps, on the device. Whoever transfers them calls `record_steps`,
    which appends to `losses` and `accuracies`. `history` has a row per epoch: epoch, step, lr, loss, penalty, accuracy,
    val_loss, val_accuracy and seconds. A `recorder` measures some steps from inside. With a recorder and `probe`
    examples, a row also has probe_loss and probe_accuracy. What is called accuracy here is the mean score of `task`: of
    regression, rows have r2, val_r2 and probe_r2 in its place (see `pipeline.model.task`).

    A step over more than one pass (`accumulate`, or several processes) is the same step to rounding. `compile_for` is
    the number of examples whose passes are compiled; None: none are. `cuda_graph` (False, True or "auto") says whether
    steps are replayed as a CUDA graph; `graphed_step` tells how many were. With `images_on_host` the
    training and validation images stay in the host's memory. `val_metric` (such as f1) is computed of all validation
    outputs after each epoch; errors of targets are in their units by `target_moments` (2, T). `clipping` limits
    gradients. With `ema`, a decay, validation and checkpoints are those of averaged weights (`WeightAverage`), while
    steps and units are measured on the trained ones.
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
        cuda_graph: bool | str = False,
        images_on_host: bool = False,
        task: str = CLASSIFICATION,
        val_metric: str | None = None,
        target_moments: Tensor | None = None,
        clipping: GradientClipping | None = None,
        layer_decay: float | None = None,
        ema: float | None = None,
    ):
        super().__init__()
        self.automatic_optimization = False
        self.network = network
        self.preprocessing = preprocessing
        self.loss = loss
        self.task, self.val_metric, self.target_moments = task, val_metric, target_moments
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.train_images, self.val_images = train, val
        self.augmentation = augmentation or NoAugmentation()
        self.make_optimizer, self.schedule, self.epochs, self.l2 = optimizer, schedule, epochs, l2
        self.seed = seed
        self.steps, self.accumulate = steps, accumulate
        self.recorder, self.probe_images = recorder, probe
        # passes of one size only: every other shape (the last batch, evaluation) would be compiled for itself
        self.compile_for, self._compiled_forward = compile_for, compiled(self.forward) if compile_for else None
        self.cuda_graph = cuda_graph
        self.graphed_step: GraphedStep | None = None
        self.images_on_host = images_on_host
        self.clipping = clipping or GradientClipping()
        self.layer_decay = layer_decay
        self.ema = ema
        self.average: WeightAverage | None = None
        self.epoch, self.step_in_epoch = 0, 0
        self.last_losses = self.last_correct = torch.zeros(0)
        self.losses: list[float] = []
        self.accuracies: list[float] = []
        self.history: list[dict[str, float]] = []
        self.seconds_before = 0.0
        """Seconds of training before this process resumed it."""
        self.checkpoint_extra: dict[str, Any] = {}
        """Plain data that goes into every checkpoint, such as the configuration."""
        self.nondeterministic_operations: list[str] = []
        """Operations that had no deterministic form, where one was asked for."""
        self._sums = torch.zeros(3)
        """Sums over this epoch: loss x examples, correct predictions, examples."""
        self._val_sums = torch.zeros(3)
        self._val_outputs: list[Tensor] = []
        """All outputs of this validation, where a metric needs them."""
        self._parameters_epoch: int | None = None
        """The epoch whose parameters of the augmentation the examples have."""
        self._sizes: dict[tuple[int, ...], Tensor] = {}
        """The numbers of examples of a chunk's steps, on the device."""
        self._loaded_average: tuple[dict[str, Tensor], int] | None = None
        self._started = time.perf_counter()

    # ------------------------------------------------------------------ setting up

    def setup(self, stage: str) -> None:
        self.network.to(memory_format=self.memory_format)

    def configure_optimizers(self) -> Any:
        groups = decay_groups(self.network, l2=self.l2, layer_decay=self.layer_decay)
        optimizer = apply_rate_factors(self.make_optimizer(groups))
        if self.schedule is None:
            return optimizer
        assert isinstance(self.steps, EpochBatchSampler)
        scheduler = self.schedule.build(optimizer, epochs=self.epochs, steps_per_epoch=self.steps.steps_per_epoch)
        return [optimizer], [scheduler]

    def train_dataloader(self) -> Any:
        return ChunkLoader(self._remaining_chunks)

    def val_dataloader(self) -> Any:
        images = self.val_images
        return ChunkLoader(lambda: [[(0, torch.arange(len(images)))]]) if images is not None else []

    def on_fit_start(self) -> None:
        self.examples = self._place_examples()
        if not self.images_on_host:
            self.val_images = self.val_images.to(self.device) if self.val_images is not None else None
        self.probe_images = self.probe_images.to(self.device) if self.probe_images is not None else None
        self._sums, self._val_sums = self._sums.to(self.device), self._val_sums.to(self.device)

    def _place_examples(self) -> TrainingExamples:
        capacity = 0
        if isinstance(self.steps, EpochBatchSampler):
            if not self.images_on_host:
                self.steps.device = self.device
            capacity = min(self.steps.n, self.steps.batch_size * self.steps.steps_per_call)
        return place_examples(
            self.train_images, self.augmentation, self.device, on_host=self.images_on_host, capacity=capacity
        )

    def on_train_start(self) -> None:
        optimizer: Any = self.optimizers()
        capturer = capturer_for(self.device)
        step = self._make_step(optimizer)
        if capturer is not None and not step.has_scaler and make_capturable(optimizer.optimizer) is None:
            step.rates = DeviceRates(optimizer.optimizer, self.device)  # also without a graph: the bits are the same
        step_size, steps_to_come = 0, 0
        if isinstance(self.steps, EpochBatchSampler):
            step_size = self.steps.batch_size
            steps_to_come = (self.epochs - self.epoch) * self.steps.steps_per_epoch - self.step_in_epoch
        self.graphed_step = GraphedStep(
            step,
            wanted=self.cuda_graph,
            capturer=capturer,
            buffers=list(self.buffers()),
            step_size=step_size,
            steps_to_come=steps_to_come,
        )
        if self.ema is not None:
            self.average = WeightAverage(self.network, self.ema)
            if self._loaded_average is not None:
                self.average.load(*self._loaded_average)

    def _make_step(self, optimizer: Any) -> TrainingStep:
        return TrainingStep(
            forward=self.forward,
            loss=self.loss,
            select=self.examples.select,
            optimizer=optimizer,
            trainer=self.trainer,
            device=self.device,
            accumulate=self.accumulate,
            compiled_forward=self._compiled_forward,
            compiled_size=self.compile_for,
            task=self.task,
            clipping=self.clipping,
        )

    def on_train_end(self) -> None:
        self.release_graph()  # the network moves to the CPU now

    def release_graph(self) -> None:
        """Give up the captured step with its memory."""
        if self.graphed_step is not None:
            self.graphed_step.release()

    def transfer_batch_to_device(self, batch: Chunk, device: torch.device, dataloader_idx: int) -> Chunk:
        """Return the batch: its indices are where they are used. Lightning would look for tensors in everything."""
        return batch

    def _remaining_chunks(self) -> Iterable[Chunk]:
        if isinstance(self.steps, EpochBatchSampler):
            self.steps.epoch, self.steps.step = self.epoch, self.step_in_epoch
        return self.examples.chunks(self.steps)

    # ------------------------------------------------------------------ training

    def forward(self, pixels: Tensor) -> Tensor:
        """Map raw images (N, C, H, W) to logits (N, classes)."""
        return self.network(self.preprocessing(pixels).contiguous(memory_format=self.memory_format))

    def training_step(self, chunk: Chunk, _: int) -> None:
        scheduler: Any = self.lr_schedulers() if self.schedule else None
        moves_each_step = self.schedule is not None and self.schedule.update_event(scheduler) == "step"
        probes = _step_probes(self.recorder, self.trainer.global_step, self.network)
        losses, hits = [], []
        assert self.graphed_step is not None
        if self._parameters_epoch != self.epoch and draws_parameters(self.augmentation):
            n = len(self.train_images)
            self.examples.set_parameters(self.augmentation.sample_parameters(self.seed, self.epoch, n, self.device))
            self._parameters_epoch = self.epoch
        self.examples.begin_chunk()
        for step, index in chunk:
            loss, hits_of_step = self.graphed_step(index, functools.partial(self._part_seed, step), next(probes))
            losses.append(loss)
            hits.append(hits_of_step)
            if self.average is not None:
                self.average.update()
            if moves_each_step:
                scheduler.step()
        self.step_in_epoch = step + 1
        self.last_losses, self.last_correct = data_parallel.combine_steps(
            torch.stack(losses).float(), count_correct(hits), self.trainer
        )
        sizes = self._sizes_of(chunk)
        self._sums += torch.stack([self.last_losses @ sizes, self.last_correct.sum().float(), sizes.sum()])

    def _part_seed(self, step: int, part: int) -> int:
        """Return the seed of a pass: of its epoch, step and part of the step."""
        return derive_seed(self.seed, 1, self.epoch, step, *([part] if part else []))

    def _sizes_of(self, chunk: Chunk) -> Tensor:
        """Return the numbers of examples of the chunk's steps; few chunks differ, so they are copied once."""
        sizes = tuple(len(index) for _, index in chunk)
        if sizes not in self._sizes:
            self._sizes[sizes] = torch.tensor(sizes, dtype=torch.float32, device=self.device)
        return self._sizes[sizes]

    def record_steps(self, losses: list[float], sizes: list[int]) -> None:
        """Append the `losses` of the last Lightning step, which are transferred already, and its accuracies."""
        self.losses += losses
        self.accuracies += [correct / size for correct, size in zip(self.last_correct.tolist(), sizes, strict=True)]

    # ------------------------------------------------------------------ evaluation

    def on_validation_start(self) -> None:
        """Let all processes evaluate the network that is saved."""
        data_parallel.broadcast_buffers(self.network, self.trainer)
        if self.average is not None:
            data_parallel.broadcast(self.average.tensors, self.trainer)

    def validation_step(self, chunk: Chunk, _: int) -> None:
        assert self.val_images is not None
        self._val_outputs = []
        with self.evaluated_weights():
            for _step, index in chunk:
                # a metric of all outputs is computed by each process: they need no exchange, and all agree
                share = index if self.val_metric else data_parallel.share_of_process(index, self.trainer)
                self._val_sums += self.score(self.val_images, share, self._validation_logits)

    def evaluated_weights(self) -> AbstractContextManager[None]:
        """Return a context in which the network has the weights that are evaluated and kept."""
        return nullcontext() if self.average is None else self.average.in_use()

    def _validation_logits(self, pixels: Tensor) -> Tensor:
        logits = self.augmentation.average_logits(self, pixels)
        if self.val_metric:
            self._val_outputs.append(logits.float().cpu())
        return logits

    def score(self, images: Images, index: Tensor, logits_of: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Return (3,): the sums of the loss and of the scores, and the number of the examples at `index`.

        `logits_of` maps images to logits; by default it is the classifier, in the mode that its network is in.
        """
        sums = torch.zeros(3, device=self.device)
        for batch in split_batches(index.to(images.labels.device), evaluation_batch(images.pixels.shape[1:])):
            labels = images.labels.index_select(0, batch).to(self.device)
            logits = (logits_of or self)(images.pixels.index_select(0, batch).to(self.device))
            correct = score_examples(self.task, logits, labels).sum()
            count = torch.tensor(float(len(labels)), device=self.device)
            sums += torch.stack([self.loss(logits, labels).float() * count, correct.float(), count])
        return sums

    def probe_indices(self) -> Tensor:
        """Return the probe examples that this epoch is scored on: evenly spaced ones, and all after the last epoch."""
        assert self.recorder is not None
        assert self.probe_images is not None
        n = len(self.probe_images)
        is_last_epoch = self.epoch + 1 >= self.epochs
        count = n if is_last_epoch else min(n, self.recorder.config.probe_examples(len(self.train_images)))
        return torch.arange(count) * n // count

    def _score_probe(self) -> dict[str, float]:
        """Score the network in evaluation mode on some training examples, and let the recorder see its units.

        The scores are of the weights that validation sees too, the units of the trained ones.
        """
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
            if self.average is not None:
                with self.evaluated_weights():
                    sums = self.score(self.probe_images, self.probe_indices())
        self.network.train()
        return _means(sums, "probe_", self.task)

    # ------------------------------------------------------------------ ends of epochs

    def on_train_epoch_end(self) -> None:
        """Append the epoch's row, move the schedule, and go to the first batch of the next epoch."""
        scheduler: Any = self.lr_schedulers() if self.schedule else None
        optimizer: Any = self.optimizers()
        row = {"epoch": float(self.epoch), "step": float(self.global_step), "lr": optimizer.param_groups[0]["lr"]}
        row |= _means(self._sums, "", self.task)
        row["penalty"] = float(penalty(self.network, self.l2).detach()) if self.l2 else 0.0
        if self.val_images is not None:
            row |= self._validation_row()
        row |= self._score_probe()
        row["seconds"] = self._seconds()
        self.history.append(row)
        if scheduler is not None:
            self._step_scheduler(scheduler, row)
        self._sums.zero_()
        self._val_sums.zero_()
        self.epoch, self.step_in_epoch = self.epoch + 1, 0
        # for callbacks that monitor a value; `self.log` would take 2 ms for each
        self.trainer.callback_metrics.update({name: torch.tensor(value) for name, value in row.items()})

    def _validation_row(self) -> dict[str, float]:
        assert self.val_images is not None
        if not self.val_metric:
            return _means(data_parallel.sum_over_processes(self._val_sums, self.trainer), "val_", self.task)
        outputs, self._val_outputs = torch.cat(self._val_outputs), []
        metrics = compute_metrics(
            self.task, outputs, self.val_images.labels, moments=self.target_moments, names=[self.val_metric]
        )
        named = {f"val_{name}": value for name, value in metrics.items()}
        return _means(self._val_sums, "val_", self.task) | named

    def _step_scheduler(self, scheduler: LRScheduler, row: dict[str, float]) -> None:
        assert self.schedule is not None
        event = self.schedule.update_event(scheduler)
        if event == "epoch":
            scheduler.step()
        elif event == "validation":
            scheduler.step(row.get("val_loss", row["loss"]))  # type: ignore[arg-type]

    def _seconds(self) -> float:
        """Return the seconds of training so far, over all runs that continued it."""
        return self.seconds_before + time.perf_counter() - self._started

    # ------------------------------------------------------------------ checkpoints: plain data only

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["pipeline"] = self.checkpoint_extra | {
            "epoch": self.epoch,
            "step_in_epoch": self.step_in_epoch,
            "history": self.history,
            "sums": self._sums.cpu(),
            "seconds": self._seconds(),
            "losses": torch.tensor(self.losses),
            "accuracies": torch.tensor(self.accuracies),
            "signals": None if self.recorder is None else self.recorder.state(),
            "epochs": self.epochs,
        }
        if self.average is not None:  # whoever loads the checkpoint gets the averaged weights
            trained = {name: tensor.cpu() for name, tensor in self.network.state_dict().items()}
            checkpoint["pipeline"] |= {"trained_weights": trained, "averaged_steps": self.average.steps}
            checkpoint["state_dict"] |= {
                f"network.{name}": tensor for name, tensor in self.average.state_dict().items()
            }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint["pipeline"]
        self.epoch, self.step_in_epoch = state["epoch"], state["step_in_epoch"]
        self.history, self._sums = list(state["history"]), state["sums"].to(self.device)
        self.seconds_before = state["seconds"]
        self.losses, self.accuracies = state["losses"].tolist(), state["accuracies"].tolist()
        if self.recorder is not None and state["signals"] is not None:
            self.recorder.load(state["signals"])
        if self.schedule and self.schedule.length_argument and state.get("epochs", self.epochs) != self.epochs:
            (optimizer,), (scheduler,) = self.configure_optimizers()
            change_length(checkpoint, optimizer, scheduler)
        if "trained_weights" in state:
            weights = checkpoint["state_dict"]
            self._loaded_average = checkpoints.strip_prefix(weights, "network."), state["averaged_steps"]
            checkpoint["state_dict"] = weights | {
                f"network.{name}": tensor for name, tensor in state["trained_weights"].items()
            }


def _step_probes(recorder: Recorder | None, steps_done: int, network: nn.Module) -> Iterator[StepSampler | None]:
    """Yield what measures each step that follows `steps_done`, or None for a step that is not measured.

    Lightning's `global_step` takes 8 us, so it is read once for the steps of a chunk.
    """
    while True:
        steps_done += 1
        yield None if recorder is None else recorder.sample(steps_done, network)


def _means(sums: Tensor, prefix: str, task: str) -> dict[str, float]:
    """Return the mean loss and the mean score of sums as `Classifier.score` returns them."""
    loss, score, count = sums.tolist()
    return {f"{prefix}loss": loss / count, f"{prefix}{SCORES[task]}": score / count}
