"""Weights from elsewhere: read from a run, a checkpoint or a file of tensors. Nothing is ever unpickled."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.runs.paths import checkpoint_file

_WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "network", "weights", "params")
"""Keys under which training programs keep the tensors of a network."""


@dataclass(frozen=True)
class PretrainedWeights:
    """The tensors of a trained network by name, and what is known about their training."""

    state: Mapping[str, Tensor]
    source: str
    """The file, or the name that a library gives them."""
    field: str
    """The key that asked for them."""
    sha256: str | None = None
    """Of the file."""
    classes: tuple[str, ...] | None = None
    """The names of the classes they were trained on, where they are known."""
    preprocessing: Mapping[str, Tensor] | None = None
    """The state of the preprocessing that came before the network, where this program trained it."""
    scale: float | None = None
    """The factor that brought the pixels of that training into [0, 1], where it is known."""
    moments: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    """Mean and standard deviation of each channel that the network's inputs were standardized with, in [0, 1]."""

    def with_moments(self, moments: tuple[tuple[float, ...], tuple[float, ...]]) -> PretrainedWeights:
        """Return the same weights with the moments of a library's network, unless they bring a preprocessing."""
        return replace(self, moments=None if self.preprocessing else moments)


def read_weights(requested: object, *, field: str) -> PretrainedWeights:
    """Read the weights of a run's best checkpoint, of a checkpoint, or of a file of tensors.

    `requested` is a run's directory or a file: .safetensors, or what `torch.save` wrote of plain tensors, also under a
    key such as `state_dict`. Raises `UserError` on `field` where there is no such file, it is damaged, or it holds
    more than plain data.
    """
    path = weights_file(requested, field=field)
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    recorded = path.with_name(path.name + ".sha256")
    if path.suffix == ".ckpt" and recorded.exists() and digest not in recorded.read_text().split():
        raise UserError(f"{str(path)!r} is damaged: its checksum differs. Use another one.", field=field)
    if not content:
        raise UserError(f"{str(path)!r} is empty. Give the file that the training wrote.", field=field)
    tensors = _read_safetensors(content, path, field) if _is_safetensors(content, path) else _read_torch(path, field)
    extra = tensors.get("pipeline")
    if isinstance(extra, Mapping) and isinstance(tensors.get("state_dict"), Mapping):
        state = tensors["state_dict"]
        return PretrainedWeights(
            _below(state, "network."),
            str(path),
            field,
            digest,
            classes=tuple(extra["classes"]) if "classes" in extra else None,
            preprocessing=_below(state, "preprocessing."),
            scale=extra.get("scale"),
        )
    state = _unwrap(tensors)
    if not state:
        raise UserError(
            f"{str(path)!r} holds no tensors by name. Save them with torch.save(network.state_dict(), FILE).",
            field=field,
        )
    return PretrainedWeights(state, str(path), field, digest)


def weights_file(requested: object, *, field: str) -> Path:
    """Return the resolved path of the file: itself, or the best checkpoint of a run's directory."""
    path = Path(str(requested)).expanduser()
    if path.is_dir():
        directory, path = path, checkpoint_file(path, "best")
        if not path.exists():
            raise UserError(
                f"the directory {str(directory)!r} has no {path.relative_to(directory)}. Give the directory of a run "
                "that has trained, or a file.",
                field=field,
            )
    if not path.is_file():
        raise UserError(f"there is no file {str(path)!r}. Give a run's directory or a file of weights.", field=field)
    return path.resolve()


def library_moments(mean: Any, std: Any, *, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation of each of `channels`: the library's, or their means where it has another number."""
    if len(mean) == channels:
        return tuple(mean), tuple(std)
    return (sum(mean) / len(mean),) * channels, (sum(std) / len(std),) * channels


def _is_safetensors(content: bytes, path: Path) -> bool:
    return path.suffix == ".safetensors" or content[8:9] == b"{"  # the length of a JSON header, then the header


def _read_safetensors(content: bytes, path: Path, field: str) -> dict[str, Any]:
    try:
        from safetensors.torch import load
    except ImportError as error:
        raise UserError(
            "reading .safetensors needs the package safetensors: pip install 'staged-training-pipeline[timm]'.",
            field=field,
        ) from error
    try:
        return load(content)
    except Exception as error:  # of safetensors, struct and JSON, by where the file is torn
        raise UserError(f"{str(path)!r} is not a whole safetensors file ({error}).", field=field) from error


def _read_torch(path: Path, field: str) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for what is no file of its own
        raise UserError(
            f"{str(path)!r} is not a file of plain tensors ({type(error).__name__}), and nothing else is read, since "
            "a pickled object can run any code. Where you trust it, load it in a program of your own and save its "
            "tensors: torch.save(network.state_dict(), FILE).",
            field=field,
        ) from error
    return content if isinstance(content, dict) else {}


def _unwrap(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of `content`, or of the mapping in it that has the most."""
    named = itertools.chain([content], (content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)))
    states = [{str(key): value for key, value in one.items() if isinstance(value, Tensor)} for one in named]
    return max(states, key=len)


def _below(state: Mapping[str, Any], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
