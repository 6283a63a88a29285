"""Reading logs: which column means what, restarts, damage, and where in a folder a log lies."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.log_readers import LogFacts, Reading, read_log, to_signals
from pipeline.log_readers.columns import meaning_of
from pipeline.log_readers.table import parse_number
from tests.log_readers import write_logs
from tests.log_readers.write_logs import EPOCHS, EXAMPLES, HEALTHY, STEPS


def read(path: Path, **typed: str) -> Reading:
    return to_signals(read_log(path, typed), typed, LogFacts())


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    ("name", "role", "level"),
    [
        ("loss", "loss", ""),
        ("train_loss_step", "loss", "step"),
        ("train/loss_epoch", "loss", "epoch"),
        ("epoch_loss", "loss", "epoch"),
        ("Training Loss", "loss", ""),
        ("Loss/val", "val_loss", ""),
        ("eval_loss", "val_loss", ""),
        ("validation/epoch_accuracy", "val_accuracy", "epoch"),
        ("val_sparse_categorical_accuracy", "val_accuracy", ""),
        ("valid_acc", "val_accuracy", ""),
        ("acc1", "accuracy", ""),
        ("acc5", None, ""),
        ("top1_acc", "accuracy", ""),
        ("lr-AdamW/pg1", "lr", ""),
        ("train/learning_rate", "lr", ""),
        ("train/grad_norm", "grad_norm", ""),
        ("trainer/global_step", "step", ""),
        ("loss/probe", "probe_loss", ""),
        ("train/box_loss", None, ""),
        ("g_loss", None, ""),
        ("test_loss", None, ""),
        ("eval_steps_per_second", None, ""),
        ("eval_runtime", None, ""),
        ("GPU MB", None, ""),
    ],
)
def test_meaning_of_a_column(name: str, role: str | None, level: str) -> None:
    meaning = meaning_of(name)
    assert (None if meaning is None else meaning.role) == role
    assert meaning is None or meaning.level == level


def test_a_table(tmp_path: Path) -> None:
    reading = read(write_logs.plain_table(HEALTHY, tmp_path))
    assert reading.signals["losses"] == HEALTHY.losses  # without the unfinished last line
    assert reading.signals["steps_per_entry"] == 1
    assert reading.signals["epochs"]["val_loss"] == HEALTHY.val_losses
    assert reading.signals["epochs"]["step"] == [STEPS * (i + 1) for i in range(EPOCHS)]
    assert reading.signals["epochs"]["loss"] == pytest.approx([HEALTHY.epoch_loss(i) for i in range(EPOCHS)])
    assert reading.signals["epochs"]["lr"] == [0.1] * EPOCHS
    assert reading.columns["Training Loss"] == "losses"
    assert list(reading.passed_over) == ["GPU MB"]


def test_lightning(tmp_path: Path) -> None:
    reading = read(write_logs.lightning(HEALTHY, tmp_path))
    assert reading.signals["steps_per_entry"] == 4
    assert reading.signals["losses"] == pytest.approx(HEALTHY.losses[3::4])
    assert reading.signals["epochs"]["loss"] == pytest.approx([HEALTHY.epoch_loss(i) for i in range(EPOCHS)])
    assert reading.signals["epochs"]["val_accuracy"] == pytest.approx(HEALTHY.val_accuracies)
    assert reading.signals["lr"] == 0.1


def test_hugging_face(tmp_path: Path) -> None:
    """The mean over the whole training, in the last entry, is no loss of a step; the numbers of examples are there."""
    reading = read(write_logs.hugging_face(HEALTHY, tmp_path))
    assert len(reading.signals["losses"]) == STEPS * EPOCHS / 4
    assert reading.signals["losses"][0] == pytest.approx(sum(HEALTHY.losses[:4]) / 4)
    assert reading.signals["train_examples"] == EXAMPLES["train"]
    assert reading.signals["val_examples"] == EXAMPLES["val"]
    assert reading.signals["epochs_planned"] == EPOCHS
    assert "train_loss" not in {**reading.columns, **reading.passed_over}
    assert len(reading.signals["samples"]["gradient_norm"]) == STEPS * EPOCHS / 4


def test_the_last_checkpoint_counts(tmp_path: Path) -> None:
    for number, loss in ((500, 1.0), (1000, 2.0), (90, 3.0)):
        folder = tmp_path / f"checkpoint-{number}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text(json.dumps({"log_history": [{"step": number, "loss": loss}]}))
    assert read_log(tmp_path, {}).series["loss"].points[0].value == 2.0


def test_tensorboard(tmp_path: Path) -> None:
    reading = read(write_logs.tensorboard(HEALTHY, tmp_path))
    assert reading.signals["losses"] == pytest.approx(HEALTHY.losses, rel=1e-6)
    assert reading.signals["epochs"]["val_accuracy"] == pytest.approx(HEALTHY.val_accuracies, rel=1e-6)
    assert list(reading.passed_over) == ["grad/histogram_max"]


def test_tensorboard_of_a_restarted_run(tmp_path: Path) -> None:
    """The second file goes back to step 200: what the first one logged from there on is dropped. A cut file is fine."""
    from torch.utils.tensorboard import SummaryWriter

    for begin, level in ((1, 2.0), (200, 1.0)):
        writer = SummaryWriter(str(tmp_path), filename_suffix=str(begin))
        for step in range(begin, 301):
            writer.add_scalar("loss", level, step)
        writer.close()
    events = sorted(tmp_path.glob("*tfevents*"))
    events[0].rename(tmp_path / "events.out.tfevents.1000.host")
    events[1].rename(tmp_path / "events.out.tfevents.2000.host")
    losses = read(tmp_path).signals["losses"]
    assert losses == [2.0] * 199 + [1.0] * 101
    content = (tmp_path / "events.out.tfevents.2000.host").read_bytes()
    (tmp_path / "events.out.tfevents.2000.host").write_bytes(content[: len(content) // 2])
    assert 210 < len(read(tmp_path).signals["losses"]) < 290


@pytest.mark.slow
def test_wandb(tmp_path: Path) -> None:
    """Also a file that ends within a record."""
    write_logs.wandb_offline(HEALTHY, tmp_path)
    reading = read(tmp_path)
    assert reading.signals["losses"] == pytest.approx(HEALTHY.losses)
    assert reading.signals["epochs"]["val_loss"] == pytest.approx(HEALTHY.val_losses)
    assert reading.signals["epochs_planned"] == EPOCHS
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    file.write_bytes(file.read_bytes()[:-20000])
    assert 100 < len(read(file).signals["losses"]) < len(HEALTHY.losses)


def test_typed_columns(tmp_path: Path) -> None:
    table = write(tmp_path / "log.csv", "step,cost,loss", *(f"{i},{i / 7},9" for i in range(5)))
    assert read(table, loss="cost").signals["losses"] == [i / 7 for i in range(5)]
    for typed in ({"loss": "costs"}, {"los": "cost"}):
        with pytest.raises(UserError) as error:
            read(table, **typed)
        assert error.value.field == "--column"


@pytest.mark.parametrize(
    ("text", "value"),
    [("0.5", 0.5), ("1e-3", 1e-3), ("93.1%", 0.931), ("tensor(0.25, device='cuda:0')", 0.25), ("-inf", -math.inf)]
    + [(text, None) for text in ("", "None", "n/a", "model.pt")],
)
def test_parse_number(text: str, value: float | None) -> None:
    assert parse_number(text) == (value if value is None else pytest.approx(value))
    assert parse_number("2,5", comma=True) == 2.5


def test_cells_that_say_nan(tmp_path: Path) -> None:
    """Between numbers it is an empty cell; from some row on to the end it is a loss that is NaN."""
    rows = [f"{i},{2 - i / 100},{'nan' if i % 10 else 1.0}" for i in range(101)]
    reading = read(write(tmp_path / "log.csv", "step,loss,val_loss", *rows, "101,1.0,nan", "102,0.9,nan"))
    assert reading.signals["nonfinite"] == []
    assert reading.signals["epochs"]["val_loss"] == [1.0] * 11
    reading = read(write(tmp_path / "log.csv", "step,loss", *(f"{i},{1.0 if i < 50 else 'nan'}" for i in range(60))))
    assert (reading.signals["nonfinite"], reading.signals["nonfinite_step"]) == (["the loss"], 50)


def test_steps_that_begin_anew(tmp_path: Path) -> None:
    """In each epoch they count on; without one the training was restarted, and a step that is repeated counts once."""
    rows = [f"{epoch},{batch},{epoch}" for epoch in range(3) for batch in range(5)]
    reading = read(write(tmp_path / "log.csv", "epoch,batch,loss", *rows))
    assert reading.signals["losses"] == [0.0] * 5 + [1.0] * 5 + [2.0] * 5
    assert reading.signals["epochs"]["step"] == [4, 9, 14]
    restarted = [f"{i},1" for i in range(10)] + [f"{i},2" for i in (5, 6, 6, 7)]
    reading = read(write(tmp_path / "log.csv", "step,loss", *restarted))
    assert reading.signals["losses"] == [1.0] * 5 + [2.0] * 3


@pytest.mark.parametrize("separator", [";", "\t", "|", "  "])
def test_separators(separator: str, tmp_path: Path) -> None:
    rows = [separator.join([str(i), f"{i},5" if separator == ";" else f"{i}.5"]) for i in range(5)]
    reading = read(write(tmp_path / "log.txt", "# my training", separator.join(["epoch", "loss"]), *rows))
    assert reading.signals["epochs"]["loss"] == [i + 0.5 for i in range(5)]


def test_percent(tmp_path: Path) -> None:
    reading = read(write(tmp_path / "log.csv", "epoch,loss,acc", "0,2,11", "1,1,50", "2,0.5,93.5"))
    assert reading.signals["epochs"]["accuracy"] == [0.11, 0.5, 0.935]
    assert any("percent" in note for note in reading.notes)


@pytest.mark.slow
def test_long_logs_are_bounded_and_fast(tmp_path: Path) -> None:
    """Half a million rows: at most 10,000 losses, whose mean and last step are right, within seconds."""
    count = 500_000
    (tmp_path / "log.csv").write_text("step,loss\n" + "\n".join(f"{i},{i % 2}" for i in range(count)) + "\n")
    begin = time.perf_counter()
    signals = read(tmp_path / "log.csv").signals
    assert time.perf_counter() - begin < 20
    assert 5_000 < len(signals["losses"]) <= 10_000
    assert len(signals["losses"]) * signals["steps_per_entry"] == pytest.approx(count, rel=0.01)
    assert sum(signals["losses"]) / len(signals["losses"]) == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("trainer_state.json", '{"log_history": [{"loss": 1'),
        ("trainer_state.json", '{"epoch": 1}'),
        ("run-abc.wandb", "no log"),
        ("log.csv", "1,2\n3,4\n"),
        ("log.csv", ""),
        ("log.bin", "\0\1\2"),
    ],
)
def test_files_that_are_no_log(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError) as error:
        read_log(tmp_path / name, {})
    assert name in error.value.message
    assert "\n" not in error.value.message


def test_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no log"):
        read_log(tmp_path, {})
    with pytest.raises(UserError, match="no file or folder"):
        read_log(tmp_path / "missing", {})
    for version in range(2):
        folder = tmp_path / "lightning_logs" / f"version_{version}"
        folder.mkdir(parents=True)
        write(folder / "metrics.csv", "step,loss", "0,1")
        if version == 0:
            assert read_log(tmp_path, {}).path == folder / "metrics.csv"
    with pytest.raises(UserError, match="version_1"):
        read_log(tmp_path, {})
