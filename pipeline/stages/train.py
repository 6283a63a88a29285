"""The training itself: best and last checkpoints, an early break when the cost explodes, and a history."""

from __future__ import annotations

import math
import signal
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.exceptions import SIGTERMException

from pipeline import fields
from pipeline.data import EpochBatches
from pipeline.data.order import permutation
from pipeline.errors import Stopped
from pipeline.model import recompute_statistics
from pipeline.model.classifier import EVALUATION_BATCH, Classifier
from pipeline.parts import Outcome, Parts
from pipeline.stages import checkpoints

JUDGED_EXAMPLES = 16
"""The cost is the mean over at least so many examples: with a batch of one, a single wrong answer is no explosion."""


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
        classifier = self._classifier(parts)
        if parts.resume is not None:
            checkpoints.copy(parts.resume.with_name(checkpoints.BEST), folder / checkpoints.BEST)
            checkpoints.copy(parts.resume, folder / checkpoints.LAST)  # resumable from the first moment on
        watch = _Watch(self, parts)
        examples = len(parts.data.val)
        keep = checkpoints.KeepCheckpoints(
            folder, monitor=self.monitor, examples=examples, patience=self.patience, stopper=parts.stopper
        )
        trainer = parts.engine.trainer(
            max_epochs=self.epochs,
            callbacks=[watch, keep],
            plugins=[checkpoints.WholeFiles()],
            enable_checkpointing=True,  # by ours, among the callbacks
        )
        try:
            with parts.stopper.deferred():
                trainer.fit(classifier, ckpt_path=parts.resume)
        except _Broken:
            pass
        except SIGTERMException as stop:  # came between our look at the stopper and Lightning's at its own flag
            raise Stopped(signal.SIGTERM) from stop
        if classifier.history:
            checkpoints.write_history(parts.directory / "history.csv", classifier.history)
        signals = watch.signals | {"lr": parts.lr, "lower_rate": [f"optimizer.lr={parts.lr / 10:.3g}"]}
        findings = parts.checks.judge(signals, stage="train")
        if parts.recompute_batchnorm and (folder / checkpoints.BEST).exists():
            _recompute(parts, classifier, folder / checkpoints.BEST)
        return Outcome(
            name="train",
            passed=not parts.checks.fails(findings) and not watch.broken,
            seconds=time.perf_counter() - started,
            headline=self._headline(classifier.history, watch, examples),
            metrics=self._metrics(classifier.history, examples) | signals,
            findings=tuple(findings),
        )

    def _classifier(self, parts: Parts) -> Classifier:
        classifier = Classifier(
            parts.network(),
            preprocessing=parts.preprocessing,
            loss=parts.loss,
            optimizer=parts.optimizer,
            train=parts.data.train,
            val=parts.data.val,
            seed=parts.seed,
            steps=EpochBatches(
                len(parts.data.train),
                batch_size=parts.batch_size,
                seed=parts.seed,
                steps_per_call=parts.engine.steps_per_call,
            ),
            augmentation=parts.augmentation,
            l2=parts.l2,
            schedule=parts.schedule,
            epochs=self.epochs,
            channels_last=parts.channels_last,
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

    def _headline(self, history: list[dict[str, float]], watch: _Watch, examples: int) -> str:
        if watch.broken:
            return f"stopped early at step {watch.signals.get('exploded_step', watch.signals.get('nonfinite_step'))}"
        best, last = checkpoints.best_row(history, self.monitor, examples=examples), history[-1]
        return (
            f"validation accuracy {best['val_accuracy']:.4f} (epoch {int(best['epoch']) + 1} of {len(history)}); "
            f"last epoch: loss {last['loss']:.3f} + penalty {last['penalty']:.3f}, accuracy {last['accuracy']:.4f}"
        )


class _Broken(Exception):
    """Ends the fit from within a callback when going on is pointless."""


class _Watch(pl.Callback):
    """The early break (the cost above 3 x the original cost, or not finite), and how far the run is."""

    def __init__(self, stage: Train, parts: Parts):
        self.stage, self.parts = stage, parts
        self.signals: dict[str, Any] = {}
        self.broken = False
        self.window: deque[tuple[float, int]] = deque()
        steps = -(-len(parts.data.train) // parts.batch_size)
        self.total = stage.epochs * steps

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(module, Classifier)
        losses = module.recent_losses.tolist()  # the only transfer of a Lightning step
        original = module.saved.setdefault("original_cost", losses[0])
        first = trainer.global_step - len(losses) + 1
        for step, (loss, (_, index)) in enumerate(zip(losses, batch, strict=True), start=first):
            self._judge(loss, len(index), step, original)
        row = module.history[-1] if module.history else {}
        shown = {"val_accuracy": row["val_accuracy"]} if row else {}
        mean = sum(losses) / len(losses)
        self.parts.progress(trainer.global_step, self.total, epoch=module.epoch + 1, loss=mean, **shown)

    def _judge(self, loss: float, examples: int, step: int, original: float) -> None:
        """Break off at the first cost that is not finite or too high; tiny batches are judged by several steps."""
        if not math.isfinite(loss):
            self._break({"nonfinite": ["the loss"], "nonfinite_step": step})
        self.window.append((loss, examples))
        while sum(n for _, n in self.window) - self.window[0][1] >= JUDGED_EXAMPLES:
            self.window.popleft()
        cost = sum(loss * n for loss, n in self.window) / sum(n for _, n in self.window)
        # for a positive cost: cost > break_factor * original; a user's own loss may be negative
        if original != 0 and cost > original + (self.stage.break_factor - 1) * abs(original):
            factor = self.stage.break_factor
            about = {"exploded_cost": cost, "exploded_step": step, "original_cost": original, "break_factor": factor}
            self._break({"exploded": True} | about)

    def on_load_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, state: dict[str, Any]) -> None:
        assert isinstance(module, Classifier)
        module.saved["original_cost"] = state["pipeline"]["original_cost"]

    def _break(self, signals: dict[str, Any]) -> None:
        if self.parts.checks.fail_on == "never":
            return
        self.broken, self.signals = True, signals
        raise _Broken


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
