"""The training itself: best and last checkpoints, an early break when the cost explodes, and a history."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline import fields
from pipeline.checks import Checks, Finding, Signals
from pipeline.checks.shape import shape
from pipeline.data import EpochBatches
from pipeline.data.order import permutation
from pipeline.data.splits import first
from pipeline.model import recompute_statistics
from pipeline.model.classifier import EVALUATION_BATCH, Classifier
from pipeline.parts import Outcome, Parts, Place, findings_of
from pipeline.signals import LAST_PROBE, Recorder
from pipeline.stages import checkpoints
from pipeline.stages.early_break import Broken, EarlyBreak
from pipeline.stages.log_epochs import LogEpochs, log_training
from pipeline.stages.pictures import filters
from pipeline.stages.processes import together
from pipeline.stages.training_signals import at_the_end, so_far, spread_after


@dataclass(frozen=True)
class Train:
    """`epochs` over the training split; the checkpoint with the best `monitor` on the validation split is kept."""

    epochs: int
    break_factor: float
    patience: int | None
    monitor: str

    def __post_init__(self) -> None:
        fields.whole("epochs", self.epochs, at_least=1)
        fields.real("break_factor", self.break_factor, above=1)
        if self.patience is not None:
            fields.whole("patience", self.patience, at_least=1)
        fields.choice("monitor", self.monitor, ("val_accuracy", "val_loss"))

    def __call__(self, parts: Parts, earlier: Sequence[Outcome]) -> Outcome:
        started = time.perf_counter()
        folder = parts.directory / "checkpoints"
        if parts.resume is not None:
            checkpoints.copy(parts.resume.with_name(checkpoints.BEST), folder / checkpoints.BEST)
            checkpoints.copy(parts.resume, folder / checkpoints.LAST)  # resumable from the first moment on
        examples = len(parts.data.val)
        judge = functools.partial(self._judge, parts, earlier)
        with together(parts, self) as place:
            classifier, watch = self._fit(parts, place, judge)
        if classifier.history and not parts.trial:
            checkpoints.write_history(parts.directory / "history.csv", classifier.history)
        log_training(parts.log, classifier)
        signals = so_far(parts, classifier, epochs=self.epochs) | watch.signals
        signals |= at_the_end(parts, classifier) if not watch.broken else {"interrupted_epoch": True}
        signals |= spread_after(parts, classifier)
        findings = parts.checks.judge(signals, stage="train", earlier=findings_of(earlier))
        if parts.recompute_batchnorm and (folder / checkpoints.BEST).exists():
            _recompute(parts, classifier, folder / checkpoints.BEST)
        return Outcome(
            name="train",
            passed=not parts.checks.fails(findings) and not watch.broken,
            seconds=time.perf_counter() - started,
            headline=self._headline(classifier.history, watch, examples),
            metrics=self._metrics(classifier.history, examples)
            | watch.signals
            | {"lr": parts.lr}
            | _shape(signals, parts.checks),
            findings=tuple(findings),
            signals=signals,
            pictures=filters(classifier.network, parts.preprocessing.output_shape) if parts.pictures else {},
        )

    def follow(self, parts: Parts, place: Place) -> None:
        """Take part in the training of another process, which alone judges, writes and tells."""
        self._fit(parts, place, lambda _: [])

    def _fit(
        self, parts: Parts, place: Place, judge: Callable[[Classifier], list[Finding]]
    ) -> tuple[Classifier, EarlyBreak]:
        classifier = self._classifier(parts)
        watch = EarlyBreak(parts, total_steps=self._steps(parts), break_factor=self.break_factor, judge=judge)
        keep = checkpoints.KeepCheckpoints(
            None if parts.trial else parts.directory / "checkpoints",
            monitor=self.monitor,
            examples=len(parts.data.val),
            patience=self.patience,
            stopper=parts.stopper,
            epoch_ended=parts.epoch_ended,
        )
        trainer = parts.engine.trainer(
            place=place,
            max_epochs=self.epochs,
            callbacks=[watch, LogEpochs(parts.log), keep],
            plugins=[checkpoints.WholeFiles()],
            enable_checkpointing=True,  # by ours, among the callbacks
        )
        try:
            with parts.stopper.deferred():
                trainer.fit(classifier, ckpt_path=parts.resume)
        except Broken:
            pass
        return classifier, watch

    def _steps(self, parts: Parts) -> int:
        return self.epochs * -(-len(parts.data.train) // parts.step_size)

    def _judge(self, parts: Parts, earlier: Sequence[Outcome], classifier: Classifier) -> list[Finding]:
        """What the checks say at the end of an epoch, of those that need not wait for the end."""
        signals = so_far(parts, classifier, epochs=self.epochs) | {"running": True}
        return parts.checks.judge(signals, stage="train", earlier=findings_of(earlier))

    def _classifier(self, parts: Parts) -> Classifier:
        train, recording = parts.data.train, parts.recording
        recorder = probe = None
        if recording is not None:
            recorder = Recorder(recording, total_steps=self._steps(parts))
            probe = first(train, len(parts.data.classes), LAST_PROBE)
        classifier = Classifier(
            parts.network(),
            preprocessing=parts.preprocessing.on(parts.engine.device),
            loss=parts.loss,
            optimizer=parts.optimizer,
            train=train,
            val=parts.data.val,
            seed=parts.seed,
            steps=EpochBatches(
                len(train),
                batch_size=parts.step_size,
                seed=parts.seed,
                steps_per_call=parts.engine.steps_per_call,
            ),
            augmentation=parts.augmentation,
            l2=parts.l2,
            schedule=parts.schedule,
            epochs=self.epochs,
            channels_last=parts.channels_last,
            recorder=recorder,
            probe=probe,
            accumulate=parts.engine.accumulate,
            compile_for=parts.batch_size // parts.engine.devices if parts.compile else None,
        )
        classifier.saved = {
            "config": parts.config,
            "classes": list(parts.data.classes),
            "input_shape": list(parts.data.input_shape),
            "fingerprint": parts.data.fingerprint(),
        }
        return classifier

    def _metrics(self, history: list[dict[str, float]], examples: int) -> dict[str, Any]:
        metrics: dict[str, Any] = {"epochs": len(history), "history": history}
        if history:
            best = checkpoints.best_row(history, self.monitor, examples=examples)
            metrics |= {
                "best_epoch": int(best["epoch"]),
                "val_accuracy": best["val_accuracy"],
                "val_loss": best["val_loss"],
            }
        return metrics

    def _headline(self, history: list[dict[str, float]], watch: EarlyBreak, examples: int) -> str:
        if watch.broken:
            return f"stopped early at step {watch.signals.get('exploded_step', watch.signals.get('nonfinite_step'))}"
        best, last = checkpoints.best_row(history, self.monitor, examples=examples), history[-1]
        return (
            f"validation accuracy {best['val_accuracy']:.4f} (epoch {int(best['epoch']) + 1} of {len(history)}); "
            f"last epoch: loss {last['loss']:.3f} + penalty {last['penalty']:.3f}, accuracy {last['accuracy']:.4f}"
        )


def _shape(signals: Signals, checks: Checks) -> dict[str, Any]:
    """`loss_shape`: the name of the loss curve; `loss_shape_at`: the steps that show it."""
    found = shape(signals, checks.rules)
    return {} if found is None else {"loss_shape": found.name, "loss_shape_at": list(found.steps)}


def _recompute(parts: Parts, classifier: Classifier, path: Path) -> None:
    """Replace the running statistics of the best checkpoint by exact ones over the training split."""
    state = checkpoints.load(path, field="resume")
    classifier.load_state_dict(state["state_dict"])
    classifier.to(parts.engine.device)
    pixels = parts.data.train.pixels
    order = permutation(parts.seed, 0, len(pixels))  # mixed classes in every batch
    pieces = torch.tensor_split(order, -(-len(order) // EVALUATION_BATCH))  # of equal size: no lone example at the end
    inputs = (classifier.preprocessing(pixels[index].to(parts.engine.device)) for index in pieces)
    recompute_statistics(classifier.network, inputs)
    state["state_dict"] = {name: tensor.cpu() for name, tensor in classifier.state_dict().items()}
    checkpoints.save(state, path)
