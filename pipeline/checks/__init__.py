"""What measurements mean. One rule a file, pure: signals -> Finding | None. No torch, no network, no configuration."""

from pipeline.checks.batch_leak import BatchLeak
from pipeline.checks.cannot_overfit import CannotOverfit
from pipeline.checks.finding import Checks, Finding, Rule, Severity, Signals
from pipeline.checks.initial_loss import InitialLoss
from pipeline.checks.input_ignored import InputIgnored
from pipeline.checks.loss_exploding import LossExploding
from pipeline.checks.nonfinite import NonFinite
from pipeline.checks.regularization_raises_loss import RegularizationRaisesLoss
from pipeline.checks.symmetric_units import SymmetricUnits
from pipeline.checks.unreachable_parameters import UnreachableParameters
from pipeline.checks.wrong_output_count import WrongOutputCount

__all__ = [
    "BatchLeak",
    "CannotOverfit",
    "Checks",
    "Finding",
    "InitialLoss",
    "InputIgnored",
    "LossExploding",
    "NonFinite",
    "RegularizationRaisesLoss",
    "Rule",
    "Severity",
    "Signals",
    "SymmetricUnits",
    "UnreachableParameters",
    "WrongOutputCount",
]
