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

from pipeline.config.compose import compose_config
from pipeline.workflow.build import build_components, with_directory
from pipeline.workflow.components import Components
from pipeline.workflow.interrupt import InterruptHandler
from pipeline.workflow.runner import silence_library_warnings

CONF = Path(__file__).parents[1] / "conf"
SMALL = ("data=digits", "data.limit=200", "model=mlp", "model.width=16", "model.depth=1", "trainer=cpu")


@functools.cache
def _composed() -> DictConfig:
    return compose_config(SMALL)


@functools.cache
def _assembled(*overrides: str) -> Components:
    """As composed with `SMALL` and the overrides, but Hydra, which takes 0.4 s, composes once for all."""
    config: Any = copy.deepcopy(_composed())
    OmegaConf.set_struct(config, False)
    for override in overrides:
        key, _, value = override.partition("=")
        if (CONF / key).is_dir():
            config[key] = OmegaConf.load(CONF / key / f"{value}.yaml")
        else:
            config = OmegaConf.merge(config, OmegaConf.from_dotlist([override]))
    return build_components(config)


@pytest.fixture(autouse=True)
def _surroundings() -> Iterator[None]:
    """One thread, and the quiet in which a run has its stages."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with silence_library_warnings():
        yield
    torch.set_num_threads(threads)


@pytest.fixture
def parts_of(tmp_path: Path) -> Callable[..., Components]:
    """`parts_of("schedule=plateau", loss=...)`: 200 digits in 4 steps an epoch, a folder and a stopper of their own."""
    numbers = itertools.count()

    def make(*overrides: str, **changes: Any) -> Components:
        parts = _assembled(*overrides)
        own = {"stopper": InterruptHandler(), "preprocessing": copy.deepcopy(parts.preprocessing)}
        return with_directory(parts, tmp_path / f"run{next(numbers)}", **(own | changes))

    return make
