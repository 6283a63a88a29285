"""Builds the components of a run from a composed configuration. Nothing below this file knows Hydra."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from pipeline import validation
from pipeline.checks import CheckSuite, check_declarations
from pipeline.config.instantiate import call_with_path, instantiate
from pipeline.config.to_dict import to_dict
from pipeline.data import Augmentation, Preprocessing, Source, Splits, split, validate_data
from pipeline.data.augmentation import as_augmentation
from pipeline.data.dataset import CLASSIFICATION, MULTILABEL, REGRESSION
from pipeline.data.sampling import ALL, check_sampling
from pipeline.data.shuffle import evaluation_batch
from pipeline.data.splits import stratified_head
from pipeline.data.storage import settle
from pipeline.errors import UserError
from pipeline.model import HiddenBlock, Loss
from pipeline.model.factory import build_hidden_block, make_network_factory
from pipeline.model.load_weights import WeightLoader
from pipeline.model.pretrained import PretrainedWeights
from pipeline.model.start_weights import find_weights, init_arguments, preprocessing_of_weights, with_weights_file
from pipeline.runs.paths import validate_name
from pipeline.training.batch_size import AUTO, BatchSizeLimits
from pipeline.training.compile import check_compiler
from pipeline.training.device import DeviceConfig
from pipeline.training.optimizer_args import validate_optimizer_args, without_fused_complex
from pipeline.training.out_of_memory import explain_out_of_memory
from pipeline.workflow.components import Components, Stage
from pipeline.workflow.process_setup import fix_cublas_workspace

INIT_EXAMPLES = 256
"""Training examples for inits that look at data."""


def build_components(config: DictConfig) -> Components:
    """Build and validate everything: the cheap things first, then the data, then what depends on the data.

    Raises `UserError` with the field as the user typed it.
    """
    return build_from_dict(to_dict(config))


class BuildCache:
    """Cache of expensive components (data, fitted preprocessing), shared by the trials of one worker.

    Keeps the two most recent entries of each kind.
    """

    def __init__(self) -> None:
        self._entries: dict[str, dict[str, Any]] = {}

    def get_or_build(self, kind: str, nodes: Any, build: Callable[[], Any]) -> Any:
        """Return what `build` returned for the same `nodes` of the configuration, or call it."""
        key = json.dumps(nodes, sort_keys=True, default=str)
        entries = self._entries.setdefault(kind, {})
        value = entries.pop(key) if key in entries else build()
        entries[key] = value  # the most recent comes last
        while len(entries) > 2:
            del entries[next(iter(entries))]
        return value


def build_from_dict(config: dict[str, Any], *, cache: BuildCache | None = None) -> Components:
    """Build the components from plain dictionaries, lists, numbers and strings. `config` stays as it is.

    Equal configurations give equal components in any process. What `cache` holds is not built again. Raises
    `OutOfMemory` where memory runs out.
    """
    with explain_out_of_memory(config):
        return _build(check_plain_values(config), cache or BuildCache())


def _build(config: dict[str, Any], cache: BuildCache) -> Components:
    fields = build_without_data(config, cache)
    device, loss = fields["device_config"], fields["loss"]
    init = None if config["init"].get("model_default") else instantiate(init_arguments(config["init"]), "init")
    weights: PretrainedWeights | None
    weights = cache.get_or_build("weights", [config["model"], config["init"].get("from")], lambda: find_weights(config))
    config = with_weights_file(config, weights)
    block = build_hidden_block(config)
    data_node = {key: value for key, value in config["data"].items() if key not in ("batch_size", "sampling")}
    data: Splits = cache.get_or_build("data", data_node, functools.partial(load_data, config["data"]))
    needs_network = any(stage.needs_network for stage in fields["stages"].values())
    if needs_network:
        fields["loss"] = loss = _fit_loss(loss, data)
    call_with_path(fields["augmentation"].check_images, "augmentation", data.train.pixels[:4])
    limits, batch_size = _batch_size_limits(config, data, device, block, is_used=needs_network)
    preprocessing = _fit_preprocessing(config, data_node, data, cache, weights)
    load_weights = WeightLoader(weights, data.classes) if weights else None
    most = min(len(data.train), evaluation_batch(data.input_shape))
    init_batch = cache.get_or_build(
        "init_batch",
        data_node,
        lambda: stratified_head(data.train, len(data.classes), min(INIT_EXAMPLES, most)).to("cpu"),
    )
    make_network = make_network_factory(
        config["model"],
        block=block,
        init=init,
        seed=fields["seed"],
        preprocessing=preprocessing,
        classes=len(data.classes),
        init_batch=init_batch,
        load_weights=load_weights,
    )
    if load_weights:
        make_network()  # which says what fits
    channels_last = (
        needs_network and device.channels_last and _wants_channels_last(config, data_node, make_network, cache)
    )
    if batch_size == AUTO:
        batch_size = limits.find_largest(make_network(), preprocessing, loss, data.train, channels_last=channels_last)
        config = config | {"data": config["data"] | {"batch_size": batch_size}}
    components = Components(
        data=data,
        batch_size=batch_size,
        preprocessing=preprocessing,
        make_network=make_network,
        channels_last=channels_last,
        config=config,
        weights=load_weights.report if load_weights else None,
        **fields,
    )
    for name, stage in components.stages.items():
        call_with_path(stage.check_components, f"stages.{name}", components)
    return components


def check_plain_values(config: dict[str, Any]) -> dict[str, Any]:
    """Check the kinds of the top-level values. Return the configuration with the selected stages only."""
    validate_name(config["name"])
    validation.integer("verbose", config["verbose"], at_least=0, at_most=2)
    validation.boolean("report", config["report"])
    nodes = {"stages": config["stages"], "checks.rules": config["checks"]["rules"], "logger": config["logger"]}
    for key, node in nodes.items():
        if not isinstance(node, Mapping):
            raise UserError(f"expected a mapping, got {node!r}.", field=key)
    if not isinstance(config["tags"], list):
        raise UserError(f"expected a list of words such as [a, b], got {config['tags']!r}.", field="tags")
    return config | {"stages": _selected_stages(config["stages"])}


def build_without_data(config: Mapping[str, Any], cache: BuildCache) -> dict[str, Any]:
    """Build the fields of `Components` that need no data."""
    device = call_with_path(DeviceConfig, "trainer", **config["trainer"])
    if device.deterministic:
        fix_cublas_workspace()
    compiles = validation.boolean("compile", config["compile"])
    if compiles and "train" in config["stages"]:
        check_compiler(device.device)
    stages = {name: instantiate(node, f"stages.{name}") for name, node in config["stages"].items()}
    make_optimizer = _build_optimizer_factory(config["optimizer"])
    schedule = instantiate(config["schedule"], "schedule")
    call_with_path(schedule.validate_with, "schedule", make_optimizer)
    _check_stage_order(stages)
    records = config["signals"].get("enabled") is not False
    return {
        "name": str(config["name"]),
        "seed": validation.integer("seed", config["seed"], at_least=0, at_most=2**63 - 1),
        "device_config": device,
        "compile": compiles,
        "checks": cache.get_or_build("checks", config["checks"], lambda: _build_checks(config["checks"])),
        "recorder_config": instantiate(config["signals"], "signals") if records else None,
        "stages": stages,
        "loggers": {name: instantiate(node, f"logger.{name}") for name, node in config["logger"].items()},
        "make_optimizer": make_optimizer,
        "lr": float(config["optimizer"].get("lr", math.nan)),
        "layer_decay": _layer_decay(config["optimizer"]),
        "schedule": schedule,
        "loss": instantiate(config["loss"], "loss"),
        "augmentation": _build_augmentation(config["augmentation"]),
        "l2": validation.number("regularization.l2", config["regularization"]["l2"], at_least=0),
        "sampling": call_with_path(check_sampling, "data", config["data"].get("sampling", ALL)),
        "recompute_batchnorm": validation.boolean("batchnorm.recompute", config["batchnorm"]["recompute"]),
    }


def _batch_size_limits(
    config: Mapping[str, Any], data: Splits, device: DeviceConfig, block: HiddenBlock, *, is_used: bool
) -> tuple[BatchSizeLimits, Any]:
    """Return the limits for batch sizes and the requested size, validated unless it is `auto` or no stage uses it."""
    limits = BatchSizeLimits(len(data.train), device, has_batchnorm=block.batchnorm.position != "none")
    requested = config["data"]["batch_size"]
    if not is_used:
        return limits, 1
    if requested != AUTO:
        limits.validate(requested)
    if "overfit" in config["stages"]:
        validation.integer(
            "stages.overfit.examples",
            config["stages"]["overfit"]["examples"],
            at_least=2,
            at_most=len(data.train),
            hint=f"The training split has {len(data.train)} examples: stages.overfit.examples={len(data.train)}.",
        )
    return limits, requested


def _fit_loss(loss: Loss, data: Splits) -> Loss:
    """Return the loss with its weights; raise `UserError` where it is made for other labels."""
    if data.task not in loss.tasks:
        found, option = {
            CLASSIFICATION: ("one class for each example", "cross_entropy"),
            MULTILABEL: ("any number of labels for each example", "bce"),
            REGRESSION: ("numbers to predict", "regression"),
        }[data.task]
        raise UserError(f"the data have {found}, for which this loss is not made. Use loss={option}.", field="loss")
    return call_with_path(loss.fit_weights, "loss", data.train.labels, len(data.classes))


def _fit_preprocessing(
    config: Mapping[str, Any],
    data_node: Mapping[str, Any],
    data: Splits,
    cache: BuildCache,
    weights: PretrainedWeights | None,
) -> Preprocessing:
    """Fit the preprocessing to the training split alone, or take the one that the weights were trained with."""
    node = preprocessing_of_weights(config["preprocessing"], weights, data)
    if isinstance(node, Preprocessing):
        return node

    def fit() -> Any:
        return call_with_path(instantiate(node, "preprocessing"), "preprocessing", data.train.pixels, scale=data.scale)

    return cache.get_or_build("preprocessing", (data_node, node), fit)


def _wants_channels_last(
    config: Mapping[str, Any], data_node: Mapping[str, Any], make_network: Callable[..., nn.Module], cache: BuildCache
) -> bool:
    """Return whether the network asks for the memory format channels_last."""
    # without `regularization`, which differs from trial to trial and changes no network's format
    keys = ("preprocessing", "model", "activation", "batchnorm", "init", "seed")
    nodes = [data_node, *(config[key] for key in keys)]
    return cache.get_or_build("layout", nodes, lambda: bool(getattr(make_network(), "channels_last", False)))


def load_source(node: Mapping[str, Any]) -> Source:
    """Load and validate the data set that the `data` node describes, with the splits that it has itself."""
    if node["limit"] is not None:
        validation.integer("data.limit", node["limit"], at_least=2)
    if node["scale"] is not None:
        validation.number("data.scale", node["scale"], above=0)
    validation.integer("data.split_seed", node["split_seed"], at_least=0, at_most=2**63 - 1)
    if not isinstance(node["source"], Mapping):
        raise UserError(f"expected a mapping, got {node['source']!r}.", field="data.source")
    if "path" in node["source"] and node["path"] is None:
        raise UserError("give the file or folder of your data: data.path=...", field="data.path")
    with _named_by_dataset(node):
        source = instantiate(node["source"], "data")
    if not isinstance(source, Source):
        raise UserError(
            f"must return a Source of this program, but it is a {type(source).__name__}. A Dataset of torch goes to "
            "data=custom data.dataset._target_=...",
            field="data.source",
        )
    call_with_path(validate_data, "data", source)
    return source if node["scale"] is None else replace(source, scale=float(node["scale"]))


@contextmanager
def _named_by_dataset(node: Mapping[str, Any]) -> Iterator[None]:
    """Let errors about the files of a source that has no path name the user's `Dataset`."""
    try:
        yield
    except UserError as error:
        if error.field == "data.path" and "dataset" in node["source"]:
            raise UserError(error.message, field="data.dataset") from error
        raise


