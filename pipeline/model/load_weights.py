"""Copies weights from elsewhere into a network by name and shape, and says what did not fit."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.model.pretrained import PretrainedWeights

LEAST_SHARE = 0.5
"""The least share of a network's weights, without its head, that a file must have: with fewer it is another network."""
_LISTED = 20
"""Names that a record lists of each kind; the counts are of all."""


class WeightLoader:
    """`loader(network)` copies weights into a network in place; the head stays as it is where the classes differ.

    The head is the last layer with one row for each class. Names may have another prefix (`module.`, `backbone.`): the
    one is taken or added that makes most names and shapes agree. The first layer's weights are adapted to images of
    another number of channels. Raises `UserError` where less than half of the network's weights are in the file.
    """

    def __init__(self, weights: PretrainedWeights, classes: Sequence[str]):
        self.weights, self.n_outputs = weights, len(classes)
        self.keeps_head = weights.classes is None or tuple(weights.classes) == tuple(classes)
        self.report: dict[str, Any] = {}
        self._fit: _Fit | None = None

    def __call__(self, network: nn.Module) -> nn.Module:
        """Return the network with the weights in it."""
        if self._fit is None:
            self._fit = self._match(network)
            self.report = self._fit.report(self.weights)
        own = network.state_dict()
        with torch.no_grad():
            for name, tensor in self._fit.tensors.items():
                own[name].copy_(tensor)
        return network

    @property
    def has_trained_head(self) -> bool:
        """Return whether the head is a trained one too, so that the first loss need not be that of a guess."""
        return self.report.get("head") == "loaded"

    def _match(self, network: nn.Module) -> _Fit:
        own = {name: tensor for name, tensor in network.state_dict().items() if isinstance(tensor, Tensor)}
        head = head_names(network, self.n_outputs)
        state = _rename(self.weights.state, own)
        fit = _Fit({}, head, [], [], [name for name in state if name not in own], [])
        for name, tensor in own.items():
            theirs = state.get(name)
            if theirs is None:
                fit.missing.append(name)
            elif name in head and not (self.keeps_head and theirs.shape == tensor.shape):
                continue
            elif theirs.shape == tensor.shape:
                fit.tensors[name] = theirs
            elif _differs_in_channels(theirs, tensor) and not fit.adapted:
                fit.tensors[name] = adapt_channels(theirs, tensor.shape[1])
                fit.adapted.append(name)
            elif _has_other_classes(theirs, tensor, self.n_outputs):
                fit.head.append(name)
            else:
                fit.other_shape.append(name)
        body = {name: tensor.numel() for name, tensor in own.items() if name not in fit.head and tensor.ndim > 0}
        found = sum(size for name, size in body.items() if name in fit.tensors)
        if not body or found < LEAST_SHARE * sum(body.values()):
            raise UserError(self._refusal(fit, found / max(1, sum(body.values()))), field=self.weights.field)
        return fit

    def _refusal(self, fit: _Fit, share: float) -> str:
        return (
            f"{self.weights.source!r} has {share:.0%} of this network's weights, and {LEAST_SHARE:.0%} are needed. "
            f"Missing in the file: {_few(fit.missing)}; of another shape: {_few(fit.other_shape)}; in the file "
            f"alone: {_few(fit.unexpected)}. Use the model options with which the file was made."
        )


@dataclass
class _Fit:
    """What of a file goes into a network."""

    tensors: dict[str, Tensor]
    head: list[str]
    missing: list[str]
    other_shape: list[str]
    unexpected: list[str]
    adapted: list[str]

    def report(self, weights: PretrainedWeights) -> dict[str, Any]:
        """Return plain data for the record of the run."""
        is_loaded = all(name in self.tensors for name in self.head)
        mismatches = {
            "missing": [name for name in self.missing if name not in self.head],
            "other_shape": self.other_shape,
            "unexpected": self.unexpected,
        }
        report: dict[str, Any] = {
            "source": weights.source,
            "sha256": weights.sha256,
            "tensors": len(self.tensors),
            "head": "loaded" if is_loaded else "new",
            "head_names": list(self.head),
            "adapted": list(self.adapted),
            "counts": {kind: len(names) for kind, names in mismatches.items()},
            **{kind: names[:_LISTED] for kind, names in mismatches.items()},
        }
        return report | {"summary": _summarize(report)}


