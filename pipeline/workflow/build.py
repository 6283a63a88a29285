"""From a composed configuration to `Parts`. Below this file nobody knows Hydra."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from torch import nn

from pipeline import validation
from pipeline.checks import CheckSuite
from pipeline.config.instantiate import call_with_path, import_allowed, instantiate
from pipeline.config.plain import to_dict
from pipeline.data import Images, Preprocessing, Splits, split, validate_data
from pipeline.data.splits import stratified_head
from pipeline.errors import UserError
from pipeline.model import HiddenBlock, Init, build_user_model, initialize
from pipeline.runs.paths import check_name
from pipeline.training.batch_size import AUTO, BatchSizeRule
from pipeline.training.compile import check_compiler
from pipeline.training.optimizer_args import validate_optimizer_args
from pipeline.workflow.components import Components, DeviceConfig

PROBE_EXAMPLES = 256
"""Training examples for inits that look at data."""


def build_components(config: DictConfig) -> Components:
    """Build and validate everything: the cheap things first, then the data, then what depends on the data.

    Raises `UserError` with the field as the user typed it.
    """
    return build_from_dict(to_dict(config))


class BuildCache:
    """What later parts of the same process may use again: data, and what was fitted to them. Of each kind the two that
    were used last stay in memory."""

    def __init__(self) -> None:
        self._values: dict[str, dict[str, Any]] = {}

    def get_or_build(self, kind: str, nodes: Any, make: Callable[[], Any]) -> Any:
        """What `make` gave for the same `nodes` of the configuration."""
        key = json.dumps(nodes, sort_keys=True, default=str)
        values = self._values.setdefault(kind, {})
        value = values.pop(key) if key in values else make()
        values[key] = value  # the latest comes last
        while len(values) > 2:
            del values[next(iter(values))]
        return value


def build_from_dict(plain: dict[str, Any], *, kept: BuildCache | None = None) -> Components:
    """The same from dictionaries, lists, numbers and words: equal ones give equal parts, in any process. What `kept`
    holds already is not made again."""
    kept = kept or BuildCache()
    check_name(plain["name"])
    seed = validation.integer("seed", plain["seed"], at_least=0, at_most=2**63 - 1)
    validation.integer("verbose", plain["verbose"], at_least=0, at_most=2)
    nodes = {"stages": plain["stages"], "checks.rules": plain["checks"]["rules"], "logger": plain["logger"]}
    for key, node in nodes.items():
        if not isinstance(node, Mapping):
            raise UserError(f"{node!r} stands where a whole node belongs.", field=key)
    if not isinstance(plain["tags"], list):
        raise UserError(f"{plain['tags']!r} is not a list of words such as [a, b].", field="tags")
    plain["stages"] = _selected_stages(plain["stages"])
    engine = call_with_path(DeviceConfig, "trainer", **plain["trainer"])
    compile_ = validation.boolean("compile", plain["compile"])
    if compile_ and "train" in plain["stages"]:
        check_compiler(engine.device)
    checks = kept.get_or_build("checks", plain["checks"], lambda: _checks(plain["checks"]))
    recording = None if plain["signals"].get("enabled") is False else instantiate(plain["signals"], "signals")
    stages = {name: instantiate(node, f"stages.{name}") for name, node in plain["stages"].items()}
    loggers = {name: instantiate(node, f"logger.{name}") for name, node in plain["logger"].items()}
    optimizer = _optimizer(plain["optimizer"])
    schedule = instantiate(plain["schedule"], "schedule")
    call_with_path(schedule.validate_with, "schedule", optimizer)
    _check_stage_order(stages)
    loss = instantiate(plain["loss"], "loss")
    init = None if plain["init"].get("model_default") else instantiate(plain["init"], "init")
    block = _build_hidden_block(plain)
    l2 = validation.number("regularization.l2", plain["regularization"]["l2"], at_least=0)
    images = {key: value for key, value in plain["data"].items() if key != "batch_size"}
    data = kept.get_or_build("data", images, functools.partial(load_data, plain["data"]))
    batching = BatchSizeRule(len(data.train), engine, normalized=block.batchnorm.position != "none")
    if (asked := plain["data"]["batch_size"]) != AUTO:
        batching.validate(asked)
    _check_examples(plain["stages"], len(data.train))
    preprocessing = kept.get_or_build(
        "preprocessing",
        (images, plain["preprocessing"]),
        lambda: call_with_path(
            instantiate(plain["preprocessing"], "preprocessing"), "preprocessing", data.train.pixels, scale=data.scale
        ),
    )
    probe_examples = min(PROBE_EXAMPLES, len(data.train))
    probe = kept.get_or_build("probe", images, lambda: stratified_head(data.train, len(data.classes), probe_examples))
    network = make_network_factory(
        plain["model"], block=block, init=init, seed=seed, preprocessing=preprocessing, classes=len(data.classes),
        probe=probe,
    )  # fmt: skip
    # without `regularization`, which changes from trial to trial and no network's layout
    layout = [images, *(plain[key] for key in ("preprocessing", "model", "activation", "batchnorm", "init", "seed"))]
    channels_last = kept.get_or_build("layout", layout, lambda: bool(getattr(network(), "channels_last", False)))
    channels_last = engine.channels_last and channels_last
    if asked == AUTO:
        plain["data"] = plain["data"] | {
            "batch_size": batching.find_largest(network(), preprocessing, loss, data.train, channels_last=channels_last)
        }
    return Components(
        name=str(plain["name"]),
        seed=seed,
        data=data,
        batch_size=plain["data"]["batch_size"],
        preprocessing=preprocessing,
        augmentation=instantiate(plain["augmentation"], "augmentation"),
        make_network=network,
        channels_last=channels_last,
        loss=loss,
        make_optimizer=optimizer,
        lr=float(plain["optimizer"].get("lr", math.nan)),
        schedule=schedule,
        l2=l2,
        recompute_batchnorm=validation.boolean("batchnorm.recompute", plain["batchnorm"]["recompute"]),
        compile=compile_,
        checks=checks,
        recorder_config=recording,
        device_config=engine,
        stages=stages,
        loggers=loggers,
        config=plain,
        save_images=validation.boolean("report", plain["report"]),
    )


def load_data(node: Mapping[str, Any]) -> Splits:
    """Load, inspect and split the data set that the `data` node describes."""
    if node["limit"] is not None:
        validation.integer("data.limit", node["limit"], at_least=2)
    if node["scale"] is not None:
        validation.number("data.scale", node["scale"], above=0)
    validation.integer("data.split_seed", node["split_seed"], at_least=0, at_most=2**63 - 1)
    if not isinstance(node["source"], Mapping):
        raise UserError(f"{node['source']!r} stands where a whole node belongs.", field="data.source")
    if "path" in node["source"] and node["path"] is None:
        raise UserError("give the file or folder of your data: data.path=...", field="data.path")
    source = instantiate(node["source"], "data")
    call_with_path(validate_data, "data", source)
    if node["scale"] is not None:
        source = replace(source, scale=float(node["scale"]))
    data = call_with_path(
        split,
        "data",
        source,
        validation=validation.number("data.validation", node["validation"], above=0, below=1),
        test=validation.number("data.test", node["test"], above=0, below=1),
        seed=int(node["split_seed"]),
        limit=None if node["limit"] is None else int(node["limit"]),
    )
    call_with_path(validate_data, "data", data)
    return data


def make_network_factory(
    node: Mapping[str, Any],
    *,
    block: HiddenBlock,
    init: Init | None,
    seed: int,
    preprocessing: Preprocessing,
    classes: int,
    probe: Images | None,
) -> Callable[..., nn.Module]:
    """A function that gives a fresh network with the same initial bits at each call; with others for another seed."""
    target = import_allowed(node.get("_target_"), "model._target_")
    shape = preprocessing.output_shape
    ours = getattr(target, "__module__", "").startswith("pipeline.")
    arguments = {key: value for key, value in node.items() if key not in ("_target_", "_partial_")}
    make: Callable[[], nn.Module]
    if ours:
        make = functools.partial(instantiate(node, "model"), shape, classes, block)
    else:
        make = functools.partial(build_user_model, target, shape, classes, block, **arguments)

    def network(seed: int = seed) -> nn.Module:
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # for what a network draws by itself
            fresh = call_with_path(make, "model")
        if init is not None:
            pixels = preprocessing.on("cpu")(probe.pixels) if probe is not None else None
            output = getattr(fresh, "output", None)
            call_with_path(
                initialize, "init", fresh, init, activation=block.activation, output=output, seed=seed, probe=pixels
            )
        return fresh

    return network


def uninitialized_network(plain: Mapping[str, Any], *, preprocessing: Preprocessing, classes: int) -> nn.Module:
    """The configuration's network, to be filled from a checkpoint; needs no data."""
    factory = make_network_factory(
        plain["model"],
        block=_build_hidden_block(plain),
        init=None,
        seed=0,
        preprocessing=preprocessing,
        classes=classes,
        probe=None,
    )
    return factory()


