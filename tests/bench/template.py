"""The usual template with its usual settings, and with its best ones.

It is a LightningModule that logs with `self.log` and torchmetrics, a DataLoader, a CSV logger, a checkpoint callback
and the progress bar.
"""

from __future__ import annotations

import contextlib
import io
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchmetrics.classification import MulticlassAccuracy
from torchvision import transforms

from tests.bench.card import wait_for


@dataclass(frozen=True)
class Settings:
    in_memory: bool
    """Whether images are converted to tensors once, and not one by one in each epoch."""
    log_every: int
    """Every so many steps, loss and accuracy are logged and drawn."""
    workers: int = 0
    """Processes that prepare the images; 0: the one that trains."""


SMOOTHING = 0.1
"""Label smoothing of all contestants, which is the pipeline's default."""

USUAL = Settings(in_memory=False, log_every=1)
BEST = Settings(in_memory=True, log_every=50)


class Module(pl.LightningModule):
    def __init__(self, network: nn.Module, epochs: int, settings: Settings):
        super().__init__()
        self.network, self.epochs, self.settings = network, epochs, settings
        self.loss = nn.CrossEntropyLoss(label_smoothing=SMOOTHING)
        self.train_accuracy, self.val_accuracy = MulticlassAccuracy(10), MulticlassAccuracy(10)

    def training_step(self, batch: Any, number: int) -> Tensor:
        images, labels = batch
        logits = self.network(images)
        loss = self.loss(logits, labels)
        if number % self.settings.log_every == 0:
            self.train_accuracy(logits, labels)
            self.log("train/loss", loss, prog_bar=True)
            self.log("train/accuracy", self.train_accuracy, prog_bar=True)
        return loss

    def validation_step(self, batch: Any, _: int) -> None:
        images, labels = batch
        logits = self.network(images)
        self.val_accuracy(logits, labels)
        self.log("val/loss", self.loss(logits, labels), prog_bar=True)
        self.log("val/accuracy", self.val_accuracy, prog_bar=True)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.epochs)]


class Images(Dataset):
    """Converts one image at a time through PIL and transforms, as torchvision's data sets do."""

    def __init__(self, pixels: Tensor, labels: Tensor):
        self.pixels, self.labels = pixels.permute(0, 2, 3, 1).numpy(), labels.tolist()
        normalize = transforms.Normalize([0.5] * pixels.shape[1], [0.25] * pixels.shape[1])
        self.transform = transforms.Compose([transforms.ToPILImage(), transforms.ToTensor(), normalize])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self.transform(self.pixels[i]), self.labels[i]


def template(
    network: nn.Module, x: Tensor, y: Tensor, x_val: Tensor, y_val: Tensor, epochs: int, batch: int, folder: Path,
    settings: Settings, *, accelerator: str, precision: str,
) -> float:  # fmt: skip
    """Return the seconds of `fit`, on one device of the kind `accelerator`."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    if settings.in_memory:
        train: Dataset = TensorDataset((x / 255 - 0.5) / 0.25, y)
        val: Dataset = TensorDataset((x_val / 255 - 0.5) / 0.25, y_val)
    else:
        train, val = Images(x, y), Images(x_val, y_val)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        trainer = pl.Trainer(
            max_epochs=epochs,
            accelerator=accelerator,
            devices=1,
            precision=precision,  # type: ignore[arg-type]  # a str; Lightning lists each word
            logger=CSVLogger(folder / "template"),
            log_every_n_steps=settings.log_every,
            callbacks=[
                ModelCheckpoint(monitor="val/accuracy", mode="max", save_last=True),
                TQDMProgressBar(refresh_rate=settings.log_every),
            ],
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        loading: Any = {"num_workers": settings.workers, "pin_memory": accelerator == "gpu"}
        started = time.perf_counter()
        trainer.fit(
            Module(network, epochs, settings),
            DataLoader(train, batch, shuffle=True, **loading),
            DataLoader(val, batch, **loading),
        )
        wait_for(trainer.strategy.root_device)
    return time.perf_counter() - started
