"""What was typed on the command line, checked against the menu before anything heavy is imported.

Hydra lists the options of a mistyped group, but lets a mistyped key through behind `+`, has no suggestions, and ends
with exit code 1. Here every mistake is a `UserError` that names the nearest right word.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose as compose_with_hydra
from hydra import initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from pipeline.config import experiments
from pipeline.config.options import CONF
from pipeline.errors import UserError, did_you_mean
from pipeline.runs.paths import new_run_id

NODES_WITH_EXTRA_ARGS = (
    "activation",
    "model",
    "optimizer",
    "loss",
    "schedule.scheduler",
    "loss.function",
    "init.weight",
)
"""Nodes whose target takes more arguments than the menu lists: `+optimizer.maximize=true`. Their names are checked
against the target's signature when it is called."""


def register_resolvers() -> None:
    """`${run_id:}`: the folder of this run, the same wherever it is asked for within one composition.

    `${times:a,b}`: a product; null where a is no number, which whoever owns `a` will say.
    """
    OmegaConf.register_new_resolver("run_id", new_run_id, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("times", _product, replace=True)


@dataclass(frozen=True)
class Composition:
    """What Hydra has made of overrides."""

    config: DictConfig
    hydra: DictConfig
    """Its own node, which `config` has not."""
    loader: ConfigLoaderImpl

    def with_hydra(self) -> DictConfig:
        """The configuration with Hydra's node, as a job of Hydra gets it."""
        with open_dict(self.config):
            self.config.hydra = self.hydra
        return self.config


def compose_config(overrides: Sequence[str], *, config_dir: str | None = None) -> DictConfig:
    """The whole configuration that `overrides` describe; raises `UserError` for whatever is not on the menu."""
    return compose(overrides, config_dir=config_dir).config


def compose(overrides: Sequence[str], *, config_dir: str | None = None) -> Composition:
    """The same, with all that a job of Hydra needs."""
    parsed = _parse(effective_overrides(overrides))
    if config_dir and not Path(config_dir).is_dir():
        raise UserError(f"there is no folder {config_dir!r}.", field="--config-dir")
    register_resolvers()
    with _hydra_kept(), initialize_config_dir(str(CONF), version_base="1.3", job_name="pipeline"):
        loader: Any = GlobalHydra.instance().config_loader()
        if config_dir:
            loader.get_search_path().prepend("command-line", f"file://{Path(config_dir).resolve()}", "schema")
            loader.repository.initialize_sources(loader.get_search_path())
        menu = [g for g in loader.list_groups("") if g != "hydra"]
        stages, logs = (loader.get_group_options(g, results_filter=ObjectType.CONFIG) for g in ("stage", "logger"))
        chosen = [o for o in parsed if o.key_or_group in menu]
        for override in chosen:
            _check_group(override, loader)
        hydras = [o for o in parsed if _is_hydra(o)]
        values = [o for o in parsed if o not in chosen and o not in hydras]
        words = [_first(o) for o in chosen if not _no_experiment(o)]
        try:
            whole = compose_with_hydra(
                "config", [*words, *(str(o.input_line) for o in hydras)], return_hydra_config=True
            )
            _check_hydra(whole)
            hydra = whole.hydra
            with open_dict(whole):
                del whole["hydra"]
            if whole.search.rounds and any(o.is_sweep_override() for o in chosen):
                # of another option than the first: the search looks at all of them
                values = [o for o in values if not o.is_sweep_override() or has_key(whole, o.key_or_group)]
            for override in values:
                _check_key(override, whole, menu, stages, logs)
            _check_sampled(values, whole)
            # as `compose` would do with them; to compose a second time takes 0.2 s
            ConfigLoaderImpl._apply_overrides_to_config(_parse([_first(o) for o in values]), whole)
            typed = [o for o in parsed if o not in hydras]
            hydra.overrides.task = [str(o.input_line) for o in typed]
            hydra.job.override_dirname = get_overrides_dirname(typed, **hydra.job.config.override_dirname)
            return Composition(whole, hydra, loader)
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(str(error).strip()) from error


@contextmanager
def _hydra_kept() -> Iterator[None]:
    """Composing clears Hydra's global state, which a job around us still needs."""
    state = GlobalHydra.instance()
    before = state.hydra
    state.clear()
    try:
        yield
    finally:
        state.hydra = before


def effective_overrides(overrides: Sequence[str]) -> list[str]:
    """`overrides` without those that a later word on the same key has made void, with all below it.

    So a remedy can be appended to any command: in `init=small_gaussian init.weight.std=0 init=he` the first two say
    nothing about he.
    """
    keys = [text.lstrip("+~").partition("=")[0].partition("@")[0] for text in overrides]
    last = {key: place for place, key in enumerate(keys) if keys.count(key) > 1}

    def void(place: int) -> bool:
        return any(place < again and f"{keys[place]}.".startswith(f"{key}.") for key, again in last.items())

    return [text for place, text in enumerate(overrides) if not void(place)]


def groups(config_dir: str | None = None) -> list[str]:
    """The groups of the menu."""
    folders = [CONF, *([Path(config_dir)] if config_dir and Path(config_dir).is_dir() else [])]
    return sorted({path.name for folder in folders for path in folder.iterdir() if path.is_dir()} - {"hydra"})


def _product(a: Any, b: float) -> float | None:
    return a * b if isinstance(a, (int, float)) else None


def swept_keys(overrides: Sequence[str]) -> list[str]:
    """Keys that take several values in a multirun."""
    return [o.key_or_group for o in _parse(effective_overrides(overrides)) if o.is_sweep_override()]


def _parse(overrides: Sequence[str]) -> list[Override]:
    parser = OverridesParser.create()
    parsed = []
    for text in overrides:
        if "=" not in text and not text.startswith("~"):
            raise UserError(f"{text!r} is neither an option (--help lists them) nor of the form key=value.")
        try:
            override = parser.parse_override(text)
        except HydraException as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"cannot read {text!r}: {reason}. Quote values with spaces or symbols.") from error
        if not override.key_or_group:
            raise UserError(f"cannot read {text!r}: there is no key before '='.")
        if override.package is not None:
            raise UserError("a package cannot be chosen; leave '@...' out.", field=override.key_or_group)
        parsed.append(override)
    return parsed


