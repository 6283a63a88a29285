"""Does the output for one example depend on the tokens of other examples: `batch_leak` for inputs without gradients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.signals.restoring import restored, seeded
from pipeline.signals.schema import SanitySignals


def token_leak(network: nn.Module, inputs: Any, tokens: Sequence[Tensor]) -> SanitySignals:
    """Measure on how many other examples the output for one depends, through the embeddings of its `tokens`.

    `tokens` are the whole numbers (N, ...) among `inputs`, of which `network(inputs)` makes outputs (N, ...). The
    signals are those of `batch_leak`; {} where no `nn.Embedding` takes tokens as they are. Modes and buffers are
    restored.
    """
    examples = len(tokens[0]) if tokens else 0
    embedded: list[Tensor] = []
    device = tokens[0].device if tokens else torch.device("cpu")
    with (
        restored(network),
        seeded(0, device),
        torch.enable_grad(),
        torch.backends.cudnn.flags(enabled=False),  # its recurrent layers have no gradient in evaluation mode
        _kept_embeddings(network, tokens, embedded),
    ):
        network.eval()
        outputs = network(inputs)
        if not embedded or len(outputs) != examples or not outputs.requires_grad:
            return {}
        influences = [_influence(outputs, embedded, index) for index in (0, examples - 1)]
    others = max(influences, key=lambda influence: int((influence > 0).sum()))
    return {
        "leaking_examples": int((others > 0).sum()),
        "leak_examples": len(others),
        "leak_gradient": float(others.max()),
    }


@contextmanager
def _kept_embeddings(network: nn.Module, tokens: Sequence[Tensor], kept: list[Tensor]) -> Iterator[None]:
    """Make the embeddings of `tokens` leaves with a gradient and append them to `kept`."""

    def keep(module: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> Tensor | None:
        if not arguments or not any(_is_same(arguments[0], one) for one in tokens):
            return None  # of positions, or with the examples along another axis
        kept.append(output.detach().clone().requires_grad_())
        return kept[-1]

    handles = [m.register_forward_hook(keep) for m in network.modules() if isinstance(m, nn.Embedding)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _is_same(one: Any, other: Tensor) -> bool:
    """Return whether two tensors are the same numbers in the same place."""
    if not isinstance(one, Tensor) or one.data_ptr() != other.data_ptr():
        return False
    return one.shape == other.shape and one.stride() == other.stride()


def _influence(outputs: Tensor, embedded: Sequence[Tensor], index: int) -> Tensor:
    """Return the largest gradient, for each other example, of the outputs for example `index` (weighted at random)."""
    one = outputs[index]
    value = (one * torch.randn(one.shape, generator=torch.Generator().manual_seed(0)).to(one)).sum()
    gradients = torch.autograd.grad(value, embedded, retain_graph=True, allow_unused=True)
    largest = [g.flatten(1).abs().amax(1) for g in gradients if g is not None]
    if not largest:
        return outputs.new_zeros(len(outputs) - 1)
    influence = torch.stack(largest).amax(0)
    return torch.cat([influence[:index], influence[index + 1 :]])
