"""After each epoch the logs are given what is new."""

from __future__ import annotations

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from pipeline.loggers import MultiLogger
from pipeline.training.lightning_module import Classifier


class LogEpochs(Checkpoint):
    """A `Checkpoint`, since those are called once the module has written the epoch's row, and others before."""

    def __init__(self, log: MultiLogger):
        self.run_log = log  # `log` is what Lightning calls its own

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, Classifier)
        log_training(self.run_log, module)


def log_training(log: MultiLogger, classifier: Classifier) -> None:
    recorder = classifier.recorder
    samples, units = (recorder.samples, recorder.units) if recorder else (None, None)
    log.log_training(classifier.history, samples, units, classifier.network)