def load_data(node: Mapping[str, Any]) -> Splits:
    """Load, validate and split the data set that the `data` node describes."""
    source = load_source(node)
    data = call_with_path(
        split,
        "data",
        source,
        validation=validation.number("data.validation", node["validation"], above=0, below=1),
        test=validation.number("data.test", node["test"], above=0, below=1),
        seed=int(node["split_seed"]),
        limit=None if node["limit"] is None else int(node["limit"]),
    )
    with _named_by_dataset(node):
        data = call_with_path(settle, "data", data, cache=node.get("cache", "auto"))
    if node["scale"] is not None:  # which images with 16 bits have changed
        data = replace(data, scale=float(node["scale"]))
    call_with_path(validate_data, "data", data)
    return data


def _selected_stages(stages: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out stages that only a recipe has keys for: without an option of `stage` they have no `_target_`."""
    return {name: node for name, node in stages.items() if not isinstance(node, Mapping) or "_target_" in node}


def _check_stage_order(stages: Mapping[str, Stage]) -> None:
    """Raise `UserError` where a stage needs the result of another one that does not come before it."""
    names = list(stages)
    for index, (name, stage) in enumerate(stages.items()):
        call_with_path(stage.check_order, f"stages.{name}", names[:index])


def _build_checks(node: Mapping[str, Any]) -> CheckSuite:
    rules = {name: instantiate(rule, f"checks.rules.{name}") for name, rule in node["rules"].items()}
    for name, rule in rules.items():
        call_with_path(check_declarations, f"checks.rules.{name}", rule)
    return call_with_path(CheckSuite, "checks", fail_on=node["fail_on"], rules=rules)


def _layer_decay(node: Mapping[str, Any]) -> float | None:
    value = node.get("layer_decay")
    return None if value is None else validation.number("optimizer.layer_decay", value, above=0, at_most=1)


def _build_augmentation(node: Mapping[str, Any]) -> Augmentation:
    """Return the augmentation; a user's function of one image becomes one."""
    return call_with_path(as_augmentation, "augmentation", instantiate(node, "augmentation"))


def _build_optimizer_factory(node: Mapping[str, Any]) -> Any:
    """Return a function from parameters to an optimizer."""
    node = {key: value for key, value in node.items() if key != "layer_decay"}
    call_with_path(
        validate_optimizer_args, "optimizer", {key: value for key, value in node.items() if not key.startswith("_")}
    )
    factory = instantiate(node, "optimizer")
    if not node.get("_partial_"):
        raise UserError("needs _partial_: true, since it is called with the parameters later.", field="optimizer")
    if node.get("fused"):
        factory = without_fused_complex(factory)
    try:  # torch checks the arguments when an optimizer is built
        factory([nn.Parameter(torch.zeros(1))])
    except (TypeError, ValueError) as error:
        raise UserError(str(error), field="optimizer") from error
    return factory
