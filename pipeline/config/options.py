"""Read conf/ as text: the groups, their options, and the comments on options and keys.

The help page, the completion and docs/options.md use this: composing would take 0.3 s.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_package = Path(__file__).resolve().parents[1]
CONF = _package / "conf" if (_package / "conf").is_dir() else _package.parent / "conf"
"""The folder of the configuration: inside an installed package, or beside it in a checkout."""


@dataclass(frozen=True)
class Option:
    """One file of a group."""

    name: str
    description: str
    """The first line of comment of the file."""
    path: Path
    package: str
    """The node where its keys are if that is not the group (Hydra's `@package`), else ""."""


@dataclass(frozen=True)
class Group:
    """A folder of options."""

    name: str
    options: tuple[Option, ...]
    """The default options come first."""
    chosen: tuple[str, ...]
    """The options of the default configuration."""
    is_list: bool
    """Whether several options can be chosen, since each has a node of its own."""

    def __getitem__(self, name: str) -> Option:
        return next(option for option in self.options if option.name == name)


@dataclass(frozen=True)
class Key:
    """A key of a file."""

    name: str
    """The dotted name within the file."""
    value: str
    """The value as it is written."""
    description: str
    """The comment behind the value."""

    @property
    def choices(self) -> tuple[str, ...]:
        """The values that the comment lists as `one | other` or as `one: what; other: what`, or true and false."""
        if match := re.match(r"[\w-]+(?: \| [\w-]+)+(?![\w-]| \|)", self.description):
            return tuple(match[0].split(" | "))
        listed = re.findall(r"(?:^|; )([\w-]+):", self.description)
        if len(listed) > 1:
            return tuple(listed)
        return ("true", "false") if self.value in ("true", "false") else ()


def groups(folders: Iterable[Path] = (CONF,)) -> dict[str, Group]:
    """Return every group by its name. Of two options of one name, that of the earlier folder counts."""
    by_group: dict[str, dict[str, Option]] = {}
    for folder in folders:
        for path in sorted(folder.glob("*/*.yaml")):
            if path.stem != "base" and path.parent.name != "hydra":
                package, description = _read_header(path)
                option = Option(path.stem, description, path, package)
                by_group.setdefault(path.parent.name, {}).setdefault(path.stem, option)
    result = {}
    defaults = _read_defaults((CONF / "config.yaml").read_text())
    for name, options in by_group.items():
        chosen = defaults.get(name, ())
        order = [*chosen, *(option for option in options if option not in chosen)]
        is_list = any(option.package.endswith(f".{option.name}") for option in options.values())
        result[name] = Group(name, tuple(options[option] for option in order), chosen, is_list)
    return result


def keys(path: Path) -> dict[str, Key]:
    """Return the keys of a file by their dotted names."""
    by_name: dict[str, Key] = {}
    parents: list[tuple[int, str]] = []
    for line in path.read_text().splitlines():
        if not (match := re.match(r"( *)([A-Za-z]\w*): *([^#]*?) *(?:# *(.*))?$", line)):
            continue
        indent, name = len(match[1]), match[2]
        parents = [(column, parent) for column, parent in parents if column < indent]
        dotted = ".".join([*(parent for _, parent in parents), name])
        parents.append((indent, name))
        by_name[dotted] = Key(dotted, match[3], match[4] or "")
    return by_name


def key(name: str) -> Key | None:
    """Return the key that is typed as `name`, or None if conf/ has no such key.

    It is looked for in the default options of its group, in the `base` file of the group, and in config.yaml.
    """
    first, _, rest = name.partition(".")
    if first == "stages":
        first, _, rest = rest.partition(".")
        files = [CONF / "stage" / f"{first}.yaml"]
    elif rest:
        group = groups().get(first)
        files = [group[option].path for option in group.chosen] if group else []
        files += [CONF / first / "base.yaml"]
    else:
        files = []
    in_group = (keys_of_file[rest] for file in files if file.exists() and rest in (keys_of_file := keys(file)))
    return next(in_group, keys(CONF / "config.yaml").get(name))


def _read_header(path: Path) -> tuple[str, str]:
    """Return Hydra's `@package` of the file, and its first other comment."""
    package = ""
    for line in path.read_text().splitlines():
        if line.startswith("# @package "):
            package = line.removeprefix("# @package ").strip()
        elif line.startswith("#"):
            return package, line.lstrip("# ").strip()
    return package, ""


def _read_defaults(text: str) -> dict[str, tuple[str, ...]]:
    """Return the options of each group in the defaults list of config.yaml."""
    defaults = {}
    for name, value in re.findall(r"^  - (\w+): *([^#\n]*?) *(?:#.*)?$", text, flags=re.MULTILINE):
        options = tuple(option.strip() for option in value.strip("[]").split(",") if option.strip())
        defaults[name] = () if options == ("null",) else options
    return defaults
