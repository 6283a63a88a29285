"""Callbacks of a training: one saves its checkpoints and ends it on request, one gives each epoch to the loggers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from pipeline.errors import Interrupted
from pipeline.loggers import MultiLogger
from pipeline.training.checkpoints import BEST, LAST, best_epoch, epoch_scores, hard_link, write_history
from pipeline.training.lightning_module import Classifier
from pipeline.workflow.interrupt import InterruptHandler


class CheckpointCallback(Checkpoint):
    """Saves the last and the best epoch, the history, and the step at which an interrupted training ends.

    With `directory` None nothing is saved. `examples` is the size of the validation split, which says how far scores
    can be trusted (`best_epoch`). `on_epoch_end` is called with each row of the history. The training ends when the
    score was not better for `patience` epochs; None: it never does.

    What is best follows from the history alone, which is in the checkpoint, so a resumed run decides as the
    uninterrupted one would have. Raises `Interrupted` after the save, where `interrupt_handler` has a pending signal.
    """

    def __init__(
        self,
        directory: Path | None,
        *,
        monitor: str,
        examples: int,
        patience: int | None,
        interrupt_handler: InterruptHandler,
        on_epoch_end: Callable[[dict[str, float]], None] = lambda row: None,
    ):
        self.directory, self.monitor, self.examples = directory, monitor, examples
        self.patience, self.interrupt_handler = patience, interrupt_handler
        self.on_epoch_end = on_epoch_end

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, Classifier)
        # Lightning's own handler of SIGTERM ends the process with its own exit code and saves nothing
        self.interrupt_handler.reinstall()
        if module.history and self._is_out_of_patience(module.history):  # before it was resumed
            trainer.should_stop = True

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        # at the last batch of an epoch the epoch is finished first: half a validation is nothing to resume from
        if self._is_interrupted(trainer) and not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            if self.directory is not None:
                trainer.save_checkpoint(self.directory / LAST, weights_only=False)
            self._stop()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, Classifier)
        if self.directory is not None:
            self._save_epoch(trainer, module.history, self.directory)
        self.on_epoch_end(module.history[-1])
        if self._is_out_of_patience(module.history):
            trainer.should_stop = True
        if self._is_interrupted(trainer):
            self._stop()

    def _save_epoch(self, trainer: pl.Trainer, history: list[dict[str, float]], directory: Path) -> None:
        is_best = best_epoch(history, self.monitor, examples=self.examples) is history[-1]
        # the best first: a run that is killed in between trains the epoch again
        trainer.save_checkpoint(directory / (BEST if is_best else LAST), weights_only=False)
        if trainer.is_global_zero:
            if is_best:
                hard_link(directory / BEST, directory / LAST)
            write_history(directory.parent / "history.csv", history)

    def _is_out_of_patience(self, history: list[dict[str, float]]) -> bool:
        if self.patience is None:
            return False
        scores = epoch_scores(history, self.monitor)
        best = history[scores.index(max(scores))]["epoch"]
        return history[-1]["epoch"] - best >= self.patience  # an equal score is no better one

    def _is_interrupted(self, trainer: pl.Trainer) -> bool:
        is_pending = self.interrupt_handler.pending_signal is not None
        if trainer.world_size > 1:  # all processes stop at the same step
            return trainer.strategy.reduce_boolean_decision(is_pending, all=False)
        return is_pending

    def _stop(self) -> None:
        number = self.interrupt_handler.pending_signal
        raise Interrupted(number if number is not None else 15)


class LogEpochs(Checkpoint):
    """Logs each epoch. It is a `Checkpoint`, since Lightning calls those after the module has written its row."""

    def __init__(self, log: MultiLogger):
        self.run_log = log  # `log` is a name of Lightning's own

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, Classifier)
        log_training(self.run_log, module)


def log_training(log: MultiLogger, classifier: Classifier) -> None:
    """Log the history of `classifier`, and the samples and units of its recorder."""
    recorder = classifier.recorder
    samples, units = (recorder.samples, recorder.units) if recorder else (None, None)
    log.log_training(classifier.history, samples, units, classifier.network)
