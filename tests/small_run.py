"""A small run for tests of stages: some of the embedded digits, a tiny network, a directory of its own."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from pipeline.config.compose import compose_config
from pipeline.workflow.build import build_components
from pipeline.workflow.components import Components, RunContext

ROOT = Path(__file__).resolve().parents[1]
CONF = ROOT / "conf"
SMALL = ("data=digits", "data.limit=200", "model=mlp", "model.width=16", "model.depth=1", "trainer=cpu")
CONTEXT_FIELDS = {field.name for field in dataclasses.fields(RunContext)}


class SmallRun(NamedTuple):
    """What a stage is called with: `stage(*small, earlier)`."""

    components: Components
    context: RunContext

    def replace(self, **changes: Any) -> SmallRun:
        """Return the run with fields of its components or its context changed."""
        context = {name: value for name, value in changes.items() if name in CONTEXT_FIELDS}
        components = {name: value for name, value in changes.items() if name not in CONTEXT_FIELDS}
        return SmallRun(
            dataclasses.replace(self.components, **components), dataclasses.replace(self.context, **context)
        )


MakeRun = Callable[..., SmallRun]
"""The type of the fixture `small_run`."""


def make_small_run(directory: Path, *overrides: str, **changes: Any) -> SmallRun:
    """Return 200 digits in 4 steps an epoch, with overrides and with fields replaced."""
    components = _build(*overrides)
    components = dataclasses.replace(components, preprocessing=copy.deepcopy(components.preprocessing))
    return SmallRun(components, RunContext(directory)).replace(**changes)


@functools.cache
def _compose() -> DictConfig:
    return compose_config(SMALL)


@functools.cache
def _build(*overrides: str) -> Components:
    """Build what `SMALL` and the overrides describe. Hydra, which takes 0.4 s, composes once for all tests."""
    config: Any = copy.deepcopy(_compose())
    OmegaConf.set_struct(config, False)
    for override in overrides:
        key, _, value = override.partition("=")
        if (CONF / key).is_dir():
            config[key] = OmegaConf.load(CONF / key / f"{value}.yaml")
        else:
            config = OmegaConf.merge(config, OmegaConf.from_dotlist([override]))
    return build_components(config)
