"""Somebody else's LightningModule, watched by a callback: `python docs/examples/lightning_module.py`."""

import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import pipeline


class TutorialModule(pl.LightningModule):
    """A module as tutorials have it; it knows nothing of the checks."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> torch.Tensor:
        x, y = batch
        loss = F.cross_entropy(self(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> None:
        x, y = batch
        logits = self(x)
        self.log("val_loss", F.cross_entropy(logits, y))
        self.log("val_acc", (logits.argmax(1) == y).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def make_loader(n: int, seed: int) -> DataLoader:
    """Return batches of images (64, 1, 8, 8) whose upper or lower half is brighter, and which of the two (64,)."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (n,), generator=generator)
    images = torch.rand(n, 1, 8, 8, generator=generator)
    images[labels == 0, :, :4] += 0.3
    images[labels == 1, :, 4:] += 0.3
    return DataLoader(TensorDataset(images, labels), batch_size=64, shuffle=seed == 0)


def main(epochs: int = 4, out: str = "outputs/lightning") -> pipeline.Findings:
    torch.manual_seed(0)
    watch = pipeline.LightningWatch(classes=2, out=out)
    trainer = pl.Trainer(
        max_epochs=epochs, callbacks=[watch], accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(TutorialModule(), make_loader(1024, seed=0), make_loader(256, seed=1))
    return watch.findings


if __name__ == "__main__":
    main()
