"""More sound loops, of other tasks than classes of images: real numbers, several labels, sequences, generators."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from tests.faults.loops.loop import Loop, Pair, Watcher
from tests.faults.loops.sound import Digits


def explained(outputs: Tensor, targets: Tensor) -> float:
    """Return the share of the variance of `targets` that is explained."""
    return float(1 - (outputs - targets).square().mean() / (targets - targets.mean(0)).square().mean())


class Prices(Loop):
    """Standardized prices (N, 1) from eight columns under Huber's loss, with a few wild ones."""

    classes = None
    floor = 0.6
    epochs = 10

    def make_data(self) -> tuple[Pair, Pair]:
        random = torch.Generator().manual_seed(11)
        x = torch.randn((1400, 8), generator=random)
        price = x[:, :1] + x[:, 1:2] * x[:, 2:3].sigmoid() + 0.5 * x[:, 3:4].abs()
        price = price + 0.1 * torch.randn((1400, 1), generator=random)
        price[:1000:50] += 6.0
        price = (price - price.mean()) / price.std()
        return (x[:1000], price[:1000]), (x[1000:], price[1000:])

    def make_network(self) -> nn.Module:
        return nn.Sequential(nn.Linear(8, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1))

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return F.huber_loss(outputs, labels)

    def score(self, outputs: Tensor, labels: Tensor) -> float:
        return explained(outputs, labels)


class ManyLabels(Loop):
    """Eight labels of which any number is true at once: binary cross-entropy with logits."""

    classes = None
    floor = 0.8
    epochs = 8

    def make_data(self) -> tuple[Pair, Pair]:
        random = torch.Generator().manual_seed(12)
        x, mixing = torch.randn((1500, 20), generator=random), torch.randn((20, 8), generator=random)
        y = (x @ mixing + 2.0 > 0).float()
        return (x[:1000], y[:1000]), (x[1000:], y[1000:])

    def make_network(self) -> nn.Module:
        return nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8))

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(outputs, labels)

    def score(self, outputs: Tensor, labels: Tensor) -> float:
        return float(((outputs > 0) == (labels > 0.5)).float().mean())


class SentenceReader(nn.Module):
    """Tokens (N, T), 0 for what is filled up, through two layers of attention; their mean to three classes."""

    def __init__(self, inverted: bool = False):
        super().__init__()
        self.inverted = inverted
        self.embedding = nn.Embedding(30, 32, padding_idx=0)
        self.positions = nn.Parameter(0.02 * torch.randn(1, 14, 32))
        layer = nn.TransformerEncoderLayer(32, 2, 64, dropout=0.1, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        filled_up = (tokens != 0) if self.inverted else (tokens == 0)
        x = self.embedding(tokens) + self.positions
        x = self.norm(self.encoder(x, src_key_padding_mask=filled_up))
        kept = (~filled_up).float()[:, :, None]
        return self.head((x * kept).sum(1) / kept.sum(1).clamp(min=1))


class Sentences(Loop):
    """Which of three words is in a sentence of five to twelve: a transformer with layer normalization and a mask."""

    classes = 3
    floor = 0.85
    epochs = 6

    def make_data(self) -> tuple[Pair, Pair]:
        random = torch.Generator().manual_seed(13)
        x = torch.randint(4, 30, (1400, 14), generator=random)
        length = torch.randint(5, 13, (1400,), generator=random)
        y = torch.arange(1400) % 3
        place = (torch.rand(1400, generator=random) * length).long()
        x[torch.arange(1400), place] = y + 1
        x[torch.arange(14)[None] >= length[:, None]] = 0
        return (x[:1000], y[:1000]), (x[1000:], y[1000:])

    def make_network(self) -> nn.Module:
        return SentenceReader()


class WaveReader(nn.Module):
    """An LSTM over (N, T, 1), whose last state gives the next value (N, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.cells, self.head = nn.LSTM(1, 24, batch_first=True), nn.Linear(24, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cells(x)[0][:, -1])


class Waves(Loop):
    """The next value of a noisy wave, squared error."""

    classes = None
    floor = 0.8
    epochs = 6
    lr = 0.01

    def make_data(self) -> tuple[Pair, Pair]:
        random = torch.Generator().manual_seed(14)
        start, pace, size = torch.rand((3, 1400, 1), generator=random)
        time = torch.arange(25)[None] * (0.2 + 0.5 * pace) + 6.28 * start
        wave = (0.5 + size) * torch.sin(time) + 0.05 * torch.randn((1400, 25), generator=random)
        x, y = wave[:, :-1, None], wave[:, -1:]
        return (x[:1000], y[:1000]), (x[1000:], y[1000:])

    def make_network(self) -> nn.Module:
        return WaveReader()

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return F.mse_loss(outputs, labels)

    def score(self, outputs: Tensor, labels: Tensor) -> float:
        return explained(outputs, labels)


class TiedModel(nn.Module):
    """Tokens (N, T) to logits (N, T, K) by a GRU; the embedding is the last layer as well."""

    def __init__(self, tokens: int = 12):
        super().__init__()
        self.embedding, self.cells = nn.Embedding(tokens, 24), nn.GRU(24, 24, batch_first=True)
        self.head = nn.Linear(24, tokens)
        self.head.weight = self.embedding.weight
        nn.init.normal_(self.embedding.weight, std=0.2)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.cells(self.embedding(tokens))[0])


class LanguageModel(Loop):
    """The next token at each place of a chain in which four of five moves are known; tied embeddings, AdamW."""

    classes = None
    floor = 0.65
    epochs = 5
    lr = 0.01

    def make_data(self) -> tuple[Pair, Pair]:
        random = torch.Generator().manual_seed(15)
        follower, text = torch.randperm(12, generator=random), torch.randint(12, (1200, 17), generator=random)
        for place in range(1, 17):
            known = torch.rand(1200, generator=random) < 0.8
            text[:, place] = torch.where(known, follower[text[:, place - 1]], text[:, place])
        x, y = text[:, :-1].contiguous(), text[:, 1:].contiguous()
        return (x[:900], y[:900]), (x[900:], y[900:])

    def make_network(self) -> nn.Module:
        return TiedModel()

    def make_optimizer(self) -> Optimizer:
        return torch.optim.AdamW(self.network.parameters(), lr=self.lr)

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(outputs.transpose(1, 2), labels)

    def score(self, outputs: Tensor, labels: Tensor) -> float:
        return float((outputs.argmax(2) == labels).float().mean())


class UnitLength(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=1)


class Contrastive(Digits):
    """Supervised contrastive learning (Khosla et al. 2020): each example is compared with the others of the batch."""

    classes = None
    batch_size = 64

    def make_network(self) -> nn.Module:
        return nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 32), UnitLength())

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        own = torch.eye(len(labels), dtype=torch.bool)
        similarity = (outputs @ outputs.T / 0.2).masked_fill(own, -1e9)
        alike = (labels[:, None] == labels[None]) & ~own
        logs = similarity.log_softmax(1).masked_fill(~alike, 0.0)
        return -(logs.sum(1) / alike.sum(1).clamp(min=1)).mean()

    def score(self, outputs: Tensor, labels: Tensor) -> float:
        x, y = self.training_set
        features = self.network(x)
        centres = torch.stack([features[y == number].mean(0) for number in range(10)])
        return float(((outputs @ centres.T).argmax(1) == labels).float().mean())


class Encoder(nn.Module):
    """A variational autoencoder of 64 numbers: what it makes of them, and the means and log variances of its code."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 24))
        self.decode = nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 64))

    def forward(self, x: Tensor) -> Tensor:
        mean, log_variance = self.encode(x).chunk(2, 1)
        code = mean + torch.randn_like(mean) * (0.5 * log_variance).exp() if self.training else mean
        return torch.cat([self.decode(code), mean, log_variance], 1)


