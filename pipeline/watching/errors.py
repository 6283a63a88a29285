"""What is wrong with the arguments of `preflight` and `watch`, as one exception with one message."""

from __future__ import annotations

from pipeline.errors import UserError


class PreflightError(UserError):
    """The model, the batch, the loss or the optimizer do not fit together, so that nothing can be measured.

    `field` names the argument at fault: `model`, `batch`, `loss`, `optimizer` or `data`.
    """


class CheckFailed(Exception):
    """Raised by `Findings.raise_on`: a finding is as severe as was asked for."""
