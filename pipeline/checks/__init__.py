"""What measurements mean. One rule a file, pure: signals -> Finding | None. No torch, no network, no configuration."""

from pipeline.checks.batch_leak import BatchLeak
from pipeline.checks.cannot_overfit import CannotOverfit
from pipeline.checks.class_imbalance import ClassImbalance
from pipeline.checks.constant_features import ConstantFeatures
from pipeline.checks.dead_units import DeadUnits
from pipeline.checks.duplicate_examples import DuplicateExamples
from pipeline.checks.ensemble_no_better import EnsembleNoBetter
from pipeline.checks.exploding_activations import ExplodingActivations
from pipeline.checks.exploding_gradients import ExplodingGradients
from pipeline.checks.finding import Checks, Finding, Rule, Severity, Signals
from pipeline.checks.frozen_weights import FrozenWeights
from pipeline.checks.initial_loss import InitialLoss
from pipeline.checks.input_ignored import InputIgnored
from pipeline.checks.inputs_not_centred import InputsNotCentred
from pipeline.checks.inputs_not_scaled import InputsNotScaled
from pipeline.checks.label_noise import LabelNoise
from pipeline.checks.late_start import LateStart
from pipeline.checks.loss_disagrees import LossDisagrees
from pipeline.checks.loss_exploding import LossExploding
from pipeline.checks.loss_plateau import LossPlateau
from pipeline.checks.loss_reduction import LossReduction
from pipeline.checks.missing_class import MissingClass
from pipeline.checks.missing_nonlinearity import MissingNonlinearity
from pipeline.checks.nonfinite import NonFinite
from pipeline.checks.oscillating_loss import OscillatingLoss
from pipeline.checks.output_activation import OutputActivation
from pipeline.checks.over_regularized import OverRegularized
from pipeline.checks.overfitting import Overfitting
from pipeline.checks.overtrained import Overtrained
from pipeline.checks.rate_too_high import RateTooHigh
from pipeline.checks.rate_too_low import RateTooLow
from pipeline.checks.redundant_bias import RedundantBias
from pipeline.checks.regularization_raises_loss import RegularizationRaisesLoss
from pipeline.checks.saturated_units import SaturatedUnits
from pipeline.checks.shared_weights import SharedWeights
from pipeline.checks.slow_precision import SlowPrecision
from pipeline.checks.small_batch_batchnorm import SmallBatchBatchnorm
from pipeline.checks.split_shift import SplitShift
from pipeline.checks.symmetric_units import SymmetricUnits
from pipeline.checks.train_eval_mismatch import TrainEvalMismatch
from pipeline.checks.underfitting import Underfitting
from pipeline.checks.undertrained import Undertrained
from pipeline.checks.unreachable_parameters import UnreachableParameters
from pipeline.checks.update_ratio_high import UpdateRatioHigh
from pipeline.checks.update_ratio_low import UpdateRatioLow
from pipeline.checks.validation_above_training import ValidationAboveTraining
from pipeline.checks.vanishing_activations import VanishingActivations
from pipeline.checks.vanishing_gradients import VanishingGradients
from pipeline.checks.wrong_direction import WrongDirection
from pipeline.checks.wrong_output_count import WrongOutputCount

__all__ = [
    "BatchLeak",
    "CannotOverfit",
    "Checks",
    "ClassImbalance",
    "ConstantFeatures",
    "DeadUnits",
    "DuplicateExamples",
    "EnsembleNoBetter",
    "ExplodingActivations",
    "ExplodingGradients",
    "Finding",
    "FrozenWeights",
    "InitialLoss",
    "InputIgnored",
    "InputsNotCentred",
    "InputsNotScaled",
    "LabelNoise",
    "LateStart",
    "LossDisagrees",
    "LossExploding",
    "LossPlateau",
    "LossReduction",
    "MissingClass",
    "MissingNonlinearity",
    "NonFinite",
    "OscillatingLoss",
    "OutputActivation",
    "OverRegularized",
    "Overfitting",
    "Overtrained",
    "RateTooHigh",
    "RateTooLow",
    "RedundantBias",
    "RegularizationRaisesLoss",
    "Rule",
    "SaturatedUnits",
    "Severity",
    "SharedWeights",
    "Signals",
    "SlowPrecision",
    "SmallBatchBatchnorm",
    "SplitShift",
    "SymmetricUnits",
    "TrainEvalMismatch",
    "Underfitting",
    "Undertrained",
    "UnreachableParameters",
    "UpdateRatioHigh",
    "UpdateRatioLow",
    "ValidationAboveTraining",
    "VanishingActivations",
    "VanishingGradients",
    "WrongDirection",
    "WrongOutputCount",
]
