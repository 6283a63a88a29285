"""Experiment files: YAML files that change many defaults at once.

Those of conf/experiment/ are chosen by name (`experiment=five_seeds`), any other file of the same kind by its path
(`experiment=path/to/file.yaml`), such as the best.yaml of a search.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from pipeline.errors import UserError

GROUP = "experiment"
NESTED_PREFIX = f"/{GROUP}/"
"""How an experiment file names another one in its defaults."""


def is_path(option: str) -> bool:
    """Return whether an option of `experiment` is the path of a file, and not a name."""
    return option.endswith((".yaml", ".yml")) or "/" in option


def register_experiment_file(option: str) -> None:
    """Let Hydra find the file by the path `option` as it was typed, and the files that it names.

    Raises `UserError` for a file that cannot be read or is no experiment file.
    """
    path = Path(option)
    experiment = _read(path)
    for inner in experiment.get("defaults") or []:
        if isinstance(inner, str) and is_path(name := inner.removeprefix(NESTED_PREFIX)):
            register_experiment_file(name)
    folders = [part for part in path.parts[:-1] if part != path.anchor]
    ConfigStore.instance().store(
        group="/".join([GROUP, *folders]),
        name=path.name,
        node=experiment,
        package="_global_",
        provider="experiment file",
    )


def _read(path: Path) -> DictConfig:
    try:
        content = OmegaConf.load(path)
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{str(path)!r} is not a YAML file: {reason}.", field=GROUP) from error
    except OSError as error:
        if error.strerror is not None:
            raise UserError(f"cannot read the file {str(path)!r} ({error.strerror}).", field=GROUP) from error
        content = None  # OmegaConf raises this for YAML that is a single number
    if not isinstance(content, DictConfig) or path.suffix != ".yaml":
        raise UserError(
            f"{str(path)!r} is not an experiment file, which is a .yaml file of `key: value` lines.", field=GROUP
        )
    return content


def to_experiment_yaml(overrides: Sequence[str], *, groups: Collection[str], header: str) -> str:
    """Return the text of an experiment file that does what `overrides` do. The last one of a key counts.

    `groups` are the names of all groups, from which options are chosen. `header` is a comment for the first lines.
    """
    options: dict[str, Any] = {}
    values = OmegaConf.create()
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key, value = override.key_or_group, _to_plain(override.value())
        if key in groups:
            options[key] = value
        else:
            OmegaConf.update(values, key, value, force_add=True)
    inner = options.pop(GROUP, None)
    defaults: list[Any] = [f"{NESTED_PREFIX}{inner}"] if inner else []
    defaults += [{f"override /{group}": option} for group, option in options.items()]
    content = OmegaConf.create({"defaults": defaults} if defaults else {})
    comment = "".join(f"# {line}".rstrip() + "\n" for line in header.splitlines())
    return f"# @package _global_\n{comment}" + OmegaConf.to_yaml(OmegaConf.merge(content, values))


def _to_plain(value: Any) -> Any:
    """Return the value of an override with quoted strings, also inside lists and mappings, as strings."""
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, list):
        return [_to_plain(inner) for inner in value]
    if isinstance(value, dict):
        return {_to_plain(key): _to_plain(inner) for key, inner in value.items()}
    return value
