"""Made-up trainings, and the same training as each program would have logged it."""

from __future__ import annotations

import csv
import json
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STEPS, EPOCHS = 40, 10
"""Steps of an epoch, and epochs."""
EXAMPLES = {"train": 1280, "val": 500}


@dataclass(frozen=True)
class Story:
    """A training: the loss of each step, and the scores of each epoch."""

    losses: list[float]
    val_losses: list[float]
    accuracies: list[float]
    val_accuracies: list[float]
    lr: float = 0.1

    def epoch_loss(self, epoch: int) -> float:
        values = self.losses[epoch * STEPS : (epoch + 1) * STEPS]
        return sum(values) / len(values)


def tell(
    loss: Callable[[float], float],
    val_loss: Callable[[float], float],
    accuracy: float,
    val_accuracy: float,
    lr: float = 0.1,
) -> Story:
    """A training whose losses follow functions of the progress (0 to 1), with noise of 1 %."""
    generator = random.Random(0)

    def noisy(value: float) -> float:
        return value * (1 + 0.01 * generator.gauss(0, 1))

    progress = [i / (STEPS * EPOCHS) for i in range(STEPS * EPOCHS)]
    rise = [1 - math.exp(-5 * (epoch + 1) / EPOCHS) for epoch in range(EPOCHS)]
    return Story(
        [noisy(loss(p)) for p in progress],
        [noisy(val_loss((epoch + 1) / EPOCHS)) for epoch in range(EPOCHS)],
        [0.1 + (accuracy - 0.1) * r for r in rise],
        [0.1 + (val_accuracy - 0.1) * r for r in rise],
        lr,
    )


def _falling(p: float) -> float:
    return 0.2 + 2.1 * math.exp(-6 * p)


HEALTHY = tell(_falling, lambda p: 0.1 + _falling(p), 0.95, 0.93)
EXPLODING = tell(
    lambda p: _falling(p) if p < 0.3 else 10 * math.exp(20 * (p - 0.3)), lambda p: 5 + 9 * p, 0.1, 0.1, lr=3.0
)
OVERFITTING = tell(lambda p: 2.3 * math.exp(-6 * p), lambda p: 0.8 + 2.5 * (p - 0.3) ** 2 + 1.5 * p, 1.0, 0.6)
TOO_LOW = tell(lambda p: 2.303 - 0.15 * p, lambda p: 2.303 - 0.15 * p, 0.15, 0.15, lr=1e-6)
FLAT = tell(lambda p: 2.303, lambda p: 2.303, 0.1, 0.1, lr=1e-9)
NAN = tell(lambda p: _falling(p) if p < 0.55 else math.nan, lambda p: _falling(p) if p < 0.55 else math.nan, 0.5, 0.5)


def lightning(story: Story, folder: Path) -> Path:
    """lightning_logs/version_0/metrics.csv as `CSVLogger` writes it: rows of steps, and rows of epochs."""
    from pytorch_lightning.loggers import CSVLogger

    logger = CSVLogger(folder, name="lightning_logs")
    for step, loss in enumerate(story.losses):
        epoch = step // STEPS
        if step % 4 == 3:
            logger.log_metrics({"train_loss_step": loss, "lr-SGD": story.lr, "epoch": epoch}, step=step)
        if step % STEPS == STEPS - 1:
            scores = {"val_loss": story.val_losses[epoch], "val_acc": story.val_accuracies[epoch], "epoch": epoch}
            logger.log_metrics(scores, step=step)
            means = {"train_loss_epoch": story.epoch_loss(epoch), "train_acc": story.accuracies[epoch], "epoch": epoch}
            logger.log_metrics(means, step=step)
    logger.save()
    return folder


def tensorboard(story: Story, folder: Path) -> Path:
    """Event files as `SummaryWriter` writes them."""
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder))
    for step, loss in enumerate(story.losses, start=1):
        writer.add_scalar("Loss/train", loss, step)
        if step % STEPS == 0:
            epoch = step // STEPS - 1
            writer.add_scalar("Loss/val", story.val_losses[epoch], step)
            writer.add_scalar("Accuracy/train", story.accuracies[epoch], step)
            writer.add_scalar("Accuracy/val", story.val_accuracies[epoch], step)
            writer.add_scalar("grad/histogram_max", 1.0, step)
    writer.close()
    return folder


