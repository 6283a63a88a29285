"""The plan of a search, made from what was typed: the space, what all trials share, and where the search is kept."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from pipeline.config.compose import compose_config
from pipeline.config.override_keys import override_key
from pipeline.config.overrides import parse_overrides
from pipeline.config.to_dict import to_dict
from pipeline.runs.json_files import command_line, config_dir_flag, config_hash
from pipeline.search.records import Parameter, Round
from pipeline.search.settings import SearchSettings, read_settings
from pipeline.search.space.space import parse_space
from pipeline.search.space.trial_configs import TrialConfigs

JOURNAL = "journal.log"
"""The storage of a search, in its directory, unless `search.storage` names another."""
SEARCH_ONLY_KEYS = ("search", "hydra", "verbose", "outputs", "name", "resume")
"""Keys that say how or where the search runs, and nothing about a trial."""
MULTIRUN = "hydra.mode=MULTIRUN"
"""The override that Hydra makes of --multirun, which a search implies."""


@dataclasses.dataclass(frozen=True)
class SearchRequest:
    """A search as it was typed. It is stored in the study, so that a launcher's job needs nothing else."""

    typed: tuple[str, ...]
    """All overrides without sweeps, those of the search included."""
    sweeps: tuple[str, ...]
    config_dir: str | None
    directory: str = ""
    fingerprint: str = ""
    host: str = ""

    @property
    def base(self) -> tuple[str, ...]:
        """The overrides that all trials share."""
        return tuple(
            override for override in self.typed if _top_level_key(override_key(override)) not in SEARCH_ONLY_KEYS
        )

    def command(self, hydra: Sequence[str] = ()) -> str:
        """Return the command that starts or resumes the search; `hydra` are overrides of Hydra's own configuration."""
        hydra = [override for override in hydra if override != MULTIRUN]
        return command_line([*config_dir_flag(self.config_dir), *hydra, *self.typed, *self.sweeps])


@dataclasses.dataclass(frozen=True)
class SearchPlan:
    """Everything that a process needs to work on a search."""

    request: SearchRequest
    settings: SearchSettings
    trial_configs: TrialConfigs
    first_round: Round
    study_name: str
    command: str
    """The command that starts or resumes the search."""

    @property
    def directory(self) -> Path:
        return Path(self.request.directory)

    @property
    def storage_address(self) -> str:
        """The path of the journal file, or the URL of the database."""
        return self.settings.storage or str(self.directory / JOURNAL)


def request_from_dict(stored: Mapping[str, Any]) -> SearchRequest:
    """Return the request as it was stored; JSON turned its tuples into lists."""
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in stored.items()}
    return SearchRequest(**fields)


def make_plan(config: DictConfig, arguments: Sequence[str]) -> SearchPlan:
    """Plan the search of the overrides `arguments`. Raise `UserError` for any mistake in them."""
    settings = read_settings(to_dict(config.search))
    overrides = parse_overrides(arguments)
    if not any(o.is_sweep_override() for o in overrides):
        overrides += parse_overrides(settings.space)
    space = parse_space(overrides)
    config_dirs = [s.path for s in config.hydra.runtime.config_sources if s.provider == "command-line"]
    request = SearchRequest(
        typed=tuple(str(o.input_line) for o in overrides if not o.is_sweep_override()),
        sweeps=tuple(str(o.input_line) for o in overrides if o.is_sweep_override()),
        config_dir=next(iter(config_dirs), None),
    )
    trial_configs = TrialConfigs(request.base, space, config_dir=request.config_dir)
    fingerprint = _fingerprint(trial_configs, space, settings)  # raises errors of the configuration without a trial
    trial_configs.validate()
    trial_configs.refuse_unused_options()
    directory = Path(str(config.outputs)) / str(config.name) / f"search_{fingerprint}"
    request = dataclasses.replace(request, fingerprint=fingerprint, directory=str(directory.resolve()))
    return SearchPlan(
        request=request,
        settings=settings,
        trial_configs=trial_configs,
        first_round=Round(settings.rounds[0].name, space, settings.rounds[0].trials, settings.rounds[0].epochs),
        study_name=settings.study or f"{config.name}-{fingerprint}",
        command=request.command(config.hydra.overrides.hydra),
    )


def restore_plan(request: SearchRequest, first_round: Round, *, storage: str, study_name: str) -> SearchPlan:
    """Return the plan of a search that another process has begun, from what it stored."""
    config = compose_config(request.typed, config_dir=request.config_dir)
    settings = dataclasses.replace(read_settings(to_dict(config.search)), storage=storage, study=study_name)
    space = parse_space(parse_overrides(request.sweeps))
    return SearchPlan(
        request=request,
        settings=settings,
        trial_configs=TrialConfigs(request.base, space, config_dir=request.config_dir),
        first_round=first_round,
        study_name=study_name,
        command=request.command(),
    )


def _fingerprint(trial_configs: TrialConfigs, space: Sequence[Parameter], settings: SearchSettings) -> str:
    """Return ten hexadecimal digits that differ between searches with different trials."""
    base_hash = config_hash(to_dict(trial_configs.base_config))
    content = [base_hash, [dataclasses.asdict(p) for p in space], settings.fingerprint_fields()]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:10]


def _top_level_key(key: str) -> str:
    return key.split(".")[0].split("/")[0]
