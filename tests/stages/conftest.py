"""Small parts for the stages: some of the embedded digits, a tiny network, a folder of their own."""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from pipeline.assemble import assemble, with_directory
from pipeline.menu.overrides import composed
from pipeline.parts import Parts
from pipeline.runner import quiet_libraries
from pipeline.stopping import Stopper

CONF = Path(__file__).parents[2] / "conf"
SMALL = ("data=digits", "data.limit=200", "model=mlp", "model.width=16", "model.depth=1", "trainer=cpu")


@functools.cache
def _composed() -> DictConfig:
    return composed(SMALL)


@functools.cache
def _assembled(*overrides: str) -> Parts:
    """As composed with `SMALL` and the overrides, but Hydra, which takes 0.4 s, composes once for all."""
    config: Any = copy.deepcopy(_composed())
    OmegaConf.set_struct(config, False)
    for override in overrides:
        key, _, value = override.partition("=")
        if (CONF / key).is_dir():
            config[key] = OmegaConf.load(CONF / key / f"{value}.yaml")
        else:
            config = OmegaConf.merge(config, OmegaConf.from_dotlist([override]))
    return assemble(config)


@pytest.fixture(autouse=True)
def _surroundings() -> Iterator[None]:
    """One thread, and the quiet in which a run has its stages."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with quiet_libraries():
        yield
    torch.set_num_threads(threads)


@pytest.fixture
def parts_of(tmp_path: Path) -> Callable[..., Parts]:
    """`parts_of("schedule=plateau", loss=...)`: 200 digits in 4 steps an epoch, a folder and a stopper of their own."""
    numbers = itertools.count()

    def make(*overrides: str, **changes: Any) -> Parts:
        parts = _assembled(*overrides)
        own = {"stopper": Stopper(), "preprocessing": copy.deepcopy(parts.preprocessing)}
        return with_directory(parts, tmp_path / f"run{next(numbers)}", **(own | changes))

    return make
