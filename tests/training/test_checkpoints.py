from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pipeline.errors import Interrupted, UserError
from pipeline.training import checkpoints
from pipeline.training.callbacks import CheckpointCallback
from pipeline.training.checkpoints import best_epoch, load, save, strip_prefix, write_history
from pipeline.training.lightning_module import Classifier
from pipeline.workflow.interrupt import InterruptHandler

OLD, NEW, NEWER = {"weight": torch.zeros(100)}, {"weight": torch.ones(100)}, {"weight": torch.full((100,), 2.0)}


def weight(path: Path) -> float:
    return float(load(path, field="resume")["weight"].mean())


def test_save_and_load(tmp_path: Path) -> None:
    state: dict[str, Any] = {"tensor": torch.randn(3, 4), "numbers": [1, 2.5, None], "words": {"a": "b"}}
    save(state, tmp_path / "folder" / "x.ckpt")
    loaded = load(tmp_path / "folder" / "x.ckpt", field="resume")
    assert torch.equal(loaded.pop("tensor"), state.pop("tensor"))
    assert loaded == state


def test_checksum_file(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    save(OLD, path)
    save(NEW, path)
    sums = (tmp_path / "x.ckpt.sha256").read_text().split()
    assert sums[0] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["x.ckpt", "x.ckpt.sha256"]


@pytest.mark.parametrize("place", [0, 40, 700, -1])
def test_flipped_bit(tmp_path: Path, place: int) -> None:
    path = tmp_path / "x.ckpt"
    save(NEW, path)
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="damaged") as caught:
        load(path, field="resume")
    assert caught.value.field == "resume"
    assert str(path) in caught.value.message


def test_truncated_file(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    save(NEW, path)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(UserError, match="damaged"):
        load(path, field="resume")


def test_truncated_file_without_checksum(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    save(NEW, path)
    path.write_bytes(path.read_bytes()[:-50])
    (tmp_path / "x.ckpt.sha256").unlink()
    with pytest.raises(UserError, match="no checkpoint of plain data"):
        load(path, field="resume")


@pytest.mark.parametrize("path", ["missing.ckpt", "."])
def test_missing_file(tmp_path: Path, path: str) -> None:
    with pytest.raises(UserError, match="cannot read") as caught:
        load(tmp_path / path, field="stages.evaluate.checkpoint")
    assert caught.value.field == "stages.evaluate.checkpoint"


class Trap:
    """Unpickling it creates a file."""

    def __init__(self, path: str):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.path, "w")


@pytest.mark.parametrize("by_torch", [True, False])
def test_code_in_checkpoint_is_not_run(tmp_path: Path, by_torch: bool) -> None:
    path, sprung = tmp_path / "x.ckpt", tmp_path / "sprung"
    if by_torch:
        torch.save({"weight": Trap(str(sprung))}, path)
    else:
        path.write_bytes(pickle.dumps({"weight": Trap(str(sprung))}))
    with pytest.raises(UserError, match="plain data"):
        load(path, field="resume")
    assert not sprung.exists()


def interrupt(monkeypatch: pytest.MonkeyPatch, path: Path, state: dict[str, Any]) -> None:
    """`save`, killed after the checksum was laid down and before the file moved."""

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "write_atomic", killed)
        with pytest.raises(KeyboardInterrupt):
            save(state, path)


