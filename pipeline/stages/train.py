"""Trains the network: best and last checkpoints, an early end when the loss explodes, and a history."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from pipeline import validation
from pipeline.checks import CheckSuite, Finding
from pipeline.checks.curve_shape import classify_curve
from pipeline.data import EpochBatchSampler
from pipeline.data.sampling import sampling_weights
from pipeline.data.shuffle import evaluation_batch, permutation
from pipeline.data.splits import stratified_head
from pipeline.errors import UserError
from pipeline.model import recompute_batchnorm_statistics
from pipeline.signals.recorder import LAST_PROBE, Recorder
from pipeline.signals.schema import ScheduleSignals
from pipeline.stages.sample_images import first_layer_filters
from pipeline.stages.signals_of_training import (
    batchnorm_mode_signals,
    final_histograms,
    planned_schedule,
    training_signals,
)
from pipeline.training import checkpoints
from pipeline.training.callbacks import CheckpointCallback, LogEpochs, log_training
from pipeline.training.checkpoint_io import AtomicCheckpointIO
from pipeline.training.ddp import worker_processes
from pipeline.training.device import CHUNK_SIZE, ProcessRank
from pipeline.training.divergence import DivergenceGuard, TrainingDiverged
from pipeline.training.examples import keeps_images_on_host
from pipeline.training.lightning_module import Classifier
from pipeline.training.metrics import AUTO, choose_monitor, needs_outputs
from pipeline.training.score_names import validation_scores
from pipeline.workflow.components import Components, RunContext, Stage
from pipeline.workflow.outcome import Outcome, all_findings
from pipeline.workflow.process_setup import deterministic_algorithms

EpochChecks = Callable[[Classifier], Sequence[Finding]]


@dataclass(frozen=True)
class Train(Stage):
    """Train for `epochs`, and keep the checkpoint with the best `monitor` on the validation split.

    The training ends early where the loss exceeds `break_factor` times the first step's in five steps in a row, or ten
    times as much in one, and where `monitor` was not better for `patience` epochs (None: it never does).
    """

    name: ClassVar[str] = "train"
    key_metric = "val_accuracy"
    logged_metrics = ("best_epoch", "val_accuracy", "val_loss")
    fixes_warnings = True

    epochs: int
    break_factor: float
    patience: int | None
    monitor: str

    def __post_init__(self) -> None:
        validation.integer("epochs", self.epochs, at_least=1)
        validation.number("break_factor", self.break_factor, above=1)
        if self.patience is not None:
            validation.integer("patience", self.patience, at_least=1)
        validation.one_of("monitor", self.monitor, [AUTO, *validation_scores()])

    def check_components(self, components: Components) -> None:
        """Raise `UserError` where the task has no such score as `monitor`."""
        choose_monitor(components.data.task, self.monitor)

    def __call__(self, components: Components, context: RunContext, earlier: Sequence[Outcome]) -> Outcome:
        started = time.perf_counter()
        checkpoint_dir = context.directory / "checkpoints"
        if context.resume_from is not None:  # so that this run can be resumed from its first moment on
            checkpoints.copy(context.resume_from.with_name(checkpoints.BEST), checkpoint_dir / checkpoints.BEST)
            checkpoints.copy(context.resume_from, checkpoint_dir / checkpoints.LAST)
        planned = planned_schedule(components, epochs=self.epochs)
        if "schedule_error" in planned:
            raise UserError(
                f"the schedule breaks down at move {planned['schedule_error_move']} of {planned['schedule_moves']}: "
                f"{planned['schedule_error']}",
                field="schedule.scheduler",
            )
        epoch_checks = functools.partial(self._check_epoch, components, earlier, planned)
        processes = components.device_config.devices
        with worker_processes(components.config, self, processes=processes, resume_from=context.resume_from) as rank:
            classifier, guard = self._fit(components, context, rank, epoch_checks)
        if classifier.history and not context.is_trial:
            checkpoints.write_history(context.directory / "history.csv", classifier.history)
        log_training(context.log, classifier)
        signals = self._signals(components, classifier) | planned | guard.signals
        signals |= {"interrupted_epoch": True} if guard.has_diverged else batchnorm_mode_signals(components, classifier)
        if context.save_images:
            signals |= final_histograms(components, classifier)
        findings = components.checks.evaluate(signals, stage=self.name, earlier=all_findings(earlier))
        if components.recompute_batchnorm and (checkpoint_dir / checkpoints.BEST).exists():
            _recompute_batchnorm(components, classifier, checkpoint_dir / checkpoints.BEST)
        val_examples = len(components.data.val)
        monitor = self._monitor(components)
        metrics = self._metrics(classifier.history, monitor, val_examples) | guard.signals | {"lr": components.lr}
        return Outcome(
            name=self.name,
            passed=not components.checks.has_failure(findings) and not guard.has_diverged,
            seconds=time.perf_counter() - started,
            headline=self._headline(classifier.history, guard, monitor, val_examples),
            metrics=metrics | _curve_shape(signals, components.checks),
            findings=tuple(findings),
            signals=signals,
            images=_images(components, classifier) if context.save_images else {},
        )

    def train_as_worker(self, components: Components, context: RunContext, rank: ProcessRank) -> None:
        """Take part in the training of another process, which alone judges, writes and reports."""
        self._fit(components, context, rank, lambda classifier: [])

    def _fit(
        self, components: Components, context: RunContext, rank: ProcessRank, epoch_checks: EpochChecks
    ) -> tuple[Classifier, DivergenceGuard]:
        classifier = self._classifier(components)
        # a limit of the error: high rates that end well take the squared error of targets above 3, and rarely above 9
        break_factor = self.break_factor**components.loss.error_power
        guard = DivergenceGuard(
            total_steps=self._count_steps(components),
            break_factor=None if components.checks.fail_on == "never" else break_factor,
            on_epoch_checks=epoch_checks if not context.is_trial else lambda classifier: [],
            on_finding=context.on_finding,
            progress=context.progress,
        )
        if (components.weights or {}).get("head") == "loaded":
            # the first loss is low already, and noise is many times it
            train = components.data.train
            guard.explosion.original_cost = components.loss.initial_loss_on(train.labels, len(components.data.classes))
        checkpoint_callback = CheckpointCallback(
            None if context.is_trial else context.directory / "checkpoints",
            monitor=self._monitor(components),
            examples=len(components.data.val),
            patience=self.patience,
            interrupt_handler=context.interrupt_handler,
            on_epoch_end=context.on_epoch_end,
        )
        trainer = components.device_config.make_trainer(
            rank=rank,
            max_epochs=self.epochs,
            callbacks=[guard, LogEpochs(context.log), checkpoint_callback],
            plugins=[AtomicCheckpointIO()],
            enable_checkpointing=True,  # by the callback above
        )
        try:
            wanted = components.device_config.deterministic
            with context.interrupt_handler.deferred(), deterministic_algorithms(wanted) as operations:
                classifier.nondeterministic_operations = operations
                trainer.fit(classifier, ckpt_path=context.resume_from)
        except TrainingDiverged:
            pass
        return classifier, guard

    def _signals(self, components: Components, classifier: Classifier) -> dict[str, Any]:
        return training_signals(components, classifier, epochs=self.epochs)

    def _count_steps(self, components: Components) -> int:
        return self.epochs * -(-len(components.data.train) // components.step_size)

    def _check_epoch(
        self, components: Components, earlier: Sequence[Outcome], planned: ScheduleSignals, classifier: Classifier
    ) -> Sequence[Finding]:
        """Evaluate the checks at the end of an epoch, without those that earlier stages have reported.

        Checks that need the whole training stay silent.
        """
        signals = self._signals(components, classifier) | planned | {"running": True}
        findings = components.checks.evaluate(signals, stage=self.name, earlier=all_findings(earlier))
        known = {finding.check for finding in all_findings(earlier)}
        return [finding for finding in findings if finding.check not in known]

    def _classifier(self, components: Components) -> Classifier:
        train, recorder_config, device = components.data.train, components.recorder_config, components.device_config
        monitor = self._monitor(components)
        recorder = probe = None
        if recorder_config is not None:
            recorder = Recorder(recorder_config, total_steps=self._count_steps(components))
            probe = stratified_head(train, len(components.data.classes), LAST_PROBE)
        on_host = keeps_images_on_host(components.data, device)
        sampler = EpochBatchSampler(
            len(train),
            batch_size=components.step_size,
            seed=components.seed,
            steps_per_call=min(device.chunk_size, CHUNK_SIZE) if on_host else device.chunk_size,
            weights=sampling_weights(train, len(components.data.classes), components.sampling),
        )
        classifier = Classifier(
            components.make_network(),
            preprocessing=components.preprocessing.on(device.device),
            loss=components.loss,
            optimizer=components.make_optimizer,
            train=train,
            val=components.data.val,
            seed=components.seed,
            steps=sampler,
            augmentation=components.augmentation,
            l2=components.l2,
            schedule=components.schedule,
            epochs=self.epochs,
            channels_last=components.channels_last,
            recorder=recorder,
            probe=probe,
            accumulate=device.accumulate,
            compile_for=components.batch_size // device.devices if components.compile else None,
            cuda_graph=device.cuda_graph,
            images_on_host=on_host,
            clipping=device.clipping,
            layer_decay=components.layer_decay,
            ema=device.ema,
            task=components.data.task,
            val_metric=monitor.removeprefix("val_") if needs_outputs(components.data.task, monitor) else None,
            target_moments=components.data.target_moments,
        )
        classifier.checkpoint_extra = {
            "config": components.config,
            "classes": list(components.data.classes),
            "input_shape": list(components.data.input_shape),
            "fingerprint": components.data.fingerprint(),
            "task": components.data.task,
            "reading": dict(components.data.reading),
            "scale": components.data.scale,
            "pixel_type": str(components.data.train.pixels.dtype).removeprefix("torch."),
            "target_moments": components.data.target_moments,
        }
        return classifier

    def _monitor(self, components: Components) -> str:
        """Return the score by which the best epoch is chosen; raise `UserError` where the task has no such score."""
        try:
            return choose_monitor(components.data.task, self.monitor)
        except UserError as error:
            raise error.with_prefix(f"stages.{self.name}") from error

    def _metrics(self, history: list[dict[str, float]], monitor: str, val_examples: int) -> dict[str, Any]:
        metrics: dict[str, Any] = {"epochs": len(history), "history": history}
        if history:
            best = checkpoints.best_epoch(history, monitor, examples=val_examples)
            scores = {name: value for name, value in best.items() if name.startswith("val_")}
            metrics |= {"best_epoch": int(best["epoch"]), **scores}
        return metrics

    def _headline(
        self, history: list[dict[str, float]], guard: DivergenceGuard, monitor: str, val_examples: int
    ) -> str:
        if guard.has_diverged:
            return f"stopped early at step {guard.signals.get('exploded_step', guard.signals.get('nonfinite_step'))}"
        best, last = checkpoints.best_epoch(history, monitor, examples=val_examples), history[-1]
        score = "accuracy" if "val_accuracy" in best else "r2"
        named = f"{score} {best[f'val_{score}']:.4f}"
        if monitor not in ("val_loss", f"val_{score}"):
            named += f", {monitor.removeprefix('val_')} {best[monitor]:.4f}"
        return (
            f"validation {named} (epoch {int(best['epoch']) + 1} of {len(history)}); "
            f"last epoch: loss {last['loss']:.3f} + penalty {last['penalty']:.3f}, {score} {last[score]:.4f}"
        )


def _images(components: Components, classifier: Classifier) -> dict[str, Any]:
    return first_layer_filters(classifier.network, components.preprocessing.output_shape)


def _curve_shape(signals: dict[str, Any], checks: CheckSuite) -> dict[str, Any]:
    """Return `loss_shape`, the name of the loss curve, and `loss_shape_at`, the steps that show it."""
    shape = classify_curve(signals, checks.rules)
    return {} if shape is None else {"loss_shape": shape.name, "loss_shape_at": list(shape.steps)}


def _recompute_batchnorm(components: Components, classifier: Classifier, path: Path) -> None:
    """Replace the running statistics of the best checkpoint by exact ones over the training split."""
    device = components.device_config.device
    state = checkpoints.load(path, field="resume")
    classifier.load_state_dict(state["state_dict"])
    classifier.to(device)
    pixels = components.data.train.pixels
    order = permutation(components.seed, 0, len(pixels))  # every batch has all classes
    n_pieces = -(-len(order) // evaluation_batch(pixels.shape[1:]))
    pieces = torch.tensor_split(order, n_pieces)  # of equal size: no lone example at the end
    inputs = (classifier.preprocessing(pixels[index].to(device)) for index in pieces)
    recompute_batchnorm_statistics(classifier.network, inputs)
    state["state_dict"] = {name: tensor.cpu() for name, tensor in classifier.state_dict().items()}
    checkpoints.save(state, path)
