"""The training itself: best and last checkpoints, an early break when the cost explodes, and a history."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline import validation
from pipeline.checks import CheckSuite, Finding, Signals
from pipeline.checks.curve_shape import classify_curve
from pipeline.data import EpochBatchSampler
from pipeline.data.shuffle import permutation
from pipeline.data.splits import stratified_head
from pipeline.model import recompute_batchnorm_statistics
from pipeline.signals import LAST_PROBE, Recorder
from pipeline.stages.sample_images import first_layer_filters
from pipeline.stages.signals_of_training import batchnorm_mode_signals, final_histograms, training_signals
from pipeline.training import checkpoints
from pipeline.training.ddp import worker_processes
from pipeline.training.divergence import DivergenceGuard, TrainingDiverged
from pipeline.training.lightning_module import EVALUATION_BATCH, Classifier
from pipeline.training.logging_callback import LogEpochs, log_training
from pipeline.workflow.components import Components, Outcome, ProcessRank, all_findings


@dataclass(frozen=True)
class Train:
    """`epochs` over the training split; the checkpoint with the best `monitor` on the validation split is kept."""

    epochs: int
    break_factor: float
    patience: int | None
    monitor: str

    def __post_init__(self) -> None:
        validation.integer("epochs", self.epochs, at_least=1)
        validation.number("break_factor", self.break_factor, above=1)
        if self.patience is not None:
            validation.integer("patience", self.patience, at_least=1)
        validation.one_of("monitor", self.monitor, ("val_accuracy", "val_loss"))

    def __call__(self, parts: Components, earlier: Sequence[Outcome]) -> Outcome:
        started = time.perf_counter()
        folder = parts.directory / "checkpoints"
        if parts.resume is not None:
            checkpoints.copy(parts.resume.with_name(checkpoints.BEST), folder / checkpoints.BEST)
            checkpoints.copy(parts.resume, folder / checkpoints.LAST)  # resumable from the first moment on
        examples = len(parts.data.val)
        judge = functools.partial(self._judge, parts, earlier)
        with worker_processes(parts, self) as place:
            classifier, watch = self._fit(parts, place, judge)
        if classifier.history and not parts.is_trial:
            checkpoints.write_history(parts.directory / "history.csv", classifier.history)
        log_training(parts.log, classifier)
        signals = training_signals(parts, classifier, epochs=self.epochs) | watch.signals
        signals |= batchnorm_mode_signals(parts, classifier) if not watch.broken else {"interrupted_epoch": True}
        signals |= final_histograms(parts, classifier)
        findings = parts.checks.evaluate(signals, stage="train", earlier=all_findings(earlier))
        if parts.recompute_batchnorm and (folder / checkpoints.BEST).exists():
            _recompute(parts, classifier, folder / checkpoints.BEST)
        return Outcome(
            name="train",
            passed=not parts.checks.has_failure(findings) and not watch.broken,
            seconds=time.perf_counter() - started,
            headline=self._headline(classifier.history, watch, examples),
            metrics=self._metrics(classifier.history, examples)
            | watch.signals
            | {"lr": parts.lr}
            | _shape(signals, parts.checks),
            findings=tuple(findings),
            signals=signals,
            images=first_layer_filters(classifier.network, parts.preprocessing.output_shape)
            if parts.save_images
            else {},
        )

    def train_as_worker(self, parts: Components, place: ProcessRank) -> None:
        """Take part in the training of another process, which alone judges, writes and tells."""
        self._fit(parts, place, lambda _: [])

    def _fit(
        self, parts: Components, place: ProcessRank, judge: Callable[[Classifier], list[Finding]]
    ) -> tuple[Classifier, DivergenceGuard]:
        classifier = self._classifier(parts)
        watch = DivergenceGuard(
            parts, total_steps=self._steps(parts), break_factor=self.break_factor, on_epoch_checks=judge
        )
        keep = checkpoints.CheckpointCallback(
            None if parts.is_trial else parts.directory / "checkpoints",
            monitor=self.monitor,
            examples=len(parts.data.val),
            patience=self.patience,
            stopper=parts.stopper,
            epoch_ended=parts.on_epoch_end,
        )
        trainer = parts.device_config.trainer(
            place=place,
            max_epochs=self.epochs,
            callbacks=[watch, LogEpochs(parts.log), keep],
            plugins=[checkpoints.AtomicCheckpointIO()],
            enable_checkpointing=True,  # by ours, among the callbacks
        )
        try:
            with parts.stopper.deferred():
                trainer.fit(classifier, ckpt_path=parts.resume)
        except TrainingDiverged:
            pass
        return classifier, watch

    def _steps(self, parts: Components) -> int:
        return self.epochs * -(-len(parts.data.train) // parts.step_size)

    def _judge(self, parts: Components, earlier: Sequence[Outcome], classifier: Classifier) -> list[Finding]:
        """What the checks say at the end of an epoch, of those that need not wait for the end."""
        signals = training_signals(parts, classifier, epochs=self.epochs) | {"running": True}
        return parts.checks.evaluate(signals, stage="train", earlier=all_findings(earlier))

    def _classifier(self, parts: Components) -> Classifier:
        train, recording = parts.data.train, parts.recorder_config
        recorder = probe = None
        if recording is not None:
            recorder = Recorder(recording, total_steps=self._steps(parts))
            probe = stratified_head(train, len(parts.data.classes), LAST_PROBE)
        classifier = Classifier(
            parts.make_network(),
            preprocessing=parts.preprocessing.on(parts.device_config.device),
            loss=parts.loss,
            optimizer=parts.make_optimizer,
            train=train,
            val=parts.data.val,
            seed=parts.seed,
            steps=EpochBatchSampler(
                len(train),
                batch_size=parts.step_size,
                seed=parts.seed,
                steps_per_call=parts.device_config.steps_per_call,
            ),
            augmentation=parts.augmentation,
            l2=parts.l2,
            schedule=parts.schedule,
            epochs=self.epochs,
            channels_last=parts.channels_last,
            recorder=recorder,
            probe=probe,
            accumulate=parts.device_config.accumulate,
            compile_for=parts.batch_size // parts.device_config.devices if parts.compile else None,
        )
        classifier.checkpoint_extra = {
            "config": parts.config,
            "classes": list(parts.data.classes),
            "input_shape": list(parts.data.input_shape),
            "fingerprint": parts.data.fingerprint(),
        }
        return classifier

    def _metrics(self, history: list[dict[str, float]], examples: int) -> dict[str, Any]:
        metrics: dict[str, Any] = {"epochs": len(history), "history": history}
        if history:
            best = checkpoints.best_epoch(history, self.monitor, examples=examples)
            metrics |= {
                "best_epoch": int(best["epoch"]),
                "val_accuracy": best["val_accuracy"],
                "val_loss": best["val_loss"],
            }
        return metrics

    def _headline(self, history: list[dict[str, float]], watch: DivergenceGuard, examples: int) -> str:
        if watch.broken:
            return f"stopped early at step {watch.signals.get('exploded_step', watch.signals.get('nonfinite_step'))}"
        best, last = checkpoints.best_epoch(history, self.monitor, examples=examples), history[-1]
        return (
            f"validation accuracy {best['val_accuracy']:.4f} (epoch {int(best['epoch']) + 1} of {len(history)}); "
            f"last epoch: loss {last['loss']:.3f} + penalty {last['penalty']:.3f}, accuracy {last['accuracy']:.4f}"
        )


def _shape(signals: Signals, checks: CheckSuite) -> dict[str, Any]:
    """`loss_shape`: the name of the loss curve; `loss_shape_at`: the steps that show it."""
    found = classify_curve(signals, checks.rules)
    return {} if found is None else {"loss_shape": found.name, "loss_shape_at": list(found.steps)}


def _recompute(parts: Components, classifier: Classifier, path: Path) -> None:
    """Replace the running statistics of the best checkpoint by exact ones over the training split."""
    state = checkpoints.load(path, field="resume")
    classifier.load_state_dict(state["state_dict"])
    classifier.to(parts.device_config.device)
    pixels = parts.data.train.pixels
    order = permutation(parts.seed, 0, len(pixels))  # mixed classes in every batch
    pieces = torch.tensor_split(order, -(-len(order) // EVALUATION_BATCH))  # of equal size: no lone example at the end
    inputs = (classifier.preprocessing(pixels[index].to(parts.device_config.device)) for index in pieces)
    recompute_batchnorm_statistics(classifier.network, inputs)
    state["state_dict"] = {name: tensor.cpu() for name, tensor in classifier.state_dict().items()}
    checkpoints.save(state, path)
