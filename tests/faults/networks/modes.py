"""Networks that behave wrongly in training or evaluation, or keep a part frozen; the sound ones first."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.faults.networks.healthy import Shape, SmallConvNet, SmallMLP
from tests.faults.networks.registration import size_of


class NormConvNet(nn.Module):
    """Strided convolutions with batch norm, and dropout before the output."""

    def __init__(self, input_shape: Shape, classes: int, width: int = 8, dropout: float = 0.2):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(input_shape[0], width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width), nn.ReLU(),
        )  # fmt: skip
        height, breadth = ((side + 3) // 4 for side in input_shape[1:])
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * width * height * breadth, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(self.body(x).flatten(1)))


class NormMLP(nn.Module):
    """Two hidden layers with batch norm and dropout."""

    def __init__(self, input_shape: Shape, classes: int, dropout: float = 0.2):
        super().__init__()
        self.net = nn.Sequential(
            nn.Flatten(), nn.Linear(size_of(input_shape), 96), nn.BatchNorm1d(96), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(96, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, classes),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Noise(nn.Module):
    """Add noise, in training alone unless `always`."""

    def __init__(self, spread: float, always: bool = False):
        super().__init__()
        self.spread, self.always = spread, always

    def forward(self, x: Tensor) -> Tensor:
        return x + self.spread * torch.randn_like(x) if self.training or self.always else x


class NoisyMLP(SmallMLP):
    """Noise on the hidden layer, and random slopes of its ReLUs, both in training alone."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__(input_shape, classes)
        self.noise, self.slopes = Noise(0.3), nn.RReLU()

    def hidden(self, x: Tensor) -> Tensor:
        return self.slopes(self.second(self.noise(F.relu(self.first(x.flatten(1))))))


class NoisyInEvaluation(NoisyMLP):
    """The noise is added in evaluation too."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__(input_shape, classes)
        self.noise = Noise(2.0, always=True)


class RandomWindow(SmallConvNet):
    """Images are shifted at random inside the network, in training alone."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.shifted(x) if self.training else x)

    def shifted(self, x: Tensor, most: int = 1) -> Tensor:
        down, right = (int(torch.randint(-most, most + 1, ())) for _ in range(2))
        return torch.roll(x, (down, right), (2, 3))


class RandomWindowAlways(RandomWindow):
    """Shifted by up to six pixels, also when it is tested."""

    def forward(self, x: Tensor) -> Tensor:
        return SmallConvNet.forward(self, self.shifted(x, 6))


class RandomUnitsAlways(SmallMLP):
    """Half of the hidden units are left out by a random mask of one's own, whatever the mode."""

    def hidden(self, x: Tensor) -> Tensor:
        h = super().hidden(x)
        return h * (torch.rand(h.shape[1], device=h.device) < 0.5)


class TrainingForGood(NormMLP):
    """`train` ignores its argument, so `eval` changes nothing: dropout and batch statistics stay."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__(input_shape, classes, dropout=0.6)

    def train(self, mode: bool = True) -> TrainingForGood:
        return super().train(True)


class TrainInForward(NormConvNet):
    """`forward` puts the body into training mode, as code pasted from the training loop does."""

    def forward(self, x: Tensor) -> Tensor:
        self.body.train()
        return super().forward(x)


class EvalInForward(NormMLP):
    """`forward` calls `eval`, so that there is neither dropout nor a batch statistic in training."""

    def forward(self, x: Tensor) -> Tensor:
        self.net.eval()
        return super().forward(x)


class EvaluatedFeatures(NormConvNet):
    """The body was put into evaluation mode for good, and its convolutions are trained all the same."""

    def train(self, mode: bool = True) -> EvaluatedFeatures:
        super().train(mode)
        self.body.eval()
        return self


class FrozenBody(NormConvNet):
    """A frozen body whose batch norm keeps moving."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__(input_shape, classes, width=24, dropout=0.0)
        self.body.requires_grad_(False)


class FrozenBodyAtRest(FrozenBody):
    """A frozen body in evaluation mode."""

    def train(self, mode: bool = True) -> FrozenBodyAtRest:
        super().train(mode)
        self.body.eval()
        return self


class FrozenExtractor(nn.Module):
    """A frozen fully connected extractor with batch norm that keeps moving, under a trained two-layer head."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__()
        self.extractor = nn.Sequential(
            nn.Flatten(), nn.Linear(size_of(input_shape), 256), nn.BatchNorm1d(256, momentum=0.3), nn.ReLU()
        )
        self.extractor.requires_grad_(False)
        self.head = nn.Sequential(nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.extractor(x))


class BackboneAndHead(nn.Module):
    """A backbone with group norm and a head, nothing frozen by itself."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(input_shape[0], 32, 3, padding=1), nn.GroupNorm(4, 32), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
        )
        self.head = nn.Linear(32 * (input_shape[1] // 2) * (input_shape[2] // 2), classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x))


class DataAtTheEnd(SmallMLP):
    """`.data` at the end: the logits have no history."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).data


class RebuiltOutput(SmallConvNet):
    """The logits are taken to numbers and made a new tensor that requires a gradient, so that `backward` runs."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).detach().clone().requires_grad_()


class HeadReplacedLater(SmallMLP):
    """A head for a hundred classes is replaced by one of the right size in the first forward pass in training."""

    def __init__(self, input_shape: Shape, classes: int):
        super().__init__(input_shape, classes)
        self.classes, self.fitted = classes, False

    def forward(self, x: Tensor) -> Tensor:
        if self.training and not self.fitted:
            self.fitted = True
            for name, width in (("first", 64), ("output", self.classes)):
                setattr(self, name, nn.Linear(getattr(self, name).in_features, width))
        return super().forward(x)


class RowGRU(nn.Module):
    """Rows as a sequence through a gated recurrent unit."""

    def __init__(self, input_shape: Shape, classes: int, width: int = 48):
        super().__init__()
        self.cells = nn.GRU(input_shape[0] * input_shape[2], width, batch_first=True)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.permute(0, 2, 1, 3).flatten(2)
        return self.head(self.cells(rows)[0][:, -1])


class ZeroResidual(nn.Module):
    """Convolutional residual blocks whose last batch norm starts at zero (Goyal et al. 2017)."""

    def __init__(self, input_shape: Shape, classes: int, width: int = 12):
        super().__init__()
        self.stem = nn.Conv2d(input_shape[0], width, 3, 2, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
                nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width),
            )
            for _ in range(2)
        )  # fmt: skip
        for block in self.blocks:
            nn.init.zeros_(block[-1].weight)  # type: ignore[index]
        self.head = nn.Linear(width * 16, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = F.relu(x + block(x))
        return self.head(F.adaptive_avg_pool2d(x, 4).flatten(1))
