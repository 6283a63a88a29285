"""Gives the loggers what is new after each epoch."""

from __future__ import annotations

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from pipeline.loggers import MultiLogger
from pipeline.training.lightning_module import Classifier


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
