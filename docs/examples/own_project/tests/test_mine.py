import torch
from mine.checks import AccuracyNeeded
from mine.data import Shapes
from mine.network import Net
from torch.nn import functional as F


def test_network(training_checks) -> None:
    images, labels = zip(*(Shapes(60)[i] for i in range(60)), strict=True)
    training_checks(
        Net((1, 16, 16), classes=3, width=16), (torch.stack(images), torch.tensor(labels)), loss=F.cross_entropy
    ).ok()


def test_check() -> None:
    check = AccuracyNeeded(min_accuracy=0.9)
    assert check({"epochs": {"val_accuracy": [0.5, 0.95]}}) is None
    assert check({"epochs": {"val_accuracy": [0.5, 0.8]}}).measured == {"val_accuracy": 0.8}
