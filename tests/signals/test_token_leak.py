"""Which networks of tokens mix the examples of a batch, measured by the gradients of embeddings."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.signals.token_leak import token_leak

N, T = 6, 6  # as many examples as tokens: only their places tell them apart
TOKENS = torch.randint(0, 20, (N, T), generator=torch.Generator().manual_seed(0))


class Reader(nn.Module):
    """Tokens through an LSTM, batch first or not, and dropout."""

    def __init__(self, *, batch_first: bool, transposes: bool = False):
        super().__init__()
        self.embedding, self.drop = nn.Embedding(20, 8), nn.Dropout(0.5)
        self.cells, self.head = nn.LSTM(8, 8, batch_first=batch_first), nn.Linear(8, 3)
        self.transposes = transposes

    def forward(self, tokens: Tensor) -> Tensor:
        if self.transposes:
            return self.head(self.cells(self.embedding(tokens.t()))[0][-1])
        return self.head(self.drop(self.cells(self.embedding(tokens))[0].mean(1)))


class Attention(nn.Module):
    """Tokens and positions through self-attention with a mask of padding, with the arguments of a dictionary."""

    def __init__(self, *, batch_first: bool = True):
        super().__init__()
        self.tokens, self.positions, self.batch_first = nn.Embedding(20, 8), nn.Embedding(T, 8), batch_first
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first)
        self.head = nn.Linear(8, 3)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        ids = inputs["ids"].view(-1, T)
        x = self.tokens(ids) + self.positions(torch.arange(T))
        padding = inputs["mask"] == 0
        return self.head(self.layer(x, src_key_padding_mask=padding if self.batch_first else padding.t()).mean(1))


def measure(network: nn.Module, inputs: Any = TOKENS, tokens: Any = (TOKENS,)) -> dict[str, Any]:
    torch.manual_seed(0)
    return dict(token_leak(network, inputs, tokens))


DICTIONARY = {"ids": TOKENS, "mask": (torch.arange(T) < torch.arange(1, N + 1)[:, None]).long()}


@pytest.mark.parametrize("batch_first", [True, False])
def test_a_recurrent_layer(batch_first: bool) -> None:
    signals = measure(Reader(batch_first=batch_first))
    assert signals["leak_examples"] == N - 1
    assert signals["leaking_examples"] == (0 if batch_first else N - 1)
    assert (signals["leak_gradient"] > 0) is not batch_first


@pytest.mark.parametrize("batch_first", [True, False])
def test_attention(batch_first: bool) -> None:
    signals = measure(Attention(batch_first=batch_first), DICTIONARY, list(DICTIONARY.values()))
    assert (signals["leaking_examples"] == 0) is batch_first


def test_batch_norm_mixes_in_training_mode_alone() -> None:
    network = Reader(batch_first=True)
    network.head = nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 3))  # type: ignore[assignment]
    assert measure(network)["leaking_examples"] == 0


def test_examples_along_another_axis_are_not_judged() -> None:
    assert measure(Reader(batch_first=False, transposes=True)) == {}


def test_the_network_is_restored() -> None:
    network = Reader(batch_first=True).train()
    before, state = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    token_leak(network, TOKENS, (TOKENS,))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(before.values(), network.state_dict().values(), strict=True))
    assert all(module.training for module in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not network.embedding._forward_hooks
