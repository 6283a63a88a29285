"""Checkpoints that are whole or absent, proven by a checksum, and hold plain data only."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor

from pipeline.errors import Interrupted, UserError
from pipeline.runs.paths import write_atomic, write_text
from pipeline.training.lightning_module import Classifier
from pipeline.workflow.interrupt import InterruptHandler

BEST, LAST = "best.ckpt", "last.ckpt"


def save(state: dict[str, Any], path: Path) -> None:
    """Write `state` whole. Its sha256 is laid down first, above that of the file it replaces, so that a kill between
    the two moves leaves a pair that still agrees."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    data = buffer.getbuffer()
    new = hashlib.sha256(data).hexdigest()
    _write_checksum(path, new)
    write_atomic(path, lambda file: file.write(data))
    _known[_identity(path)] = new


def _write_checksum(path: Path, new: str) -> None:
    before = [_sum_of(path)] if path.exists() else []
    write_text(_sums_file(path), "\n".join([new, *before]) + "\n")


_known: dict[tuple[int, int, int, int], str] = {}
"""Sums of files that this process wrote, by device, inode, time and size: reading them again would take longer."""


def _sum_of(path: Path) -> str:
    known = _known.get(_identity(path))
    return known or hashlib.sha256(path.read_bytes()).hexdigest()


def _identity(path: Path) -> tuple[int, int, int, int]:
    stat = path.stat()
    return stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size


def hard_link(source: Path, target: Path) -> None:
    """Let `target` be the checkpoint `source` too, without writing it again. Neither file is ever written in place, so
    they part when one of them is replaced. File systems without hard links get a copy."""
    _write_checksum(target, _sums_file(source).read_text().split()[0])
    beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        os.link(source, beside)
    except OSError:
        write_atomic(target, lambda file: file.write(source.read_bytes()))
    else:
        beside.replace(target)


def load(path: Path, *, field: str, device: torch.device | str = "cpu") -> dict[str, Any]:
    """The checkpoint at `path`; raises a `UserError` on `field` if it is missing, damaged, or no plain data."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the checkpoint {str(path)!r} ({error.strerror}).", field=field) from error
    sums = _sums_file(path)
    if sums.exists() and hashlib.sha256(data).hexdigest() not in sums.read_text().split():
        raise UserError(f"the checkpoint {str(path)!r} is damaged: its checksum differs. Use another.", field=field)
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        raise UserError(
            f"{str(path)!r} is no checkpoint of plain data ({type(error).__name__}).", field=field
        ) from error


def copy(source: Path, target: Path) -> None:
    """The checkpoint with its checksum, if it is there."""
    if source.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        if _sums_file(source).exists():
            shutil.copyfile(_sums_file(source), _sums_file(target))
        write_atomic(target, lambda file: file.write(source.read_bytes()))


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's own saving goes through $TMPDIR, from where the last move can be a copy that a kill tears."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        save(checkpoint, Path(path))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return load(Path(path), field="resume")


class CheckpointCallback(Checkpoint):
    """Saves the last and the best epoch, the history, and, when the user asked to stop, the step where that is.

    Without a `folder` nothing is saved. `examples` in the validation split say how far scores can be trusted
    (`best_row`). `on_epoch_end` is given each row of the history.
    Ends the training when the score was not better for `patience` epochs. What is best follows from the history alone,
    which is in the checkpoint, so a resumed run decides as the whole one would have.
    """

    def __init__(
        self,
        folder: Path | None,
        *,
        monitor: str,
        examples: int,
        patience: int | None,
        interrupt_handler: InterruptHandler,
        on_epoch_end: Callable[[dict[str, float]], None] = lambda row: None,
    ):
        self.on_epoch_end = on_epoch_end
        self.folder, self.monitor, self.examples = folder, monitor, examples
        self.patience, self.interrupt_handler = patience, interrupt_handler

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        # at the epoch's last batch the epoch is finished first: half-done validation is nothing to resume from
        if self._requested(trainer) and not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            self._save_and_stop(trainer)

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, Classifier)
        self.interrupt_handler.reinstall()  # instead of Lightning's own end at a SIGTERM, with its own exit and its own timing
        if module.history and self._patience_ran_out(module.history):  # before it was resumed
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, Classifier)
        if self.folder is not None:
            self._save(trainer, module.history, self.folder)
        self.on_epoch_end(module.history[-1])
        if self._patience_ran_out(module.history):
            trainer.should_stop = True
        if self._requested(trainer):
            self._stop()

    def _save(self, trainer: pl.Trainer, history: list[dict[str, float]], folder: Path) -> None:
        best = best_epoch(history, self.monitor, examples=self.examples) is history[-1]
        # the best first: a run that is killed in between does the epoch again
        trainer.save_checkpoint(folder / (BEST if best else LAST), weights_only=False)
        if trainer.is_global_zero:
            if best:
                hard_link(folder / BEST, folder / LAST)
            write_history(folder.parent / "history.csv", history)

    def _patience_ran_out(self, history: list[dict[str, float]]) -> bool:
        if self.patience is None:
            return False
        scores = _scores(history, self.monitor)
        since = history[scores.index(max(scores))]["epoch"]
        return history[-1]["epoch"] - since >= self.patience  # an equal score is no better one

    def _requested(self, trainer: pl.Trainer) -> bool:
        requested = self.interrupt_handler.pending_signal is not None
        if trainer.world_size > 1:  # all processes stop at the same step
            requested = trainer.strategy.reduce_boolean_decision(requested, all=False)
        return requested

    def _save_and_stop(self, trainer: pl.Trainer) -> None:
        if self.folder is not None:
            trainer.save_checkpoint(self.folder / LAST, weights_only=False)
        self._stop()

    def _stop(self) -> None:
        number = self.interrupt_handler.pending_signal
        raise Interrupted(number if number is not None else 15)


def strip_prefix(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The part of a state dict whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def best_epoch(history: list[dict[str, float]], monitor: str, *, examples: int) -> dict[str, float]:
    """The epoch to keep: the lowest loss, or the last epoch whose accuracy is within one standard error of the highest.

    The highest of many scores on few images owes something to luck, and the rate has fallen since. An accuracy a on n
    `examples` has the standard error sqrt(a (1 - a) / n): 0.02 on 250 images, 0.003 on 10,000. The last among equal
    losses; NaN is worse than any.
    """
    scores = _scores(history, monitor)
    enough = max(scores)
    if not monitor.endswith("loss") and 0 < enough < 1:
        enough -= math.sqrt(enough * (1 - enough) / examples)
    return history[max(i for i, score in enumerate(scores) if score >= enough)]


def _scores(history: list[dict[str, float]], monitor: str) -> list[float]:
    """Of each epoch, the higher the better."""
    sign = -1 if monitor.endswith("loss") else 1
    return [-math.inf if math.isnan(row[monitor]) else sign * row[monitor] for row in history]


def write_history(path: Path, history: list[dict[str, float]]) -> None:
    """One row per epoch; losses in nats, `penalty` apart from `loss`, `seconds` since the training began."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_text(path, text.getvalue())


def _sums_file(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")