def keras_tensorboard(story: Story, folder: Path) -> Path:
    """Events as Keras' callback writes them: a folder for each split, tensors of one number, the epoch as step."""
    import numpy as np
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.summary.writer.event_file_writer import EventFileWriter
    from tensorboard.util.tensor_util import make_tensor_proto

    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="scalars"))
    losses = [story.epoch_loss(epoch) for epoch in range(EPOCHS)]
    for split, columns in (
        ("train", {"epoch_loss": losses, "epoch_accuracy": story.accuracies}),
        ("validation", {"epoch_loss": story.val_losses, "epoch_accuracy": story.val_accuracies}),
    ):
        writer = EventFileWriter(str(folder / split))
        for epoch in range(EPOCHS):
            for tag, values in columns.items():
                tensor = make_tensor_proto(np.float32(values[epoch]))
                value = Summary.Value(tag=tag, metadata=metadata, tensor=tensor)
                writer.add_event(Event(step=epoch, wall_time=1e9 + epoch, summary=Summary(value=[value])))
        writer.close()
    return folder


def hugging_face(story: Story, folder: Path) -> Path:
    """checkpoint-N/trainer_state.json as `transformers.Trainer` writes it, with `logging_steps=4`."""
    history: list[dict[str, Any]] = []
    for step in range(4, STEPS * EPOCHS + 1, 4):
        mean = sum(story.losses[step - 4 : step]) / 4
        history.append(
            {
                "epoch": step / STEPS,
                "grad_norm": 1.5 + 0.1 * math.sin(step),
                "learning_rate": story.lr,
                "loss": mean,
                "step": step,
            }
        )
        if step % STEPS == 0:
            epoch = step // STEPS - 1
            scores = {"eval_loss": story.val_losses[epoch], "eval_accuracy": story.val_accuracies[epoch]}
            speed = {"eval_runtime": 2.0, "eval_samples_per_second": EXAMPLES["val"] / 2, "eval_steps_per_second": 8.0}
            history.append({"epoch": step / STEPS, **scores, **speed, "step": step})
    summary = {"total_flos": 1e12, "train_loss": 0.7, "train_runtime": 64.0, "train_steps_per_second": 6.25}
    summary["train_samples_per_second"] = EXAMPLES["train"] * EPOCHS / 64
    history.append({"epoch": float(EPOCHS), "step": STEPS * EPOCHS, **summary})
    state = {
        "best_metric": None,
        "epoch": float(EPOCHS),
        "global_step": STEPS * EPOCHS,
        "is_world_process_zero": True,
        "log_history": history,
        "logging_steps": 4,
        "max_steps": STEPS * EPOCHS,
        "num_train_epochs": EPOCHS,
        "train_batch_size": 32,
    }
    place = folder / f"checkpoint-{STEPS * EPOCHS}"
    place.mkdir(parents=True)
    (place / "trainer_state.json").write_text(json.dumps(state, indent=2))
    return folder


def keras(story: Story, folder: Path) -> Path:
    """training.csv as Keras' `CSVLogger` writes it: a row for each epoch, without steps."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "training.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "accuracy", "loss", "val_accuracy", "val_loss"])
        for epoch in range(EPOCHS):
            scores = (story.accuracies[epoch], story.epoch_loss(epoch), story.val_accuracies[epoch])
            writer.writerow([epoch, *scores, story.val_losses[epoch]])
    return folder


def plain_table(story: Story, folder: Path) -> Path:
    """A table of somebody's own: tabs, other names, empty cells, the rate, and an unfinished last line."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["iteration\tEpoch\tTraining Loss\tValid Loss\tLearning Rate\tGPU MB"]
    for step, loss in enumerate(story.losses, start=1):
        val = story.val_losses[step // STEPS - 1] if step % STEPS == 0 else ""
        lines.append(f"{step}\t{(step - 1) // STEPS}\t{loss}\t{val}\t{story.lr}\t812")
    (folder / "log.tsv").write_text("\n".join(lines) + "\n401\t10\t0.")
    return folder


def wandb_offline(story: Story, folder: Path) -> Path:
    """wandb/offline-run-*/ as `wandb.init(mode="offline")` writes it."""
    import wandb

    folder.mkdir(parents=True, exist_ok=True)
    settings = wandb.Settings(silent=True, console="off", x_disable_stats=True)
    run = wandb.init(mode="offline", dir=str(folder), project="p", config={"epochs": EPOCHS}, settings=settings)
    for step, loss in enumerate(story.losses, start=1):
        row = {"train/loss": loss, "train/learning_rate": story.lr, "train/global_step": step}
        if step % STEPS == 0:
            row |= {
                "val/loss": story.val_losses[step // STEPS - 1],
                "val/accuracy": story.val_accuracies[step // STEPS - 1],
            }
        run.log(row)
    run.finish()
    return folder


FORMATS = {
    "lightning": lightning,
    "tensorboard": tensorboard,
    "keras_tensorboard": keras_tensorboard,
    "hugging_face": hugging_face,
    "keras": keras,
    "plain_table": plain_table,
    "wandb_offline": wandb_offline,
}
HAS_STEPS = tuple(name for name in FORMATS if not name.startswith("keras"))
