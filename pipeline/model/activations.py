"""Maxout, and the gain of any activation. Every other activation is torch's own class."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from pipeline import validation
from pipeline.errors import UserError


class Maxout(nn.Module):
    """max(w_1 x + b_1, ..., w_k x + b_k): (N, k*C, ...) -> (N, C, ...) (Goodfellow et al. 2013).

    The layer before it computes all k = `pieces` linear pieces, and so has k times the parameters. Its output is
    piece-major: channels 0..C-1 are the first piece of every unit, C..2C-1 the second, and so on.
    Equal pieces share the gradient. Raises `UserError` unless `pieces` is a whole number of at least 2.
    """

    def __init__(self, pieces: int):
        super().__init__()
        self.pieces = validation.integer("pieces", pieces, at_least=2)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] % self.pieces:
            raise ValueError(f"Maxout of {self.pieces} pieces needs a multiple of that in channels, got {x.shape[1]}")
        return x.unflatten(1, (self.pieces, -1)).amax(1)

    def extra_repr(self) -> str:
        return f"pieces={self.pieces}"


def channel_multiplier(activation: nn.Module) -> int:
    """Return how many input channels `activation` needs for one output channel: k for a Maxout of k pieces, else 1."""
    return activation.pieces if isinstance(activation, Maxout) else 1


def gain(activation: Callable[[], nn.Module]) -> float:
    """Return 1 / sqrt(E[f(z)^2]), z ~ N(0, 1): the factor on the weights that keeps the mean square through f.

    It is sqrt(2) for ReLU (He et al. 2015) and 1 for the identity. The expectation is a sum over 48,001 points of
    [-12, 12] in float64, good to 1e-6 also where f has a kink at 0. For Maxout the k pieces are independent: the
    largest has density k phi(z) Phi(z)^(k-1), and the module receives k equal pieces, of which it returns that largest.
    torch's global generator is not changed.

    Raises `UserError` when the mean square is 0 or not finite, since then no factor helps.
    """
    with torch.random.fork_rng(devices=[]):  # a user's activation may draw its parameters
        module = activation().double().eval()
    pieces = channel_multiplier(module)
    z = torch.linspace(-12, 12, 48_001, dtype=torch.float64)
    density = pieces * torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi) * torch.special.ndtr(z) ** (pieces - 1)
    step = float(z[1] - z[0])
    with torch.no_grad():
        f = module(z.unsqueeze(1).repeat(1, pieces)).squeeze(1)  # a copy of z: the activation may work in place
    mean_square = float((f.square() * density).sum() * step)
    if not (math.isfinite(mean_square) and mean_square > 0):
        raise UserError(
            f"there is no gain for an activation whose mean square is {mean_square:g}. Set it to a number.",
            field="gain",
        )
    return 1 / math.sqrt(mean_square)
