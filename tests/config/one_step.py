"""One optimizer step with what a configuration built: the contract that every option meets."""

from __future__ import annotations

from typing import Any

import torch

from pipeline.model import decay_groups
from pipeline.workflow.components import Components


def take_one_step(components: Components) -> None:
    """Assert that a step changes the network, and that building it again gives the same bits."""
    network = components.make_network()
    images, labels = components.data.train.pixels[:8], components.data.train.labels[:8]
    optimizer = components.make_optimizer(decay_groups(network, l2=components.l2))
    schedule = components.schedule.build(optimizer, epochs=2, steps_per_epoch=3)
    before = [p.detach().clone() for p in network.parameters()]
    parameters = components.augmentation.sample_parameters(0, 0, len(images), images.device)
    logits = network(components.preprocessing(components.augmentation(images, parameters)))
    assert logits.shape == (8, len(components.data.classes))
    components.loss(logits, labels).backward()
    optimizer.step()
    arguments: list[Any] = [1.0] if components.schedule.update_event(schedule) == "validation" else []
    schedule.step(*arguments)
    assert any(not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    state, again = components.make_network().state_dict(), components.make_network().state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in state.items())