def test_kill_between_checksum_and_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old checkpoint stays valid."""
    path = tmp_path / "x.ckpt"
    save(OLD, path)
    interrupt(monkeypatch, path, NEW)
    assert weight(path) == 0
    save(NEWER, path)
    assert weight(path) == 2


def test_two_kills_in_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.ckpt"
    save(OLD, path)
    interrupt(monkeypatch, path, NEW)
    interrupt(monkeypatch, path, NEWER)
    assert weight(path) == 0


def test_kill_in_first_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(monkeypatch, tmp_path / "x.ckpt", NEW)
    assert not (tmp_path / "x.ckpt").exists()


def test_copy(tmp_path: Path) -> None:
    source, target = tmp_path / "x.ckpt", tmp_path / "other" / "x.ckpt"
    save(NEW, source)
    checkpoints.copy(source, target)
    assert weight(target) == 1
    target.write_bytes(target.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match="damaged"):
        load(target, field="resume")
    checkpoints.copy(tmp_path / "missing.ckpt", tmp_path / "nothing.ckpt")
    assert not (tmp_path / "nothing.ckpt").exists()


@pytest.mark.parametrize("hard_links", [True, False])
def test_hard_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hard_links: bool
) -> None:
    """Both names are valid, and saving to one leaves the other as it was."""
    def refused(*_: Any) -> None:
        raise PermissionError("no hard links here")

    if not hard_links:
        monkeypatch.setattr(os, "link", refused)
    source, target = tmp_path / "best.ckpt", tmp_path / "last.ckpt"
    save(OLD, target)
    save(NEW, source)
    checkpoints.hard_link(source, target)
    assert weight(target) == 1
    assert target.samefile(source) == hard_links
    save(NEWER, target)
    assert (weight(source), weight(target)) == (1, 2)
    assert not list(tmp_path.glob("*.tmp"))


def test_kill_before_hard_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "best.ckpt", tmp_path / "last.ckpt"
    save(OLD, target)
    save(NEW, source)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", killed)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.hard_link(source, target)
    assert weight(target) == 0


def test_strip_prefix() -> None:
    one, two = torch.ones(1), torch.ones(2)
    assert strip_prefix({"network.a.network.b": one, "preprocessing.shift": two}, "network.") == {"a.network.b": one}


def test_best_epoch() -> None:
    history = [
        {"epoch": 0.0, "val_accuracy": 0.5, "val_loss": 1.0},
        {"epoch": 1.0, "val_accuracy": 0.7, "val_loss": 0.9},
        {"epoch": 2.0, "val_accuracy": 0.7, "val_loss": 0.8},
        {"epoch": 3.0, "val_accuracy": 0.6, "val_loss": 0.8},
    ]
    assert best_epoch(history, "val_accuracy", examples=10**9) is history[2]
    assert best_epoch(history, "val_loss", examples=10) is history[3]


@pytest.mark.parametrize(("examples", "kept"), [(99, 3), (101, 2), (10_000, 1)])
def test_best_epoch_within_standard_error(examples: int, kept: int) -> None:
    """sqrt(0.9 * 0.1 / 100) = 0.03: on fewer examples 0.87 may be as good as 0.9, on more it is not."""
    history = [{"epoch": float(i), "val_accuracy": score} for i, score in enumerate([0.5, 0.9, 0.88, 0.87, 0.6])]
    assert best_epoch(history, "val_accuracy", examples=examples) is history[kept]


def test_best_epoch_of_losses() -> None:
    history = [{"epoch": float(i), "val_loss": loss} for i, loss in enumerate([0.5, -0.5, -0.49])]
    assert best_epoch(history, "val_loss", examples=10) is history[1]


def test_best_epoch_ignores_nan() -> None:
    nan = float("nan")
    for losses in ([nan, 1.0, 2.0], [2.0, nan, 1.0], [1.0, 2.0, nan]):
        history = [{"epoch": float(i), "val_loss": loss} for i, loss in enumerate(losses)]
        assert best_epoch(history, "val_loss", examples=10)["val_loss"] == 1.0


def test_write_history(tmp_path: Path) -> None:
    write_history(tmp_path / "history.csv", [{"epoch": 0.0, "loss": 2.5}, {"epoch": 1.0, "loss": 0.125}])
    assert (tmp_path / "history.csv").read_text() == "epoch,loss\n0.0,2.5\n1.0,0.125\n"


class FakeTrainer(SimpleNamespace):
    """As much of a trainer as the callback sees: it notes what is saved, and saves its epoch."""

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
    """Which checkpoints were the epoch's at its end, and after how many epochs the training was asked to end."""
    module = object.__new__(Classifier)  # without a network: the callback sees the history alone
    object.__setattr__(module, "history", [])
    keep = CheckpointCallback(
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
        keep.on_train_epoch_end(trainer, module)
        assert len(trainer.saved) == 1  # written once, whatever it is called
        there = [path for name in ("best.ckpt", "last.ckpt") if (path := tmp_path / "checkpoints" / name).exists()]
        saved.append([path.name for path in there if weight(path) == epoch])
        if trainer.should_stop:
            return saved, epoch + 1
    return saved, len(scores)


@pytest.mark.parametrize(
    ("scores", "patience", "ran"),
    [
        ([0.1, 0.2, 0.3, 0.4], 1, 4),  # always better
        ([0.3, 0.2, 0.4, 0.4], 1, 2),
        ([0.3, 0.2, 0.4, 0.4, 0.4, 0.5], 2, 5),  # an equal score is not a better one
        ([0.3, 0.2, 0.1, 0.0], None, 4),
    ],
)
def test_patience(
    tmp_path: Path, scores: list[float], patience: int | None, ran: int
) -> None:
    assert epochs(tmp_path, scores, patience)[1] == ran


def test_best_and_last_of_each_epoch(tmp_path: Path) -> None:
    saved, _ = epochs(tmp_path, [0.3, 0.2, 0.3, 0.4], None)
    assert saved == [["best.ckpt", "last.ckpt"], ["last.ckpt"], ["best.ckpt", "last.ckpt"], ["best.ckpt", "last.ckpt"]]


def test_best_within_standard_error(tmp_path: Path) -> None:
    saved, ran = epochs(tmp_path, [0.9, 0.89, 0.5, 0.88], 2, examples=100)
    assert [names[0] for names in saved] == ["best.ckpt", "best.ckpt", "last.ckpt"]
    assert ran == 3  # patience still counts from the highest score itself


def test_interrupt_between_batches(tmp_path: Path) -> None:
    """The last batch finishes its epoch first."""
    handler = InterruptHandler()
    keep = CheckpointCallback(tmp_path, monitor="val_loss", examples=10, patience=None, interrupt_handler=handler)
    trainer: Any = FakeTrainer()
    keep.on_train_batch_end(trainer, None)  # type: ignore[arg-type]
    assert trainer.saved == []
    handler.pending_signal = 2
    last: Any = FakeTrainer(last_batch=True)
    keep.on_train_batch_end(last, None)  # type: ignore[arg-type]
    assert last.saved == []
    with pytest.raises(Interrupted) as stopped:
        keep.on_train_batch_end(trainer, None)  # type: ignore[arg-type]
    assert stopped.value.signal == 2
    assert trainer.saved == ["last.ckpt"]
