"""What stands in conf/, read as text: groups, their options, and what each file says of itself and of its keys.

Composing takes 0.3 s and Hydra; the help page and the completion need neither.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_package = Path(__file__).resolve().parents[1]
CONF = _package / "conf" if (_package / "conf").is_dir() else _package.parent / "conf"
"""The menu: inside an installed package, or beside it in a checkout."""


@dataclass(frozen=True)
class Option:
    """One file of a group; `says` is its first comment, `package` where it lands if that is not the group."""

    name: str
    says: str
    path: Path
    package: str


@dataclass(frozen=True)
class Group:
    """A folder of options. `chosen`: those of the default configuration; in a list group each has a place of its own,
    so that several can be."""

    name: str
    options: tuple[Option, ...]
    chosen: tuple[str, ...]
    is_list: bool

    def __getitem__(self, name: str) -> Option:
        return next(option for option in self.options if option.name == name)


@dataclass(frozen=True)
class Key:
    """A key as it stands in a file, with its value there and what the comment says."""

    name: str
    value: str
    says: str

    @property
    def choices(self) -> tuple[str, ...]:
        """The words that the comment lists as `one | other` or as `one: what; other: what`, or true and false."""
        if match := re.match(r"[\w-]+(?: \| [\w-]+)+(?![\w-]| \|)", self.says):
            return tuple(match[0].split(" | "))
        listed = re.findall(r"(?:^|; )([\w-]+):", self.says)
        if len(listed) > 1:
            return tuple(listed)
        return ("true", "false") if self.value in ("true", "false") else ()


def groups(folders: Iterable[Path] = (CONF,)) -> dict[str, Group]:
    """Every group by its name; a user's own folder (`--config-dir`) goes before the menu's."""
    found: dict[str, dict[str, Option]] = {}
    for folder in folders:
        for path in sorted(folder.glob("*/*.yaml")):
            if path.stem != "base" and path.parent.name != "hydra":
                package, says = _header(path)
                option = Option(path.stem, says, path, package)
                found.setdefault(path.parent.name, {}).setdefault(path.stem, option)
    made = {}
    chosen = _chosen((CONF / "config.yaml").read_text())
    for name, options in found.items():
        first = chosen.get(name, ())
        order = [*first, *(option for option in options if option not in first)]
        is_list = any(option.package.endswith(f".{option.name}") for option in options.values())
        made[name] = Group(name, tuple(options[option] for option in order), first, is_list)
    return made


def keys(path: Path) -> dict[str, Key]:
    """The keys of a file, nested ones in dotted form, with the comment on their line."""
    found: dict[str, Key] = {}
    above: list[tuple[int, str]] = []
    for line in path.read_text().splitlines():
        if not (match := re.match(r"( *)([A-Za-z]\w*): *([^#]*?) *(?:# *(.*))?$", line)):
            continue
        indent, name = len(match[1]), match[2]
        above = [(column, key) for column, key in above if column < indent]
        dotted = ".".join([*(key for _, key in above), name])
        above.append((indent, name))
        found[dotted] = Key(dotted, match[3], match[4] or "")
    return found


def key(name: str) -> Key | None:
    """A key as it is typed, from the file of its group's default option, from that group's `base`, or config.yaml."""
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
    found = (there[rest] for file in files if file.exists() and rest in (there := keys(file)))
    return next(found, keys(CONF / "config.yaml").get(name))


def _header(path: Path) -> tuple[str, str]:
    """Hydra's `@package`, and the first comment beside it."""
    package = ""
    for line in path.read_text().splitlines():
        if line.startswith("# @package "):
            package = line.removeprefix("# @package ").strip()
        elif line.startswith("#"):
            return package, line.lstrip("# ").strip()
    return package, ""


def _chosen(text: str) -> dict[str, tuple[str, ...]]:
    """Of the defaults list: the option or options of each group."""
    found = {}
    for name, value in re.findall(r"^  - (\w+): *([^#\n]*?) *(?:#.*)?$", text, flags=re.MULTILINE):
        words = tuple(word.strip() for word in value.strip("[]").split(",") if word.strip())
        found[name] = () if words == ("null",) else words
    return found
