"""Whether what a network computes with is what the configured optimizer trains, and what is frozen: for `sanity`."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.model import decay_groups
from pipeline.model.frozen import frozen_names, frozen_parts
from pipeline.signals.frozen import frozen_signals
from pipeline.signals.optimizer import clearing_signals, optimizer_signals
from pipeline.signals.trained_parameters import trained_parameter_signals
from pipeline.workflow.components import Components


def trainability_signals(components: Components, network: nn.Module, inputs: Tensor, labels: Tensor) -> dict[str, Any]:
    """Return the signals of registered parameters, of the optimizer that training will use, and of frozen parts.

    Raises `UserError` for an optimizer that cannot be built for this network.
    """
    groups = decay_groups(network, l2=components.l2)
    try:
        optimizer = components.make_optimizer(groups) if groups else None
    except (TypeError, ValueError) as error:
        raise UserError(f"it cannot be built for the parameters of this network: {error}", field="optimizer") from error
    loss, frozen = components.loss, frozen_parts(network, frozen_names(components.config["model"]))
    signals: dict[str, Any] = dict(trained_parameter_signals(network, loss, inputs, labels, optimizer))
    signals |= frozen_signals(network, inputs, declared=frozen)
    if optimizer is not None:
        signals |= optimizer_signals(network, optimizer, loss)
        signals |= clearing_signals(network, optimizer)
    return signals