class VariationalAutoencoder(Digits):
    """Images are their own targets; the code is random in training and its mean in evaluation."""

    classes = None
    floor = 0.6
    epochs = 10

    def make_data(self) -> tuple[Pair, Pair]:
        (x, _), (x_val, _) = super().make_data()
        return (x, x), (x_val, x_val)

    def make_network(self) -> nn.Module:
        return Encoder()

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        made, mean, log_variance = outputs.split([64, 12, 12], 1)
        divergence = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum(1).mean()
        return F.mse_loss(made, labels) + 0.002 * divergence

    def score(self, outputs: Tensor, labels: Tensor) -> float:
        return explained(outputs[:, :64], labels)


class Generator(Loop):
    """A generative adversarial network: points of a tilted cloud from noise. The generator is watched."""

    classes = None
    floor = 0.6
    epochs = 40
    batch_size = 64
    lr = 0.001

    def make_data(self) -> tuple[Pair, Pair]:
        random = torch.Generator().manual_seed(16)
        noise, points = torch.randn((1600, 4), generator=random), torch.randn((1600, 2), generator=random)
        points = points @ torch.tensor([[0.8, 0.5], [0.0, 0.4]]) + torch.tensor([0.7, -0.7])
        return (noise[:1200], points[:1200]), (noise[1200:], points[1200:])

    def make_network(self) -> nn.Module:
        return nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))

    def make_optimizer(self) -> Optimizer:
        self.judge = nn.Sequential(
            nn.Linear(2, 32), nn.LeakyReLU(0.2), nn.Linear(32, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1)
        )
        self.of_judge = torch.optim.Adam(self.judge.parameters(), lr=self.lr, betas=(0.5, 0.99))
        return torch.optim.Adam(self.network.parameters(), lr=self.lr, betas=(0.5, 0.99))

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return F.softplus(-self.judged(outputs)).mean()

    def judged(self, points: Tensor) -> Tensor:
        """Return the judge's logits of blurred `points`: without the blur the two go round in circles."""
        return self.judge(points + 0.3 * torch.randn(points.shape, generator=self.order))

    def step(self, watcher: Watcher, x: Tensor, y: Tensor) -> None:
        with watcher.step():
            self.of_judge.zero_grad()
            made = self.network(x)
            (F.softplus(-self.judged(y)).mean() + F.softplus(self.judged(made.detach())).mean()).backward()
            self.of_judge.step()
            self.optimizer.zero_grad()
            loss = self.loss(made, y)
            loss.backward()
            watcher.backward_done(loss, made, y)
            self.optimizer.step()

    def score(self, outputs: Tensor, labels: Tensor) -> float:
        """Return 1 less the distance of the means and of the spreads."""
        apart = (outputs.mean(0) - labels.mean(0)).norm() + (outputs.std(0) - labels.std(0)).norm()
        return float(1 - apart / math.sqrt(2))
