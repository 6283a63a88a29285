"""Networks from nodes of the configuration: `model`, `activation`, `batchnorm` and `regularization.dropout`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from pipeline.config.instantiate import call_with_path, import_allowed, instantiate
from pipeline.data import Images, Preprocessing
from pipeline.errors import UserError
from pipeline.model.block import HiddenBlock
from pipeline.model.frozen import freeze, frozen_names
from pipeline.model.init import Init, initialize
from pipeline.model.load_weights import WeightLoader
from pipeline.model.user_model import build_user_model, materialize, select_output, takes_argument
from pipeline.signals.restoring import seeded


def make_network_factory(
    node: Mapping[str, Any],
    *,
    block: HiddenBlock,
    init: Init | None,
    seed: int,
    preprocessing: Preprocessing,
    classes: int,
    init_batch: Images | None,
    load_weights: WeightLoader | None = None,
) -> Callable[..., nn.Module]:
    """Return `make_network(seed=seed)`, a function that builds the network that the `model` node describes.

    Two calls with one seed build networks with the same initial bits. The network maps preprocessed images
    (N, *preprocessing.output_shape) to logits (N, classes). `init` is applied unless it is None, weights from elsewhere
    are then loaded by `load_weights`, and what `frozen` in the node names is frozen; an init that looks at data, and
    frozen batchnorms that saw none, get the preprocessed images of `init_batch`. Raises `UserError` with the field
    below `model` or `init`.
    """
    frozen = frozen_names(node)
    target = import_allowed(node.get("_target_"), "model._target_")
    shape = preprocessing.output_shape
    is_built_in = getattr(target, "__module__", "").startswith("pipeline.")
    if "frozen" in node:
        node = _without_frozen(node, is_argument=not is_built_in and takes_argument(target, "frozen"))
    output_key = None
    if not is_built_in and not takes_argument(target, "output"):
        output_key, node = node.get("output"), {key: value for key, value in node.items() if key != "output"}
    elif node.get("output", "") is None:
        node = {key: value for key, value in node.items() if key != "output"}  # the network's own default
    arguments = {key: value for key, value in node.items() if key not in ("_target_", "_partial_")}
    make: Callable[[], nn.Module]
    if is_built_in:
        make = functools.partial(instantiate(node, "model"), shape, classes, block)
    else:
        make = functools.partial(build_user_model, target, shape, classes, block, **arguments)

    def make_network(seed: int = seed) -> nn.Module:
        with seeded(seed, torch.device("cpu")), _kept_default_dtype():  # for what a network draws in its constructor
            fresh = call_with_path(make, "model")
            if output_key is not None:
                select_output(fresh, output_key)
            call_with_path(materialize, "model", fresh, shape)
        pixels = None
        if init_batch is not None and (init is not None or frozen):
            pixels = preprocessing.on("cpu")(init_batch.pixels)
        if init is not None:
            output = getattr(fresh, "output", None)
            call_with_path(
                initialize,
                "init",
                fresh,
                init,
                activation=block.activation,
                output=output,
                seed=seed,
                init_batch=pixels,
            )
        if load_weights is not None:
            load_weights(fresh)
        call_with_path(freeze, "model", fresh, frozen, pixels)
        return fresh.train()  # Lightning does not; a network's own `train` may keep parts in evaluation mode

    return make_network


@contextmanager
def _kept_default_dtype() -> Iterator[None]:
    """Restore torch's default number format on leaving, which the code of a network may set."""
    dtype = torch.get_default_dtype()
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)


def _without_frozen(node: Mapping[str, Any], *, is_argument: bool) -> Mapping[str, Any]:
    """Return the node without `frozen`. Another value than a list stays where the user's network takes it itself.

    Raises `UserError` for other values.
    """
    value = node["frozen"]
    if not isinstance(value, (list, tuple)):
        if is_argument:
            return node
        raise UserError(
            f"expected a list of names such as [backbone], got {value!r}. [] freezes nothing.", field="model.frozen"
        )
    return {key: inner for key, inner in node.items() if key != "frozen"}


def uninitialized_network(config: Mapping[str, Any], *, preprocessing: Preprocessing, classes: int) -> nn.Module:
    """Return the network of a whole configuration without its init, to be filled from a checkpoint.

    No data set is read. Raises `UserError` with the field as the user typed it.
    """
    factory = make_network_factory(
        config["model"],
        block=build_hidden_block(config),
        init=None,
        seed=0,
        preprocessing=preprocessing,
        classes=classes,
        init_batch=None,
    )
    return factory()


def build_hidden_block(config: Mapping[str, Any]) -> HiddenBlock:
    """Return the hidden block of the nodes `activation`, `batchnorm` and `regularization` of a configuration.

    Raises `UserError` with the field as the user typed it.
    """
    activation = instantiate(config["activation"], "activation")
    if not isinstance(activation, functools.partial):
        raise UserError("needs _partial_: true, since every layer gets its own.", field="activation")
    call_with_path(activation, "activation")
    batchnorm = {key: value for key, value in config["batchnorm"].items() if key != "recompute"}
    dropout = config["regularization"]["dropout"]
    try:
        return HiddenBlock(activation=activation, batchnorm=instantiate(batchnorm, "batchnorm"), dropout=dropout)
    except UserError as error:
        raise (error.with_prefix("regularization") if error.field == "dropout" else error) from error
