"""The checkpoint callback: what it saves after each epoch, when it ends the training, and where it stops."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pipeline.errors import Interrupted
from pipeline.training.callbacks import CheckpointCallback
from pipeline.training.checkpoints import load, save
from pipeline.training.lightning_module import Classifier
from pipeline.workflow.interrupt import InterruptHandler


def weight(path: Path) -> float:
    return float(load(path, field="resume")["weight"].mean())


class FakeTrainer(SimpleNamespace):
    """The part of a trainer that the callback uses. It saves its epoch, and records the names of what it saves."""

    def __init__(self, *, last_batch: bool = False, epoch: int = 0):
        progress = SimpleNamespace(batch_progress=SimpleNamespace(is_last_batch=last_batch))
        loop = SimpleNamespace(epoch_loop=progress)
        super().__init__(
            world_size=1,
            is_global_zero=True,
            should_stop=False,
            saved=[],
            fit_loop=loop,
            epoch=torch.tensor(float(epoch)),
        )

    def save_checkpoint(self, path: Path, **_: Any) -> None:
        self.saved.append(path.name)
        save({"weight": self.epoch}, path)


def epochs(
    tmp_path: Path, scores: list[float], patience: int | None, examples: int = 10**9
) -> tuple[list[list[str]], int]:
    """Return the checkpoints that each epoch wrote, and after how many epochs the training ended."""
    module = object.__new__(Classifier)  # without a network, since the callback reads the history alone
    object.__setattr__(module, "history", [])
    callback = CheckpointCallback(
        tmp_path / "checkpoints",
        monitor="val_accuracy",
        examples=examples,
        patience=patience,
        interrupt_handler=InterruptHandler(),
    )
    saved = []
    for epoch, score in enumerate(scores):
        trainer: Any = FakeTrainer(epoch=epoch)
        module.history.append({"epoch": float(epoch), "val_accuracy": score})
        callback.on_train_epoch_end(trainer, module)
        assert len(trainer.saved) == 1  # written once, under whatever names
        existing = [path for name in ("best.ckpt", "last.ckpt") if (path := tmp_path / "checkpoints" / name).exists()]
        saved.append([path.name for path in existing if weight(path) == epoch])
        if trainer.should_stop:
            return saved, epoch + 1
    return saved, len(scores)


@pytest.mark.parametrize(
    ("scores", "patience", "n_epochs"),
    [
        ([0.1, 0.2, 0.3, 0.4], 1, 4),  # always better
        ([0.3, 0.2, 0.4, 0.4], 1, 2),
        ([0.3, 0.2, 0.4, 0.4, 0.4, 0.5], 2, 5),  # an equal score is not a better one
        ([0.3, 0.2, 0.1, 0.0], None, 4),
    ],
)
def test_patience(tmp_path: Path, scores: list[float], patience: int | None, n_epochs: int) -> None:
    assert epochs(tmp_path, scores, patience)[1] == n_epochs


def test_best_and_last_of_each_epoch(tmp_path: Path) -> None:
    saved, _ = epochs(tmp_path, [0.3, 0.2, 0.3, 0.4], None)
    assert saved == [["best.ckpt", "last.ckpt"], ["last.ckpt"], ["best.ckpt", "last.ckpt"], ["best.ckpt", "last.ckpt"]]


def test_best_within_standard_error(tmp_path: Path) -> None:
    saved, n_epochs = epochs(tmp_path, [0.9, 0.89, 0.5, 0.88], 2, examples=100)
    assert [names[0] for names in saved] == ["best.ckpt", "best.ckpt", "last.ckpt"]
    assert n_epochs == 3  # patience still counts from the highest score itself


def test_interrupt_between_batches(tmp_path: Path) -> None:
    """The last batch finishes its epoch first."""
    handler = InterruptHandler()
    callback = CheckpointCallback(tmp_path, monitor="val_loss", examples=10, patience=None, interrupt_handler=handler)
    trainer: Any = FakeTrainer()
    callback.on_train_batch_end(trainer, None)  # type: ignore[arg-type]
    assert trainer.saved == []
    handler.pending_signal = 2
    last: Any = FakeTrainer(last_batch=True)
    callback.on_train_batch_end(last, None)  # type: ignore[arg-type]
    assert last.saved == []
    with pytest.raises(Interrupted) as stopped:
        callback.on_train_batch_end(trainer, None)  # type: ignore[arg-type]
    assert stopped.value.signal == 2
    assert trainer.saved == ["last.ckpt"]