def _summarize(report: Mapping[str, Any]) -> str:
    """Return a report as one line."""
    parts = [f"weights: {report['tensors']} tensors of {report['source']}"]
    if report["head"] == "new":
        parts.append(f"the head is new ({', '.join(report['head_names'])})")
    words = {"missing": "not in the file", "other_shape": "of another shape", "unexpected": "in the file alone"}
    for kind, count in report["counts"].items():
        if count:
            parts.append(f"{count} {words[kind]} ({', '.join(report[kind][:3])}{', ...' if count > 3 else ''})")
    return "; ".join(parts)


def head_names(network: nn.Module, n_outputs: int) -> list[str]:
    """Return the names of the parameters of the head: the last layer with weights, if it has a row for each class."""
    output = getattr(network, "output", None)
    layers: list[tuple[str, nn.Module]] = [
        (name, module)
        for name, module in network.named_modules()
        if any(p.ndim >= 2 for p in module.parameters(recurse=False))
    ]
    if not layers:
        return []
    name, module = next((layer for layer in layers if layer[1] is output), layers[-1])
    own = dict(module.named_parameters(recurse=False))
    if not any(p.ndim >= 2 and len(p) == n_outputs for p in own.values()):
        return []
    return [f"{name}.{key}" if name else key for key in own]


def adapt_channels(weight: Tensor, channels: int) -> Tensor:
    """Return the weight (out, C, ...) of a first layer for another number of channels.

    Of fewer channels each gets the sum over some of the old ones; more of them share the old ones' weights. Images with
    equal channels so give what they gave.
    """
    before = weight.shape[1]
    if channels <= before:
        return torch.stack([weight[:, k::channels].sum(1) for k in range(channels)], 1)
    index = torch.arange(channels) % before
    shared_by = index.bincount()[index].view(1, -1, *[1] * (weight.ndim - 2))
    return weight[:, index] / shared_by


def _differs_in_channels(theirs: Tensor, own: Tensor) -> bool:
    """Return whether two weights are those of a convolution of images with another number of channels."""
    return (
        own.ndim == theirs.ndim == 4
        and own.shape[0] == theirs.shape[0]
        and own.shape[2:] == theirs.shape[2:]
        and max(own.shape[1], theirs.shape[1]) <= 4
    )


def _has_other_classes(theirs: Tensor, own: Tensor, n_outputs: int) -> bool:
    return own.ndim == theirs.ndim and own.ndim > 0 and own.shape[1:] == theirs.shape[1:] and len(own) == n_outputs


def _rename(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state with the prefix taken away, and that added, that make most names and shapes agree."""
    wanted = {name: tuple(tensor.shape) for name, tensor in own.items()}
    best, best_hits = dict(state), -1
    for taken, added in itertools.product(_prefixes(state), _prefixes(own)):
        renamed = {added + name.removeprefix(taken): t for name, t in state.items() if name.startswith(taken)}
        hits = sum(wanted.get(name) == tuple(tensor.shape) for name, tensor in renamed.items())
        if hits > best_hits:
            rest = {name: tensor for name, tensor in state.items() if not name.startswith(taken)}
            best, best_hits = rest | renamed, hits
    return best


def _prefixes(names: Mapping[str, Any]) -> Iterator[str]:
    """Yield no prefix, then those of up to three words that at least a third of the names have."""
    counts: Counter[str] = Counter()
    for name in names:
        parts = name.split(".")
        counts.update(".".join(parts[:depth]) + "." for depth in range(1, min(4, len(parts))))
    yield ""
    yield from (prefix for prefix, count in counts.items() if 3 * count >= len(names))


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{len(names)} ({shown})" if names else "none"
