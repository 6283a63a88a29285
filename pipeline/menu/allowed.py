"""What a configuration may call. The list is exact names in code, since a configuration may come from anybody.

Prefixes would not do: `torch.` alone contains `torch.load`, `torch.hub.load` and `torch.utils.cpp_extension.load`.
Users add names of their own in the environment variable PIPELINE_ALLOW, separated by commas; never in a configuration.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any

from pipeline.errors import UserError, did_you_mean

_TORCH = {
    "torch.nn": ("ReLU", "Sigmoid", "Tanh", "LeakyReLU", "PReLU", "ELU", "GELU", "SiLU", "SELU", "Hardswish", "Mish",
                 "Softplus", "Softsign", "CELU", "ReLU6", "RReLU", "Hardtanh", "Identity"),
    "torch.optim": ("SGD", "Adagrad", "RMSprop", "Adam", "AdamW", "NAdam", "RAdam", "Adamax", "Adadelta", "ASGD"),
    "torch.optim.lr_scheduler": ("ConstantLR", "StepLR", "MultiStepLR", "ExponentialLR", "CosineAnnealingLR",
                                 "CosineAnnealingWarmRestarts", "OneCycleLR", "ReduceLROnPlateau", "LinearLR",
                                 "PolynomialLR", "CyclicLR"),
    "torchvision.datasets": ("MNIST", "FashionMNIST", "CIFAR10", "CIFAR100", "SVHN", "KMNIST"),
}  # fmt: skip
_OURS = {
    "pipeline.data": ("NoAugmentation", "Flip", "CropFlip"),
    "pipeline.data.sources.embedded": ("fashion_mnist_5k", "digits"),
    "pipeline.data.sources.torchvision_sets": ("torchvision_set",),
    "pipeline.data.sources.npz": ("npz",),
    "pipeline.data.sources.image_folder": ("image_folder",),
    "pipeline.data.preprocessing": ("none", "mean_image", "channel_mean", "standardize", "pca", "whiten"),
    "pipeline.model": ("ConvNet", "MLP", "ResNet", "torchvision_model", "Maxout", "Init", "BatchNorm",
                       "CrossEntropy", "Hinge", "MeanSquaredError", "CustomLoss", "Schedule"),
    "pipeline.model.init": ("zeros", "gaussian", "xavier", "he", "glorot_normal", "glorot_uniform", "orthogonal",
                            "lsuv"),
    "pipeline.signals": ("Recording",),
    "pipeline.loggers": ("CSV", "TensorBoard", "MLflow", "WandB"),
    "pipeline.stages": ("Sanity", "Overfit", "LrRange", "Train", "Ensemble", "Evaluate"),
    "pipeline.checks": ("WrongOutputCount", "NonFinite", "SymmetricUnits", "BatchLeak", "InitialLoss",
                        "RegularizationRaisesLoss", "UnreachableParameters", "InputIgnored", "CannotOverfit",
                        "EnsembleNoBetter", "LossExploding", "ConstantFeatures", "InputsNotScaled", "InputsNotCentred",
                        "DuplicateExamples", "ClassImbalance", "SplitShift", "LabelNoise", "MissingClass",
                        "OutputActivation", "MissingNonlinearity", "LossReduction", "SmallBatchBatchnorm",
                        "WrongDirection", "SharedWeights", "VanishingActivations", "ExplodingActivations",
                        "SaturatedUnits", "DeadUnits", "VanishingGradients", "ExplodingGradients", "LossDisagrees",
                        "FrozenWeights", "OverRegularized", "RateTooHigh", "RateTooLow", "LateStart",
                        "OscillatingLoss", "TrainEvalMismatch", "LossPlateau", "Overfitting", "UpdateRatioHigh",
                        "UpdateRatioLow", "Undertrained", "Underfitting", "Overtrained", "RedundantBias",
                        "ValidationAboveTraining", "SlowPrecision"),
}  # fmt: skip
ALLOWED = frozenset(f"{module}.{name}" for room in (_TORCH, _OURS) for module, names in room.items() for name in names)


def instantiate(node: Mapping[str, Any], path: str) -> Any:
    """Build what a configuration node describes: call its `_target_` with its other keys, inner nodes first.

    With `_partial_: true` the call is only prepared (`functools.partial`). `path` is the node's place in the
    configuration, for errors. This is the only place where a name from a configuration becomes code.
    Raises `UserError` for a target that is not allowed, cannot be imported, or does not take an argument.
    """
    if not isinstance(node, Mapping):
        raise UserError(f"{node!r} stands where a whole node with a _target_ belongs.", field=path)
    arguments = {
        key: _inner(value, f"{path}.{key}") for key, value in node.items() if key not in ("_target_", "_partial_")
    }
    target = node.get("_target_")
    function = locate(target, f"{path}._target_")
    partial = bool(node.get("_partial_", False))
    _check_arguments(function, arguments, path=path, complete=not partial)
    if partial:
        return functools.partial(function, **arguments)
    return build(function, path, **arguments)


def build(function: Callable[..., Any], path: str, /, *args: Any, **kwargs: Any) -> Any:
    """function(*args, **kwargs), with the field of a `UserError` seen from the whole configuration."""
    try:
        return function(*args, **kwargs)
    except UserError as error:
        raise error.under(path) from error


def locate(target: object, field: str) -> Callable[..., Any]:
    """The object behind an allowed dotted name."""
    if target in (None, "???"):
        raise UserError("give the dotted name of your class or function, such as my_module.MyNet.", field=field)
    yours = frozenset(name.strip() for name in os.environ.get("PIPELINE_ALLOW", "").split(",") if name.strip())
    if not isinstance(target, str) or target not in ALLOWED | yours:
        meant = did_you_mean(str(target), ALLOWED | yours)
        raise UserError(
            f"{target!r} is not on the list of what a configuration may call.{meant} "
            f"If it is your own code, allow it: PIPELINE_ALLOW={target} in the environment.",
            field=field,
        )
    module, _, name = str(target).rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f"cannot import {target!r} ({error}). It must be importable from the folder you start in, or PYTHONPATH.",
            field=field,
        ) from error
    return found


def _inner(value: Any, path: str) -> Any:
    if isinstance(value, Mapping):
        if "_target_" in value:
            return instantiate(value, path)
        return {key: _inner(inner, f"{path}.{key}") for key, inner in value.items()}
    return value


_signature = functools.lru_cache(maxsize=256)(inspect.signature)
"""Reading one takes 0.3 ms, and every trial of a search asks for the same dozen."""


def _check_arguments(function: Callable[..., Any], arguments: Mapping[str, Any], *, path: str, complete: bool) -> None:
    """Unknown arguments are named as the user typed them, instead of Python's TypeError."""
    try:
        parameters = _signature(function).parameters
    except (TypeError, ValueError):
        return
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    named = [p.name for p in parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    title = getattr(function, "__qualname__", repr(function))
    for key in arguments:
        if key not in named:
            meant = did_you_mean(key, named)
            raise UserError(
                f"{title} takes no such argument.{meant} It takes: {', '.join(named)}.", field=f"{path}.{key}"
            )
    if complete:
        needed = [p.name for p in parameters.values() if p.name in named and p.default is p.empty]
        for key in needed:
            if key not in arguments:
                raise UserError(f"{title} needs this argument.", field=f"{path}.{key}")
