"""Generate docs/options.md from conf/: `python -m pipeline.cli.options_docs docs/options.md`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.cli.help import SECTIONS
from pipeline.config.options import CONF, Group, Key, Option, groups, keys
from pipeline.runs.paths import write_text

HEAD = """# Options and keys

`make docs` writes this page from [conf/](../conf); edit the comments there. `python -m pipeline --help` shows the
options and the most common keys, `python -m pipeline --cfg job` every key with its value.

`group=option` chooses an option, and `key=value` sets a key:
`python -m pipeline data=digits optimizer=adam optimizer.lr=0.003`. Of `stage`, `search` and `logger` several options
can be chosen: `'stage=[sanity,train]'`.

A key whose default differs between the options of a group lists each default with its options.
"""
LINE_BREAK = "\n"
DOCUMENTED_ELSEWHERE = {"checks": ("rules", "The thresholds of all checks are in [checks.md](checks.md).")}
"""Nodes of a group that have a page of their own, with the sentence that says so."""


def render_options_docs() -> str:
    """Return the page as Markdown."""
    by_name = groups()
    in_sections = {name for names in SECTIONS.values() for name in names}
    sections = SECTIONS | {"More groups": tuple(name for name in by_name if name not in in_sections)}
    parts = [HEAD]
    for title, names in sections.items():
        parts.append(f"## {title}\n")
        parts += [_render_group(by_name[name]) for name in names if name in by_name]
    general = {name: [("", key)] for name, key in _main_keys().items() if name.partition(".")[0] not in by_name}
    parts.append("## General keys\n\n" + _render_keys(general, ()))
    return "\n".join(parts)


def _render_group(group: Group) -> str:
    chosen = ", ".join(f"`{name}`" for name in group.chosen) or "none"
    lines = [f"### {group.name}", "", f"Default: {chosen}.", "", "| option | description |", "|---|---|"]
    lines += [f"| `{option.name}` | {_escape(option.description)} |" for option in group.options]
    of_keys: dict[str, list[tuple[str, Key]]] = {}
    for option in group.options:
        for name, key in _keys_of_option(group, option).items():
            of_keys.setdefault(name, []).append((option.name, key))
    of_keys |= {name: [("", key)] for name, key in _main_keys().items() if name.partition(".")[0] == group.name}
    text = "\n".join([*lines, ""])
    if group.name in DOCUMENTED_ELSEWHERE:
        text += f"\n{DOCUMENTED_ELSEWHERE[group.name][1]}\n"
    return text + (f"\n{_render_keys(of_keys, [option.name for option in group.options])}" if of_keys else "")


def _keys_of_option(group: Group, option: Option) -> dict[str, Key]:
    """Return the keys of an option as they are typed, including those of the group's `base` file."""
    if option.package == "_global_":
        return {}
    base = option.path.with_name("base.yaml")
    in_files = (_documented_keys(base) if base.exists() else {}) | _documented_keys(option.path)
    elsewhere = DOCUMENTED_ELSEWHERE.get(group.name, ("", ""))[0]
    node = option.package or group.name
    return {f"{node}.{name}": key for name, key in in_files.items() if name.partition(".")[0] != elsewhere}


def _main_keys() -> dict[str, Key]:
    """Return the keys of conf/config.yaml, without those of Hydra."""
    return {name: key for name, key in _documented_keys(CONF / "config.yaml").items() if not name.startswith("hydra.")}


def _documented_keys(path: Path) -> dict[str, Key]:
    """Return the keys of a file that a user may want to set: those that have a value and a comment."""
    return {name: key for name, key in keys(path).items() if key.value and key.description and name != "defaults"}


def _render_keys(of_keys: Mapping[str, Sequence[tuple[str, Key]]], options: Sequence[str]) -> str:
    """Return a table of keys.

    `of_keys` has for each dotted name the options that have the key, and the key in the file of the option. `options`
    are all options of the group.
    """
    lines = ["| key | default | description |", "|---|---|---|"]
    for name, pairs in of_keys.items():
        is_in_own_node = not pairs[0][0] or f".{pairs[0][0]}." in name  # which names the option, as stages.train does
        defaults = [(option, f"`{key.value}`") for option, key in pairs]
        default = _by_option(defaults, () if is_in_own_node else options, form="{text} ({options})")
        descriptions = [(option, key.description) for option, key in pairs]
        description = _by_option(descriptions, [option for option, _ in pairs], form="{options}: {text}")
        lines.append(f"| `{name}` | {_escape(default)} | {_escape(description)} |")
    return "\n".join([*lines, ""])


def _by_option(pairs: Sequence[tuple[str, str]], options: Sequence[str], *, form: str) -> str:
    """Return the text if it is the same for all `options`, else each text with the options that have it."""
    by_text: dict[str, list[str]] = {}
    for option, text in pairs:
        by_text.setdefault(text, []).append(option)
    if len(by_text) == 1 and (not options or len(pairs) == len(options)):
        return pairs[0][1]
    return LINE_BREAK.join(form.format(text=text, options=_name(names, options)) for text, names in by_text.items())


def _name(names: Sequence[str], options: Sequence[str]) -> str:
    """Return `names` as a list, or the other `options` where these are few."""
    others = [option for option in options if option not in names]
    return f"all but {', '.join(others)}" if 0 < len(others) < min(4, len(names)) else ", ".join(names)


def _escape(text: str) -> str:
    """Escape `|` for a table, and outside of code in backquotes what Markdown would read as markup."""
    parts = text.replace("|", "\\|").split("`")
    for index in range(0, len(parts), 2):
        parts[index] = parts[index].replace("<", "&lt;").replace("*", "\\*")
    return "`".join(parts).replace(LINE_BREAK, "<br>")


if __name__ == "__main__":
    write_text(Path(sys.argv[1]), render_options_docs())
