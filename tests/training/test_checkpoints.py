"""Checkpoints: whole or absent whatever happens, checked by their sums, and which epoch is the best."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.errors import UserError
from pipeline.training import checkpoints
from pipeline.training.checkpoints import best_epoch, load, save, strip_prefix, write_history

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


@pytest.mark.parametrize("position", [0, 40, 700, -1])
def test_flipped_bit(tmp_path: Path, position: int) -> None:
    path = tmp_path / "x.ckpt"
    save(NEW, path)
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="checksum") as caught:
        load(path, field="resume")
    assert caught.value.field == "resume"
    assert str(path) in caught.value.message


def test_truncated_file(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    save(NEW, path)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(UserError, match="checksum"):
        load(path, field="resume")


def test_truncated_file_without_checksum(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    save(NEW, path)
    path.write_bytes(path.read_bytes()[:-50])
    (tmp_path / "x.ckpt.sha256").unlink()
    with pytest.raises(UserError) as caught:
        load(path, field="resume")
    assert caught.value.field == "resume"


@pytest.mark.parametrize("path", ["missing.ckpt", "."])
def test_missing_file(tmp_path: Path, path: str) -> None:
    with pytest.raises(UserError) as caught:
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
    path, target = tmp_path / "x.ckpt", tmp_path / "created"
    if by_torch:
        torch.save({"weight": Trap(str(target))}, path)
    else:
        path.write_bytes(pickle.dumps({"weight": Trap(str(target))}))
    with pytest.raises(UserError) as caught:
        load(path, field="resume")
    assert caught.value.field == "resume"
    assert not target.exists()


def killed_save(monkeypatch: pytest.MonkeyPatch, path: Path, state: dict[str, Any]) -> None:
    """Save `state`, and be killed after the checksum is written and before the file is."""

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "write_atomic", killed)
        with pytest.raises(KeyboardInterrupt):
            save(state, path)


def test_kill_between_checksum_and_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old checkpoint stays valid."""
    path = tmp_path / "x.ckpt"
    save(OLD, path)
    killed_save(monkeypatch, path, NEW)
    assert weight(path) == 0
    save(NEWER, path)
    assert weight(path) == 2


def test_two_kills_in_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.ckpt"
    save(OLD, path)
    killed_save(monkeypatch, path, NEW)
    killed_save(monkeypatch, path, NEWER)
    assert weight(path) == 0


def test_kill_in_first_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed_save(monkeypatch, tmp_path / "x.ckpt", NEW)
    assert not (tmp_path / "x.ckpt").exists()


def test_copy(tmp_path: Path) -> None:
    source, target = tmp_path / "x.ckpt", tmp_path / "other" / "x.ckpt"
    save(NEW, source)
    checkpoints.copy(source, target)
    assert weight(target) == 1
    target.write_bytes(target.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match="checksum"):
        load(target, field="resume")
    checkpoints.copy(tmp_path / "missing.ckpt", tmp_path / "nothing.ckpt")
    assert not (tmp_path / "nothing.ckpt").exists()


@pytest.mark.parametrize("hard_links", [True, False])
def test_hard_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hard_links: bool) -> None:
    """Both names are valid, and saving to one leaves the other as it was."""

    def refuse(*_: Any) -> None:
        raise PermissionError("no hard links here")

    if not hard_links:
        monkeypatch.setattr(os, "link", refuse)
    source, target = tmp_path / "best.ckpt", tmp_path / "last.ckpt"
    save(OLD, target)
    save(NEW, source)
    checkpoints.hard_link(source, target)
    assert weight(target) == 1
    assert target.samefile(source) == hard_links
    save(NEWER, target)
    assert (weight(source), weight(target)) == (1, 2)
    assert not list(tmp_path.glob("*.tmp"))


def test_kill_before_hard_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


@pytest.mark.parametrize(("examples", "best"), [(99, 3), (101, 2), (10_000, 1)])
def test_best_epoch_within_standard_error(examples: int, best: int) -> None:
    """sqrt(0.9 * 0.1 / 100) = 0.03: on fewer examples 0.87 may be as good as 0.9, on more it is not."""
    history = [{"epoch": float(i), "val_accuracy": score} for i, score in enumerate([0.5, 0.9, 0.88, 0.87, 0.6])]
    assert best_epoch(history, "val_accuracy", examples=examples) is history[best]


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
