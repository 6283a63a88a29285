"""What is searched, from what was typed: the space, what all trials share, and the name and folder that follow."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from pipeline.config.plain import to_dict
from pipeline.runs.json_files import command_line, config_dir_flag, config_hash
from pipeline.search.records import Parameter
from pipeline.search.settings import SearchSettings
from pipeline.search.space.space import parameters
from pipeline.search.space.trial_configs import TrialConfigs

SEARCH_ONLY_KEYS = ("search", "hydra", "verbose", "outputs", "name", "resume")
"""Keys that say how the search is run, or where, and nothing about a trial."""
MULTIRUN = "hydra.mode=MULTIRUN"
"""What Hydra makes of --multirun, which a search implies."""


@dataclasses.dataclass(frozen=True)
class SearchPlan:
    """Everything that a process needs to work on a search; kept in the storage, so that jobs need nothing else."""

    typed: tuple[str, ...]
    """All overrides but the sweeps, those of the search included."""
    sweeps: tuple[str, ...]
    config_dir: str | None
    directory: str = ""
    fingerprint: str = ""
    host: str = ""

    @property
    def base(self) -> tuple[str, ...]:
        """What all trials share."""
        return tuple(word for word in self.typed if _key(word).split(".")[0].split("/")[0] not in SEARCH_ONLY_KEYS)

    def command(self, hydra: Sequence[str] = ()) -> str:
        """That starts the search again, or goes on; `hydra`: overrides of Hydra's own configuration."""
        own = [word for word in hydra if word != MULTIRUN]
        return command_line([*config_dir_flag(self.config_dir), *own, *self.typed, *self.sweeps])


def plan_from_dict(noted: Mapping[str, Any]) -> SearchPlan:
    """As it was kept in the storage, where tuples are lists."""
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in noted.items()}
    return SearchPlan(**fields)


def make_plan(
    config: DictConfig, arguments: Sequence[str], settings: SearchSettings
) -> tuple[SearchPlan, TrialConfigs, tuple[Parameter, ...]]:
    """What is searched; every mistake in it is a `UserError`."""
    words = parse_overrides(arguments)
    if not any(o.is_sweep_override() for o in words):
        words += parse_overrides(settings.space)
    space = parameters(words)
    typed = tuple(str(o.input_line) for o in words if not o.is_sweep_override())
    sweeps = tuple(str(o.input_line) for o in words if o.is_sweep_override())
    folders = [s.path for s in config.hydra.runtime.config_sources if s.provider == "command-line"]
    plan = SearchPlan(typed, sweeps, next(iter(folders), None))
    configurations = TrialConfigs(plan.base, space, config_dir=plan.config_dir)
    neutral = configurations.base_config
    configurations.validate()
    decisive = [config_hash(to_dict(neutral)), [dataclasses.asdict(p) for p in space], settings.fingerprint_fields()]
    fingerprint = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:10]
    directory = Path(str(config.outputs)) / str(config.name) / f"search_{fingerprint}"
    return dataclasses.replace(plan, fingerprint=fingerprint, directory=str(directory.resolve())), configurations, space


def parse_overrides(words: Sequence[str]) -> list[Override]:
    return OverridesParser.create().parse_overrides(list(words))


def _key(word: str) -> str:
    return word.lstrip("+~").partition("=")[0]