def _selected_stages(stages: Mapping[str, Any]) -> dict[str, Any]:
    """Without keys that a recipe sets for a stage which this run leaves out: no option of `stage` came with them."""
    return {name: node for name, node in stages.items() if not isinstance(node, Mapping) or "_target_" in node}


def _checks(node: Mapping[str, Any]) -> CheckSuite:
    rules = {name: instantiate(rule, f"checks.rules.{name}") for name, rule in node["rules"].items()}
    return call_with_path(CheckSuite, "checks", fail_on=node["fail_on"], rules=rules)


def _build_hidden_block(plain: Mapping[str, Any]) -> HiddenBlock:
    activation = instantiate(plain["activation"], "activation")
    if not isinstance(activation, functools.partial):
        raise UserError("needs _partial_: true, since every layer gets its own.", field="activation")
    call_with_path(activation, "activation")
    batchnorm = {key: value for key, value in plain["batchnorm"].items() if key != "recompute"}
    dropout = plain["regularization"]["dropout"]
    try:
        return HiddenBlock(activation=activation, batchnorm=instantiate(batchnorm, "batchnorm"), dropout=dropout)
    except UserError as error:
        raise (error.with_prefix("regularization") if error.field == "dropout" else error) from error


def _optimizer(node: Mapping[str, Any]) -> Any:
    call_with_path(
        validate_optimizer_args, "optimizer", {key: value for key, value in node.items() if not key.startswith("_")}
    )
    factory = instantiate(node, "optimizer")
    if not node.get("_partial_"):
        raise UserError("needs _partial_: true, since it is called with the parameters later.", field="optimizer")
    try:  # torch checks what it is given when built
        factory([nn.Parameter(_scalar())])
    except (TypeError, ValueError) as error:
        raise UserError(str(error), field="optimizer") from error
    return factory


