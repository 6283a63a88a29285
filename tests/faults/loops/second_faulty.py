"""More loops with one mistake each, written without a look at the rules. The first base class is the sound twin."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from tests.faults.loops.loop import NOTHING_MOVES, TOO_FAST, Pair
from tests.faults.loops.second_sound import (
    AccumulationByBatch,
    AveragedClothes,
    FrozenBackbone,
    GradualUnfreezing,
    LayerwiseRates,
    MidEpochValidation,
    NormClothes,
    PlateauOnLoss,
    SmallSteps,
    SmoothedLabels,
    StraightThrough,
    TwoOptimizers,
    WarmupAndCosine,
)
from tests.faults.loops.second_tasks import LanguageModel, ManyLabels, Prices, SentenceReader, Sentences, Waves


class OneOfTwoNotCleared(TwoOptimizers):
    """Only the head's optimizer clears its gradients."""

    expect = frozenset({"gradients_not_cleared"})
    also_right = TOO_FAST | {"dead_units"}

    def clear(self) -> None:
        self.optimizer[1].zero_grad()  # type: ignore[index]


class ClearedBetweenParts(AccumulationByBatch):
    """Gradients are cleared before every batch, and the update comes after every fourth."""

    expect = frozenset({"gradients_cleared_early"})
    also_right = frozenset({"rate_too_low", "undertrained"})
    harmless = True

    def is_begun_anew(self) -> bool:
        return True


class UpdateNeverReached(AccumulationByBatch):
    """An update after 64 batches, of which an epoch has 38: gradients add up and nothing is ever updated."""

    expect = frozenset({"update_ratio_low", "rate_too_low", "frozen_weights", "gradients_not_cleared"})
    also_right = NOTHING_MOVES | {"loss_not_falling"}
    parts = 64

    def is_complete(self) -> bool:
        return self.done % self.parts == 0


class DividedTwice(AccumulationByBatch):
    """The loss, which is a mean, is divided by the number of examples once more."""

    expect = frozenset({"rate_too_low", "update_ratio_low", "gradients_clipped"})
    also_right = NOTHING_MOVES

    def scaled(self, loss: Tensor) -> Tensor:
        return loss / self.parts / len(self.training_set[1])


class LeftInEvaluation(MidEpochValidation):
    """Validation in the middle of the epoch, after which the network stays in evaluation mode."""

    expect = frozenset({"wrong_mode"})
    also_right = frozenset({"frozen_batchnorm", "train_eval_mismatch"})
    harmless = True

    def after_validation(self) -> None:
        pass


class BackboneInTraining(FrozenBackbone):
    """`train` of the whole network puts the frozen backbone's batch norm back into training mode."""

    expect = frozenset({"frozen_batchnorm"})
    also_right = frozenset({"wrong_mode", "train_eval_mismatch"})
    harmless = True

    def before_training(self) -> None:
        self.network.train()


class UnfrozenForNothing(GradualUnfreezing):
    """The backbone requires gradients again, and no optimizer has it."""

    expect = frozenset({"optimizer_parameters", "frozen_weights"})
    also_right = frozenset({"gradients_not_cleared"})
    harmless = True

    def add_backbone(self) -> None:
        pass


class WarmupNotMoved(WarmupAndCosine):
    """The schedule is made and never moved: the rate stays at a thousandth."""

    expect = frozenset({"schedule_length", "rate_too_low", "update_ratio_low"})
    also_right = NOTHING_MOVES

    def move(self) -> None:
        pass


class PlateauOnAccuracy(PlateauOnLoss):
    """The schedule waits for the accuracy to fall: as it rises, the rate goes down."""

    expect = frozenset({"rate_falls_early", "rate_vanishes"})
    also_right = NOTHING_MOVES
    lr = 0.0003

    def make_scheduler(self) -> torch.optim.lr_scheduler.ReduceLROnPlateau:
        return torch.optim.lr_scheduler.ReduceLROnPlateau(self.optimizer, factor=0.1, patience=0)

    def move(self, loss: float, score: float) -> None:
        self.scheduler.step(score)


class ValidationNotScaled(SmoothedLabels):
    """Validation images as pixels 0 .. 255, training images scaled and centred."""

    expect = frozenset({"split_shift", "train_eval_mismatch", "inputs_not_scaled"})

    def make_data(self) -> tuple[Pair, Pair]:
        training, (x, y) = super().make_data()
        return training, ((x * 0.353 + 0.286) * 255, y)


class MaskInverted(Sentences):
    """The mask keeps what is filled up and leaves out the words."""

    expect = frozenset({"input_ignored", "cannot_overfit", "unreachable_parameters"})
    also_right = frozenset({"loss_plateau", "loss_not_falling", "underfitting"})

    def make_network(self) -> nn.Module:
        return SentenceReader(inverted=True)


