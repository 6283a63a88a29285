"""Every activation with every init, preprocessing, loss and what else a training is made of, on a simulated GPU.

The fast tests cover each pair of options of two groups at least once, the slow one each activation with each init,
preprocessing and loss.
"""

from __future__ import annotations

import copy
import functools
import itertools
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from pipeline.config.compose import compose_config
from pipeline.config.to_dict import to_dict
from pipeline.workflow.build import BuildCache, build_from_dict
from pipeline.workflow.components import RunContext
from tests.simulated_device import SimulatedModule

CONF = Path(__file__).parents[2] / "conf"
CHOSEN_BY_USER = {"custom", "torchvision", "timm"}
OTHER_LABELS = {"bce", "regression"}  # losses of labels that the digits do not have
CORE = ("activation", "init", "preprocessing", "loss")
OTHERS = ("augmentation", "batchnorm", "model", "optimizer", "regularization", "schedule")
GROUPS = {
    group: sorted({file.stem for file in (CONF / group).glob("*.yaml")} - CHOSEN_BY_USER - OTHER_LABELS)
    for group in (*CORE, *OTHERS)
}
SMALL = (
    "data=digits", "model.width=4", "model.depth=1", "data.limit=50", "data.batch_size=16", "model=mlp",
    "stage=train", "stages.train.epochs=1", "trainer=gpu", "trainer.precision=32-true",
)  # fmt: skip
Row = Mapping[str, str]


def pairs(row: Row) -> set[tuple[tuple[str, str], tuple[str, str]]]:
    return set(itertools.combinations(sorted(row.items()), 2))


@functools.cache
def pairwise_rows() -> list[Row]:
    """Return rows that have each pair of options of two groups: of random rows, always that with most new pairs."""
    draws = random.Random(0)
    missing = {
        ((group, option), (other, choice))
        for group, other in itertools.combinations(sorted(GROUPS), 2)
        for option in GROUPS[group]
        for choice in GROUPS[other]
    }
    rows: list[Row] = []
    while missing:
        fixed = dict(min(missing))
        candidates = [{group: draws.choice(options) for group, options in GROUPS.items()} | fixed for _ in range(50)]
        rows.append(max(candidates, key=lambda row: len(pairs(row) & missing)))
        missing -= pairs(rows[-1])
    return rows


@functools.cache
def base_config() -> DictConfig:
    config = compose_config(SMALL)
    OmegaConf.set_struct(config, False)
    return config


@functools.cache
def node(group: str, option: str) -> Any:
    """Return the keys of an option, with a small network where they describe one. Hydra would take 0.4 s for each."""
    config = copy.deepcopy(base_config())
    config[group] = OmegaConf.load(CONF / group / f"{option}.yaml")
    if group == "model":
        config.model.width, config.model.depth = 4, 1
    return to_dict(config)[group]


def errors(rows: Iterable[Row]) -> list[str]:
    """Train with each row for some steps, and return the errors. A loss that explodes is none."""
    config, cache, found = to_dict(base_config()), BuildCache(), []
    for row in rows:
        try:
            components = build_from_dict(config | {name: node(name, value) for name, value in row.items()}, cache=cache)
            components.stages["train"](components, RunContext(is_trial=True), ())
        except Exception as error:  # noqa: BLE001 - the row is part of the message
            found.append(f"{' '.join(f'{group}={option}' for group, option in row.items())}: {error!r}")
    return found


@pytest.mark.parametrize("activation", GROUPS["activation"])
def test_pairs(activation: str, simulated_gpu: SimulatedModule) -> None:
    assert errors(row for row in pairwise_rows() if row["activation"] == activation) == []
    assert simulated_gpu.calls["addmm"] > 0


def test_every_pair_is_covered() -> None:
    assert len(GROUPS["activation"]) >= 10
    assert "lsuv" in GROUPS["init"]
    covered = set().union(*map(pairs, pairwise_rows()))
    sizes = [len(options) for options in GROUPS.values()]
    assert len(covered) == sum(one * other for one, other in itertools.combinations(sizes, 2))


@pytest.mark.slow
@pytest.mark.parametrize("activation", GROUPS["activation"])
def test_all(activation: str) -> None:
    combinations = itertools.product(*(GROUPS[group] for group in CORE if group != "activation"))
    rows = [{"activation": activation, **dict(zip(CORE[1:], options, strict=True))} for options in combinations]
    assert errors(rows) == []
