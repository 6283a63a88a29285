"""A training loop of one's own, checked before it starts and while it runs: `python docs/examples/bare_loop.py`."""

import torch
from torch import nn
from torch.nn import functional as F

import pipeline


def make_data(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw images (n, 1, 12, 12) of three kinds of stripes with noise, and their kinds (n,)."""
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.randint(0, 3, (n,), generator=generator)
    row, column = torch.arange(12).view(1, 12, 1), torch.arange(12).view(1, 1, 12)
    stripes = torch.stack([(row % 4 < 2).expand(1, 12, 12), (column % 4 < 2).expand(1, 12, 12), (row + column) % 4 < 2])
    return stripes[kinds].float() + 0.7 * torch.randn(n, 1, 12, 12, generator=generator), kinds


def main(epochs: int = 5, out: str = "outputs/bare_loop") -> pipeline.Findings:
    torch.manual_seed(0)
    x, y = make_data(1024, seed=0)
    x_val, y_val = make_data(256, seed=1)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.2), nn.Linear(16 * 36, 3),
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    # 1. before training: nothing of the model is changed
    data = {"train": (x, y), "val": (x_val, y_val)}
    pipeline.preflight(model, (x[:128], y[:128]), F.cross_entropy, optimizer, data).raise_on("failure")

    # 2. while it trains: four calls in the loop
    with pipeline.watch(model, optimizer, classes=3, out=out, policy="stop", epochs=epochs) as watch:
        for _ in range(epochs):
            model.train()
            for index in torch.randperm(len(x)).split(64):
                with watch.step():
                    optimizer.zero_grad()
                    logits = model(x[index])
                    loss = F.cross_entropy(logits, y[index])
                    loss.backward()
                    watch.backward_done(loss, logits, y[index])
                    optimizer.step()
            model.eval()
            with torch.no_grad():
                logits = model(x_val)
            accuracy = (logits.argmax(1) == y_val).float().mean().item()
            watch.epoch(val_loss=F.cross_entropy(logits, y_val), val_accuracy=accuracy, val_examples=len(y_val))
            if watch.should_stop:
                break
    return watch.findings


if __name__ == "__main__":
    main()
