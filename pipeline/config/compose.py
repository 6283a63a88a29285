"""Compose the configuration that overrides describe, and refuse every mistake in them before torch is imported.

Every mistake is a `UserError` that names the closest existing option or key.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose as compose_with_hydra
from hydra import initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from pipeline.config import experiments
from pipeline.config.check_overrides import check_hydra_node, check_intervals, check_key, check_option, has_key
from pipeline.config.options import CONF
from pipeline.config.override_keys import effective_overrides
from pipeline.config.overrides import is_hydra_override, parse_overrides, with_first_value
from pipeline.config.retired import refuse_renamed_keys, refuse_renamed_option
from pipeline.errors import UserError, did_you_mean
from pipeline.runs.paths import new_run_id


@dataclass(frozen=True)
class Composition:
    """What Hydra composed."""

    config: DictConfig
    """The configuration of the run, without Hydra's node."""
    hydra: DictConfig
    """Hydra's own node."""
    loader: ConfigLoaderImpl

    def with_hydra(self) -> DictConfig:
        """Return the configuration with Hydra's node, as a job of Hydra receives it."""
        with open_dict(self.config):
            self.config.hydra = self.hydra
        return self.config


def compose_config(overrides: Sequence[str], *, config_dir: str | None = None) -> DictConfig:
    """Return the configuration that `overrides` describe.

    `config_dir` is a folder with more options, laid out as conf/ is. A key that is swept has its first value. Raises
    `UserError` for an option or a key that does not exist.
    """
    return compose(overrides, config_dir=config_dir).config


def compose(overrides: Sequence[str], *, config_dir: str | None = None) -> Composition:
    """Return the same as `compose_config`, with what a job of Hydra needs besides."""
    parsed = parse_overrides(effective_overrides(overrides))
    if config_dir and not Path(config_dir).is_dir():
        raise UserError(f"there is no folder {config_dir!r}.", field="--config-dir")
    register_resolvers()
    with _saved_hydra_state(), initialize_config_dir(str(CONF), version_base="1.3", job_name="pipeline"):
        loader: Any = GlobalHydra.instance().config_loader()
        if config_dir:
            loader.get_search_path().prepend("command-line", f"file://{Path(config_dir).resolve()}", "schema")
            loader.repository.initialize_sources(loader.get_search_path())
        group_names = [group for group in loader.list_groups("") if group != "hydra"]
        options = [o for o in parsed if o.key_or_group in group_names]
        values = [o for o in parsed if o not in options and not is_hydra_override(o)]
        for override in options:
            check_option(override, loader)
        try:
            config, hydra = _compose_options(options, [o for o in parsed if is_hydra_override(o)])
            _apply_values(config, values, options, loader)
        except MissingConfigException as error:  # an option named in an experiment file
            group, _, option = str(error.missing_cfg_file).rpartition("/")
            refuse_renamed_option(group, option)
            if error.options is None:
                raise UserError(str(error).strip()) from error
            available = [name for name in error.options if name != "base"]
            raise UserError(
                f"an experiment or another option asks for {option!r}, which is no option of {group}."
                f"{did_you_mean(option, available)} Options: {', '.join(available)}.",
                field=group,
            ) from error
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(str(error).strip()) from error
    typed = [o for o in parsed if not is_hydra_override(o)]
    hydra.overrides.task = [str(o.input_line) for o in typed]
    hydra.job.override_dirname = get_overrides_dirname(typed, **hydra.job.config.override_dirname)
    return Composition(config, hydra, loader)


def groups(config_dir: str | None = None) -> list[str]:
    """Return the names of all groups, including those of the folder `config_dir`."""
    folders = [CONF, *([Path(config_dir)] if config_dir and Path(config_dir).is_dir() else [])]
    return sorted({path.name for folder in folders for path in folder.iterdir() if path.is_dir()} - {"hydra"})


def register_resolvers() -> None:
    """Register the two functions that conf/ uses in interpolations.

    `${run_id:}` is the name of the run's directory, the same everywhere within one composition. `${times:a,b}` is a
    product; it is null if `a` is no number, which the owner of `a` reports.
    """
    OmegaConf.register_new_resolver("run_id", new_run_id, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("times", _multiply, replace=True)


def _multiply(a: Any, b: float) -> float | None:
    return a * b if isinstance(a, (int, float)) else None


@contextmanager
def _saved_hydra_state() -> Iterator[None]:
    """Restore Hydra's global state afterwards. Composing clears it, and a job around us may still need it."""
    state = GlobalHydra.instance()
    saved = state.hydra
    state.clear()
    try:
        yield
    finally:
        state.hydra = saved


def _compose_options(options: Sequence[Override], hydra_overrides: Sequence[Override]) -> tuple[DictConfig, DictConfig]:
    """Compose the options, without the values of keys; return the configuration and Hydra's node."""
    texts = [with_first_value(o) for o in options if not _selects_no_experiment(o)]
    texts += [str(o.input_line) for o in hydra_overrides]
    config = compose_with_hydra("config", texts, return_hydra_config=True)
    check_hydra_node(config.hydra)
    hydra = config.hydra
    with open_dict(config):
        del config["hydra"]
    refuse_renamed_keys(config)
    return config, hydra


def _apply_values(
    config: DictConfig, values: Sequence[Override], options: Sequence[Override], loader: ConfigLoaderImpl
) -> None:
    """Check the values of keys and put them into the composed configuration."""
    if config.search.rounds and any(o.is_sweep_override() for o in options):
        # a swept key may belong to another option than the first one: the search composes all of them
        values = [o for o in values if not o.is_sweep_override() or has_key(config, o.key_or_group)]
    for override in values:
        check_key(override, config, loader)
    check_intervals(values, config)
    # what Hydra's `compose` does with them; composing a second time would take 0.2 s
    ConfigLoaderImpl._apply_overrides_to_config(parse_overrides([with_first_value(o) for o in values]), config)


def _selects_no_experiment(override: Override) -> bool:
    return override.key_or_group == experiments.GROUP and (override.is_delete() or override.value() is None)