class ExamplesAsPlaces(Sentences):
    """A transformer layer that expects (T, N, D) gets (N, T, D): the examples of a batch attend to each other."""

    expect = frozenset({"batch_leak"})
    also_right = frozenset({"loss_mixes_examples", "cannot_overfit", "train_eval_mismatch", "overfitting"})
    harmless = True

    def make_network(self) -> nn.Module:
        network = SentenceReader()
        network.encoder = _WithoutMask(nn.TransformerEncoderLayer(32, 2, 64, dropout=0.1, norm_first=True))  # type: ignore[assignment]
        return network


class _WithoutMask(nn.Module):
    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, src_key_padding_mask: Tensor) -> Tensor:
        return self.layer(x)


class SoftmaxOfManyLabels(ManyLabels):
    """A softmax over labels of which several are true at once."""

    expect = frozenset({"output_activation"})
    also_right = NOTHING_MOVES | {"underfitting", "vanishing_gradients"}

    def make_network(self) -> nn.Module:
        return nn.Sequential(super().make_network(), nn.Softmax(dim=1))

    def score(self, outputs: Tensor, labels: Tensor) -> float:
        return float(((outputs > 0.5) == (labels > 0.5)).float().mean())


class PositivePrices(Prices):
    """A ReLU at the end, and standardized targets of which more than half are negative."""

    expect = frozenset({"output_activation", "dead_units"})
    also_right = frozenset({"cannot_overfit", "underfitting", "loss_plateau"})

    def make_network(self) -> nn.Module:
        return nn.Sequential(super().make_network(), nn.ReLU())


class StateKept(Waves):
    """The LSTM begins with the state that the batch before has left, though the batches have nothing in common."""

    expect = frozenset({"random_evaluation", "batch_leak"})
    also_right = frozenset({"train_eval_mismatch", "cannot_overfit"})
    harmless = True

    def make_network(self) -> nn.Module:
        class Keeping(type(super().make_network())):  # type: ignore[misc]
            state: tuple[Tensor, Tensor] | None = None

            def forward(self, x: Tensor) -> Tensor:
                if self.state is not None and self.state[0].shape[1] != len(x):
                    self.state = None
                outputs, state = self.cells(x, self.state)
                self.state = tuple(each.detach() for each in state)
                return self.head(outputs[:, -1])

        return Keeping()


class StatisticsNotAveraged(AveragedClothes):
    """The average has averaged weights, and the batch norm statistics of the start."""

    expect = frozenset({"train_eval_mismatch"})
    also_right = frozenset({"frozen_batchnorm", "wrong_mode"})

    def after_step(self) -> None:
        with torch.no_grad():
            for mean, value in zip(self.average.module.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(value, 0.05)


class _Rounded(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.round()


class RoundedWithoutGradient(StraightThrough):
    """Hidden numbers are rounded, and nothing of the gradient passes."""

    expect = frozenset({"unreachable_parameters", "vanishing_gradients", "frozen_weights"})
    harmless = True
    rounding = _Rounded


class PlacesForClasses(LanguageModel):
    """`view` where a transpose is meant: logits of one place are taken for those of others."""

    expect = frozenset({"loss_mixes_examples"})
    also_right = frozenset({"cannot_overfit", "underfitting", "loss_plateau", "input_ignored", "loss_ignores_pairs"})

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        examples, places, tokens = outputs.shape
        return F.cross_entropy(outputs.reshape(examples, tokens, places), labels)


class RateOfALaterStage(LayerwiseRates):
    """The rate below the head is one of 1e-8, which was meant for fine-tuning."""

    expect = frozenset({"rate_too_low", "update_ratio_low", "frozen_weights"})
    also_right = frozenset({"undertrained"})
    harmless = True
    rate_below = 1e-8


class DecayOfTens(NormClothes):
    """A weight decay of 30 under AdamW."""

    expect = frozenset({"over_regularized", "underfitting"})
    also_right = frozenset({"loss_plateau", "cannot_overfit", "vanishing_activations", "loss_not_falling"})

    def make_optimizer(self) -> Optimizer:
        return torch.optim.AdamW(self.network.parameters(), lr=self.lr, weight_decay=30.0)


class StepsLostInRounding(SmallSteps):
    """The weights are in bfloat16, and most updates are less than half of their last digit."""

    expect = frozenset({"frozen_weights", "update_ratio_low", "rate_too_low", "slow_precision"})
    also_right = NOTHING_MOVES

    def make_data(self) -> tuple[Pair, Pair]:
        (x, y), (x_val, y_val) = super().make_data()
        return (x.bfloat16(), y), (x_val.bfloat16(), y_val)

    def make_network(self) -> nn.Module:
        return super().make_network().bfloat16()