def _scalar() -> Any:
    import torch

    return torch.zeros(1)


def _check_examples(stages: Mapping[str, Any], n: int) -> None:
    if "overfit" in stages:
        hint = f"The training split has {n} examples."
        validation.integer("stages.overfit.examples", stages["overfit"]["examples"], at_least=2, at_most=n, hint=hint)


def _check_stage_order(stages: Mapping[str, Any]) -> None:
    """Refuse a stage that takes what no stage before it leaves."""
    evaluate, ensemble, names = stages.get("evaluate"), stages.get("ensemble"), list(stages)

    def before(stage: str, other: str) -> bool:
        return other in names and names.index(other) < names.index(stage)

    if evaluate and evaluate.checkpoint in ("best", "last") and not before("evaluate", "train"):
        raise UserError(
            f"no training comes before, so there is no {evaluate.checkpoint!r} checkpoint; give a path, such as "
            "outputs/latest/checkpoints/best.ckpt.",
            field="stages.evaluate.checkpoint",
        )
    if evaluate and evaluate.checkpoint == "ensemble" and not before("evaluate", "ensemble"):
        raise UserError(
            "no ensemble comes before: stage=[train,ensemble,evaluate].", field="stages.evaluate.checkpoint"
        )
    if ensemble and not ensemble.checkpoints and not before("ensemble", "train"):
        raise UserError(
            "no training comes before: stage=[train,ensemble], or give the folders of trained runs here.",
            field="stages.ensemble.checkpoints",
        )


def with_directory(parts: Components, directory: Path, **changes: Any) -> Components:
    return replace(parts, directory=directory, **changes)
