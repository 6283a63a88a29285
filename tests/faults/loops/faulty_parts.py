"""Loops with a mistake in the network, the loss or the data each. The class that a loop derives from is its twin."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.faults.loops.loop import NOTHING_MOVES, TOO_FAST, Pair
from tests.faults.loops.sound import Augmented, Clothes, Digits, PlainDigits, Regression, Scores, TokenReader, Tokens


class BroadcastRegression(Regression):
    """Outputs (N, 1) against labels (N,): every prediction is compared with every label."""

    expect = frozenset({"loss_ignores_pairs", "loss_mixes_examples"})
    also_right = frozenset({"input_ignored", "cannot_overfit", "loss_plateau"})

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return (outputs - labels).square().mean()


class BroadcastHuber(Regression):
    """The same with an absolute error."""

    expect = frozenset({"loss_ignores_pairs", "loss_mixes_examples"})
    also_right = frozenset({"input_ignored", "cannot_overfit", "loss_plateau"})

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return (outputs - labels).abs().mean()


class SoftmaxFirst(Clothes):
    """The network ends in a softmax, and cross-entropy takes another."""

    expect = frozenset({"output_activation"})
    also_right = NOTHING_MOVES

    def make_network(self) -> nn.Module:
        return nn.Sequential(*super().make_network(), nn.Softmax(1))  # type: ignore[misc]


class SigmoidFirst(Scores):
    """The network ends in a sigmoid, and the loss with logits takes another."""

    expect = frozenset({"output_activation"})
    also_right = NOTHING_MOVES

    def make_network(self) -> nn.Module:
        return nn.Sequential(*super().make_network(), nn.Sigmoid())  # type: ignore[misc]


class SummedLoss(PlainDigits):
    """The sum over the batch with a rate for the mean."""

    expect = frozenset({"loss_reduction"})
    also_right = TOO_FAST | {"dead_units"}

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(outputs, labels, reduction="sum")


class LabelsShuffled(Digits):
    """The labels were shuffled and the images were not."""

    expect = frozenset({"label_noise", "overfitting", "split_shift"})
    also_right = frozenset({"underfitting"})

    def make_data(self) -> tuple[Pair, Pair]:
        (x, y), held_out = super().make_data()
        return (x, y[torch.randperm(len(y), generator=torch.Generator().manual_seed(1))]), held_out


class LabelsShuffledInLoader(Digits):
    """Images and labels are drawn in two different orders, anew each epoch."""

    expect = frozenset({"label_noise", "loss_plateau", "input_ignored", "cannot_overfit"})
    also_right = NOTHING_MOVES | {"underfitting"}

    def batches(self) -> Iterator[Pair]:
        for x, y in super().batches():
            yield x, self.training_set[1][torch.randint(len(self.training_set[1]), (len(y),), generator=self.order)]


class LabelsAugmented(Augmented):
    """The random change is applied to the labels too: half of the mirrored images get the next class."""

    expect = frozenset({"label_noise", "train_eval_mismatch", "underfitting", "over_regularized"})

    def augment(self, x: Tensor, y: Tensor) -> Pair:
        moved = torch.rand(len(y), generator=self.order) < 0.5
        return x, torch.where(moved, (y + 1) % 10, y)


class NanInLoss(Digits):
    """0 log 0, once a label is predicted with certainty."""

    expect = frozenset({"nonfinite"})

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        p = outputs.mul(12).softmax(1)
        targets = F.one_hot(labels, 10).float()
        return -(targets * p.log() + (1 - targets) * (1 - p).log()).sum(1).mean()


class TiedByMistake(PlainDigits):
    """Two layers of the same shape have one weight."""

    expect = frozenset({"shared_weights"})
    harmless = True

    def make_network(self) -> nn.Module:
        network = super().make_network()
        network[2].weight = network[0].weight  # type: ignore[index]
        return network


class DropoutInEvaluation(Digits):
    """A dropout function without the mode."""

    expect = frozenset({"random_evaluation"})
    also_right = frozenset({"train_eval_mismatch"})
    harmless = True

    def make_network(self) -> nn.Module:
        class Dropping(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return F.dropout(x, 0.5)

        return nn.Sequential(nn.Linear(64, 96), nn.ReLU(), Dropping(), nn.Linear(96, 10))


class FeaturesWithoutGradient(Clothes):
    """A `no_grad` around the features."""

    expect = frozenset({"unreachable_parameters", "frozen_weights"})

    def make_network(self) -> nn.Module:
        body = super().make_network()

        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.features, self.head = body[:-1], body[-1]  # type: ignore[index]

            def forward(self, x: Tensor) -> Tensor:
                with torch.no_grad():
                    x = self.features(x)
                return self.head(x)

        return Net()


class BatchFirstForgotten(Tokens):
    """The LSTM runs over the examples of the batch, one after the other."""

    expect = frozenset({"batch_leak"})
    harmless = True

    def make_network(self) -> nn.Module:
        return TokenReader(batch_first=False)


class ZeroStart(PlainDigits):
    """All weights start at zero."""

    expect = frozenset({"symmetric_units"})
    also_right = NOTHING_MOVES | {"vanishing_activations", "vanishing_gradients", "input_ignored"}

    def make_network(self) -> nn.Module:
        network = super().make_network()
        for parameter in network.parameters():
            nn.init.zeros_(parameter)
        return network


class LayersInAList(Regression):
    """Hidden layers in a plain list."""

    expect = frozenset({"unregistered_parameters"})

    def make_network(self) -> nn.Module:
        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.hidden = [nn.Linear(12, 64), nn.Linear(64, 64)]
                self.head = nn.Linear(64, 1)

            def forward(self, x: Tensor) -> Tensor:
                for layer in self.hidden:
                    x = F.relu(layer(x))
                return self.head(x)

        return Net()


class UnscaledInputs(Regression):
    """Half of the columns are in another unit: thousands, and far from zero."""

    expect = frozenset({"inputs_not_scaled", "inputs_not_centred"})
    also_right = TOO_FAST | {"initial_loss", "exploding_activations"}

    def make_data(self) -> tuple[Pair, Pair]:
        (x, y), (x_val, y_val) = super().make_data()
        unit, offset = torch.ones(12), torch.zeros(12)
        unit[::2], offset[::2] = 800.0, 4000.0
        return (x * unit + offset, y), (x_val * unit + offset, y_val)


class ValidationInTraining(Clothes):
    """Most validation images are training images."""

    expect = frozenset({"duplicate_examples", "near_duplicates"})
    harmless = True

    def make_data(self) -> tuple[Pair, Pair]:
        (x, y), (x_val, y_val) = super().make_data()
        return (x, y), (torch.cat([x[:300], x_val[:100]]), torch.cat([y[:300], y_val[:100]]))


class Upwards(Tokens):
    """The sign of the loss is turned for `backward`."""

    expect = frozenset({"wrong_direction", "loss_exploding"})

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return -super().loss(outputs, labels)
