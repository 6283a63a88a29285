"""Anybody's model as a network from one input to one tensor of outputs, and what kind of task its batch is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn
from torch.utils.data import DataLoader

from pipeline.watching.errors import PreflightError

Task = Literal["classification", "dense classification", "regression", "other"]
"""What labels and outputs say about the task.

classification: outputs (N, C), whole numbers (N,); dense classification: a class for each position, outputs
(N, C, ...) or (N, ..., C); regression: labels that are real numbers, of as many values as the outputs.
"""


class AdaptedModel(nn.Module):
    """A model whose `forward(inputs)` returns the tensor of outputs alone.

    It shares parameters, buffers and submodules with the model under the same names. `inputs` is what comes first in a
    batch: a tensor, or a tuple or dictionary of arguments. Of several outputs, `logits` or else the first is used.
    """

    model: nn.Module
    """The model itself."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self._parameters, self._buffers, self._modules = model._parameters, model._buffers, model._modules
        self.__dict__["model"] = model  # not as a submodule, which would change the names of the parameters
        self.training = model.training
        # a model that comes in training mode is trained in the modes it has: parts of it may be meant to stay in
        # evaluation mode
        self.__dict__["given_modes"] = [(m, m.training) for m in model.modules()] if model.training else []
        self.last_loss: Tensor | None = None
        """The loss that the model itself returned with the latest outputs, if it does."""

    def train(self, mode: bool = True) -> AdaptedModel:
        """Set the mode of the model."""
        self.model.train(mode)
        for module, is_training in self.__dict__["given_modes"] if mode else ():
            module.training = is_training
        self.training = mode
        return self

    def forward(self, inputs: Any) -> Tensor:
        output = call_model(self.model, inputs)
        loss = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
        self.last_loss = loss if isinstance(loss, Tensor) and loss.ndim == 0 else None
        return output_tensor(output)


def call_model(model: nn.Module, inputs: Any) -> Any:
    """Return what the model returns for `inputs`: a tensor, or a tuple or dictionary of arguments."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    if isinstance(inputs, (tuple, list)):
        return model(*inputs)
    return model(inputs)


def output_tensor(output: Any) -> Tensor:
    """Return the tensor of outputs among what a model returned. Raises `PreflightError` if there is none."""
    if isinstance(output, Tensor):
        return output
    candidates = [getattr(output, "logits", None)]
    if isinstance(output, Mapping):
        candidates += [output.get("logits"), *output.values()]
    elif isinstance(output, (tuple, list)):
        candidates += list(output)
    tensor = next((one for one in candidates if isinstance(one, Tensor) and one.ndim > 0), None)
    if tensor is None:
        raise PreflightError(
            f"the model returned a {type(output).__name__} without a tensor of outputs.", field="model"
        )
    return tensor


def unwrap(model: nn.Module) -> nn.Module:
    """Return the model inside wrappers that change the names of its parameters: `torch.compile`, DDP."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(model, (nn.parallel.DistributedDataParallel, nn.DataParallel)):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


@dataclass(frozen=True)
class Batch:
    """One batch: `inputs` of the model, `labels` of the loss (None where the model computes its loss itself)."""

    inputs: Any
    labels: Any

    @property
    def tensors(self) -> list[Tensor]:
        """The tensors of the inputs."""
        values = self.inputs
        if isinstance(values, Mapping):
            values = list(values.values())
        return [one for one in (values if isinstance(values, (tuple, list)) else [values]) if isinstance(one, Tensor)]

    @property
    def is_plain(self) -> bool:
        """Whether the input is one tensor of real numbers, which can be set to zero and has a gradient."""
        return isinstance(self.inputs, Tensor) and self.inputs.is_floating_point()


def split_batch(batch: Any) -> Batch:
    """Return inputs and labels of a batch: a pair (x, y), or a dictionary with `labels`. Raises `PreflightError`."""
    if isinstance(batch, Mapping):
        labels = next((batch[key] for key in ("labels", "label", "targets", "target", "y") if key in batch), None)
        result = Batch(dict(batch), labels)
    elif isinstance(batch, (tuple, list)) and len(batch) >= 2:
        inputs = batch[0] if len(batch) == 2 else tuple(batch[:-1])
        result = Batch(inputs, batch[-1])
    else:
        hint = " Give one batch of it: next(iter(loader))." if isinstance(batch, DataLoader) else ""
        raise PreflightError(
            f"expected a pair (inputs, labels) or a dictionary of arguments, got {describe(batch)}.{hint}",
            field="batch",
        )
    if not result.tensors or any(one.ndim == 0 or len(one) == 0 for one in result.tensors):
        raise PreflightError(
            f"the inputs must be tensors whose first axis are the examples, got {describe(result.inputs)}.",
            field="batch",
        )
    if len(result.tensors[0]) < 2:
        raise PreflightError("give at least two examples: one alone shows nothing about a batch.", field="batch")
    return result


def describe(value: Any) -> str:
    """Return type, shape and dtype of a value in words."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)} and type {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"


def find_task(outputs: Tensor, labels: Any) -> Task:
    """Return the kind of task that `outputs` and `labels` belong to."""
    if not isinstance(labels, Tensor):
        return "other"
    is_whole = not labels.is_floating_point() and not labels.is_complex()
    if is_whole and outputs.ndim == 2 and labels.shape == outputs.shape[:1] and outputs.shape[1] > 1:
        return "classification"
    if is_whole and outputs.ndim > 2 and labels.ndim == outputs.ndim - 1:
        return "dense classification"
    if labels.is_floating_point() and labels.numel() == outputs.numel():
        return "regression"
    return "other"


def check_labels(outputs: Tensor, labels: Any, task: Task, n_examples: int) -> None:
    """Raise `PreflightError` where labels cannot belong to the inputs or to the outputs."""
    if not isinstance(labels, Tensor):
        return
    if labels.ndim and len(labels) != n_examples:
        raise PreflightError(f"there are {n_examples} inputs and {len(labels)} labels.", field="batch")
    if labels.ndim and len(outputs) != n_examples:
        raise PreflightError(
            f"for {n_examples} inputs the model returned outputs of shape {tuple(outputs.shape)}: the first axis must "
            "be the examples.",
            field="model",
        )
    if task == "classification":
        low, high, classes = int(labels.min()), int(labels.max()), outputs.shape[1]
        if low < 0 or high >= classes:
            raise PreflightError(
                f"labels are numbers from 0 to {classes - 1} for outputs of {classes} classes, got {low} to {high}. "
                "Renumber the labels, or give the model as many outputs as there are classes.",
                field="batch",
            )
