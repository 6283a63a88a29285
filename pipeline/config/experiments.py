"""Recipes: files that change the menu's defaults all at once. Those of the menu are `experiment=name`; any other file
of the same kind is `experiment=path/to/file.yaml`, such as the best.yaml of a search."""

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
"""How a recipe names another one in its defaults."""


def is_path(option: str) -> bool:
    """Whether an option of `experiment` means a file rather than a name on the menu."""
    return option.endswith((".yaml", ".yml")) or "/" in option


def register_experiment_file(option: str) -> None:
    """Let Hydra find the file under the words with which it was typed. Raises `UserError` where it is no recipe."""
    path = Path(option)
    recipe = _read(path)
    for inner in recipe.get("defaults") or []:
        if isinstance(inner, str) and is_path(name := inner.removeprefix(NESTED_PREFIX)):
            register_experiment_file(name)
    folders = [part for part in path.parts[:-1] if part != path.anchor]
    ConfigStore.instance().store(
        group="/".join([GROUP, *folders]), name=path.name, node=recipe, package="_global_", provider="recipe"
    )


def _read(path: Path) -> DictConfig:
    try:
        recipe = OmegaConf.load(path)
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{str(path)!r} is no YAML file: {reason}.", field=GROUP) from error
    except OSError as error:
        if error.strerror is not None:
            raise UserError(f"cannot read the file {str(path)!r} ({error.strerror}).", field=GROUP) from error
        recipe = None  # OmegaConf's word for YAML that is a lone number
    if not isinstance(recipe, DictConfig) or path.suffix != ".yaml":
        raise UserError(f"{str(path)!r} is no recipe: a .yaml file of `key: value` lines.", field=GROUP)
    return recipe


def to_experiment_yaml(overrides: Sequence[str], *, groups: Collection[str], header: str) -> str:
    """The text of a recipe that does what the overrides do, of two of one key the later, as on the command line.

    `groups`: names of the menu's groups, which are chosen rather than set; `header`: its first lines, a comment.
    """
    chosen: dict[str, Any] = {}
    values = OmegaConf.create()
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key, value = override.key_or_group, _plain(override.value())
        if key in groups:
            chosen[key] = value
        else:
            OmegaConf.update(values, key, value, force_add=True)
    inner = chosen.pop(GROUP, None)
    defaults: list[Any] = [f"{NESTED_PREFIX}{inner}"] if inner else []
    defaults += [{f"override /{group}": option} for group, option in chosen.items()]
    whole = OmegaConf.create({"defaults": defaults} if defaults else {})
    comment = "".join(f"# {line}".rstrip() + "\n" for line in header.splitlines())
    return f"# @package _global_\n{comment}" + OmegaConf.to_yaml(OmegaConf.merge(whole, values))


def _plain(value: Any) -> Any:
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, dict):
        return {_plain(key): _plain(inner) for key, inner in value.items()}
    return value