def _options(override: Override) -> Iterable[str]:
    """Every option that a group override names: one, a list, or each choice of a sweep."""
    try:
        values: Iterable[Any] = override.sweep_iterator() if override.is_sweep_override() else [override.value()]
        for value in values:
            for one in value if isinstance(value, list) else [value]:
                yield one.text if isinstance(one, QuotedString) else str(one)
    except HydraException as error:
        raise UserError(
            f"{override.input_line!r} cannot be swept here: {error}", field=override.key_or_group
        ) from error


def _is_hydra(override: Override) -> bool:
    return override.key_or_group == "hydra" or override.key_or_group.startswith(("hydra.", "hydra/"))


def _no_experiment(override: Override) -> bool:
    return override.key_or_group == "experiment" and (override.is_delete() or override.value() is None)


def _check_hydra(config: DictConfig) -> None:
    """Hydra would call and set these before the run looks at anything, around the list of what may be called."""
    node = config.hydra
    for key, there in [("hydra.callbacks", node.callbacks), ("hydra.job.env_set", node.job.env_set)]:
        if there:
            raise UserError("not in a configuration; set variables in your shell.", field=key)
    for name in ("launcher", "sweeper"):
        target = str(node[name]["_target_"])
        if not target.startswith(("hydra._internal.core_plugins.", "hydra_plugins.")):
            raise UserError(f"{target!r} is no plugin of Hydra.", field=f"hydra.{name}._target_")


def _check_group(override: Override, loader: Any) -> None:
    group = override.key_or_group
    if override.is_delete() or override.value() is None:
        if group != "experiment":
            raise UserError("an option must stay chosen; 'none' is one where none is meant.", field=group)
        return
    available = loader.get_group_options(group, results_filter=ObjectType.CONFIG)
    available = [option for option in available if option != "base"]
    options = list(_options(override))
    if not options:
        raise UserError(f"at least one is needed. Options: {', '.join(available)}.", field=group)
    for option in options:
        if group == experiments.GROUP and experiments.is_path(option):
            experiments.register_experiment_file(option)
        elif option not in available:
            meant = did_you_mean(option, available)
            raise UserError(f"there is no option {option!r}.{meant} Options: {', '.join(available)}.", field=group)


