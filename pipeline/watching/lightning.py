"""`LightningWatch`: the checks of a training as a Lightning callback, for somebody else's LightningModule."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from pipeline.watching.findings import Findings
from pipeline.watching.watch import Watch

LOSS_KEYS = ("val_loss", "valid_loss", "validation_loss", "val/loss", "valid/loss")
ACCURACY_KEYS = ("val_acc", "val_accuracy", "valid_acc", "val/acc", "val/accuracy", "validation_accuracy")
"""Names under which modules log what is measured on the validation split; others are given as arguments."""


class LightningWatch(pl.Callback):
    """Watches the training of any LightningModule: `Trainer(callbacks=[pipeline.LightningWatch(classes=10)])`.

    The arguments are those of `pipeline.watch`; under `policy="stop"` a failure ends the training. `val_loss` and
    `val_accuracy` name the logged metrics of the validation split where they have unusual names. The model is called by
    the module's own `training_step`, so outputs are not seen and answers not counted, unless `training_step` returns a
    dictionary with `logits` and `labels` beside `loss`. `findings` holds the findings. The state is in the checkpoint.
    """

    def __init__(
        self,
        *,
        classes: int | None = None,
        every: int = 50,
        out: str | Path | None = None,
        policy: str = "warn",
        val_loss: str | None = None,
        val_accuracy: str | None = None,
    ):
        self.arguments: dict[str, Any] = {"classes": classes, "every": every, "out": out, "policy": policy}
        self.loss_keys = (val_loss,) if val_loss else LOSS_KEYS
        self.accuracy_keys = (val_accuracy,) if val_accuracy else ACCURACY_KEYS
        self.watch: Watch | None = None
        self._state: dict[str, Any] | None = None
        self._loss: Tensor | None = None

    @property
    def findings(self) -> Findings:
        """The findings so far; after the training those of all of it."""
        return Findings([]) if self.watch is None else self.watch.findings

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        epochs = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else None
        schedules = [config.scheduler for config in trainer.lr_scheduler_configs]
        is_planned = len(schedules) == 1 and trainer.max_steps < 0 and isinstance(schedules[0], LRScheduler)
        self.watch = Watch(
            module,
            trainer.optimizers,
            epochs=epochs,
            scheduler=schedules[0] if is_planned else None,
            name="lightning",
            **self.arguments,
        )
        self.watch.__enter__()
        if self._state is not None:
            self.watch.load_state_dict(self._state)

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        if self.watch is not None:
            self._loss = None
            self.watch.begin_step()
            self.watch.trace_forward()

    def on_before_backward(self, trainer: pl.Trainer, module: pl.LightningModule, loss: Tensor) -> None:
        if self.watch is not None:
            self._loss = loss
            self.watch.before_backward(loss)

    def on_after_backward(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if self.watch is not None and self._loss is not None:
            # Lightning divides the loss by the number of batches that it accumulates
            self.watch.backward_done(self._loss.detach() * trainer.accumulate_grad_batches)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.watch is None:
            return
        parts = outputs if isinstance(outputs, Mapping) else {"loss": outputs}
        if self._loss is None and isinstance(parts.get("loss"), Tensor):  # manual optimization with a plain `backward`
            self.watch.backward_done(parts["loss"])
        self.watch.add_answers(parts.get("logits"), parts.get("labels"))
        self.watch.count_examples(_batch_size(batch))
        self.watch.end_step()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if self.watch is None or trainer.sanity_checking:
            return
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        metrics = {"val_loss": self.loss_keys, "val_accuracy": self.accuracy_keys}
        found = {name: logged[key] for name, keys in metrics.items() for key in keys[::-1] if key in logged}
        self.watch.epoch(**found)
        trainer.should_stop |= self.watch.should_stop

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if self.watch is not None:
            self.watch.close()

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        if self.watch is not None:
            self.watch.close(exception)

    def state_dict(self) -> dict[str, Any]:
        """Return what was measured so far, for the checkpoint."""
        return {} if self.watch is None else self.watch.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        self._state = state_dict or None


def _batch_size(batch: Any) -> int:
    """Return the number of examples of a batch: the length of its first tensor."""
    if isinstance(batch, Tensor):
        return len(batch) if batch.ndim else 1
    parts = (
        list(batch.values()) if isinstance(batch, Mapping) else list(batch) if isinstance(batch, (tuple, list)) else []
    )
    return next((size for part in parts if (size := _batch_size(part))), 0)
