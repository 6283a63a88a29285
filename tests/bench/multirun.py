"""The contestant of tests/bench/search.py: Hydra's basic multirun over conf/, each job a plain Lightning trainer."""

from __future__ import annotations

import logging
import os
import warnings

import hydra
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from pipeline.config.compose import CONF, register_resolvers
from pipeline.data import split
from pipeline.data.sources.embedded import fashion_mnist_5k

warnings.filterwarnings("ignore")
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
DATA = split(fashion_mnist_5k(), validation=0.05, test=0.1, seed=0, limit=1000)


class Net(pl.LightningModule):
    """784-100-100-10 with SGD and momentum."""

    def __init__(self, lr: float):
        super().__init__()
        self.lr = lr
        layers = [nn.Flatten(), nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 10)]
        self.network = nn.Sequential(*layers)

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        return nn.functional.cross_entropy(self.network(batch[0]), batch[1])

    def validation_step(self, batch: list[Tensor], _: int) -> None:
        self.log("val_accuracy", (self.network(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def job(config: DictConfig) -> None:
    sets = [TensorDataset(images.pixels.float() / 255, images.labels) for images in (DATA.train, DATA.val)]
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(Net(config.optimizer.lr), DataLoader(sets[0], batch_size=64, shuffle=True), DataLoader(sets[1], 250))


if __name__ == "__main__":
    register_resolvers()
    job()