def _check_key(
    override: Override, config: DictConfig, groups: Sequence[str], stages: Sequence[str], logs: Sequence[str]
) -> None:
    key = override.key_or_group
    if override.is_delete():
        raise UserError("keys cannot be removed; give it another value.", field=key)
    if OmegaConf.select(config, key, throw_on_missing=False, default=_ABSENT) is not _ABSENT or has_key(config, key):
        if override.is_add() and not override.is_force_add():
            raise UserError(f"exists already; without '+': {key}={override.get_value_element_as_str()}", field=key)
        return
    parent = key.rpartition(".")[0]
    node = OmegaConf.select(config, parent) if parent else None
    if (
        parent in NODES_WITH_EXTRA_ARGS
        and isinstance(node, DictConfig)
        and (override.is_add() or override.is_force_add())
    ):
        return
    if key.startswith("stages.") and (stage := key.split(".")[1]) in stages and stage not in config.stages:
        chosen = ",".join(str(name) for name in config.stages)
        raise UserError(f"the stage {stage!r} is not chosen: stage=[{chosen}]. Add it, or leave this out.", field=key)
    if key.startswith("logger.") and (log := key.split(".")[1]) in logs and log not in config.logger:
        raise UserError(f"the log {log!r} is not chosen. Add logger={log}, or leave this out.", field=key)
    keys = [*_dotted(config), *groups]
    meant = did_you_mean(key, keys)
    more = ""
    if parent in NODES_WITH_EXTRA_ARGS and isinstance(node, DictConfig):
        more = f" To pass an argument that the menu does not list: +{key}=..."
    elif isinstance(node, DictConfig):
        more = f" {parent} has: {', '.join(str(k) for k in node if not str(k).startswith('_'))}."
    elif not meant:
        more = " All keys: python -m pipeline --cfg job."
    raise UserError(f"there is no such key.{meant}{more}", field=key)


def _check_sampled(overrides: Sequence[Override], config: DictConfig) -> None:
    """Ranges without steps have no list of values: they are for a search, which samples."""
    for override in overrides:
        if not config.search.rounds and isinstance(override.value(), IntervalSweep):
            raise UserError(
                f"{override.input_line!r} has no list of values to go through: add search=coarse, which samples it.",
                field=override.key_or_group,
            )


_ABSENT = object()


def has_key(config: DictConfig, key: str) -> bool:
    """Whether the key stands in the configuration, be its value null or missing (`???`)."""
    parent, _, last = key.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    return isinstance(node, DictConfig) and last in node.keys()  # noqa: SIM118 - `in node` is false for a missing value


def _dotted(config: DictConfig) -> list[str]:
    """Every key that can be typed, in dotted form."""

    def walk(node: Any, path: str) -> Iterable[str]:
        for key in node:
            here = f"{path}.{key}" if path else str(key)
            if str(key).startswith("_"):
                continue
            yield here
            if not OmegaConf.is_missing(node, key) and isinstance(node._get_node(key), DictConfig):
                yield from walk(node[key], here)

    return list(walk(config, ""))


def _first(override: Override) -> str:
    """The override itself, or with the first value of its sweep: enough to see whether it composes."""
    if not override.is_sweep_override():
        return str(override.input_line)
    sign = "++" if override.is_force_add() else "+" if override.is_add() else ""
    try:
        if isinstance(sweep := override.value(), IntervalSweep):
            return f"{sign}{override.key_or_group}={sweep.start}"
        while isinstance(sweep, ChoiceSweep) and sweep.list and isinstance(sweep.list[0], ChoiceSweep):
            sweep = override._value = sweep.list[0]  # choices among choices, which Hydra reads and cannot go through
        value = next(iter(override.sweep_string_iterator()))
    except Exception as error:  # Hydra cannot enumerate an interval; a sweeper that samples can
        raise UserError(
            f"{override.input_line!r} cannot be swept here: {error}", field=override.key_or_group
        ) from error
    return f"{sign}{override.key_or_group}={value}"
