"""Finds retired names and banned words in the code."""

from __future__ import annotations

import ast
import csv
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TABLE = Path(__file__).with_name("table.tsv")
BANNED = frozenset(
    [
        "told",
        "said",
        "asked",
        "wish",
        "anew",
        "obey",
        "look_on",
        "looked_at",
        "to_its_end",
        "hopeless",
        "mender",
        "mend",
        "mended",
        "mending",
        "teller",
        "among",
        "asking",
        "signs",
        "telling",
    ]
)
"""Words of a private language. As identifiers they are banned everywhere; a sentence may use them."""
BANNED_FUNCTIONS = frozenset(
    [
        "joined",
        "made",
        "planned",
        "opened",
        "parsed",
        "suggested",
        "composed",
        "judged",
        "shown",
        "chosen",
        "kept",
        "led",
    ]
)
"""Participles that say neither what a function does nor what it returns."""
BANNED_CLASSES = frozenset({"Asking", "Part", "Parts", "Me", "Signs", "Mender", "Teller", "Kept", "Someone", "Says"})


def definitions(path: Path) -> Iterator[str]:
    """Qualified names of everything that a file defines."""

    def walk(body: list[ast.stmt], prefix: str) -> Iterator[str]:
        for node in body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                yield prefix + node.name
                if isinstance(node, ast.ClassDef):
                    yield from walk(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, (ast.Assign, ast.AnnAssign)):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                yield from (prefix + target.id for target in targets if isinstance(target, ast.Name))

    return walk(ast.parse(path.read_text()).body, "")


def path_of(module: str) -> Path:
    return (ROOT / "pipeline" / module.replace(".", "/")).with_suffix(".py")


def remaining_names() -> list[tuple[str, str]]:
    """Rows of the table whose old name still exists: (old, new)."""
    remaining = []
    with TABLE.open() as file:
        for row in csv.DictReader(file, delimiter="\t"):
            module, _, name = row["old"].partition(":")
            exists = path_of(module).exists()
            if row["kind"] == "name":
                exists = exists and name in set(definitions(path_of(module)))
            if exists:
                remaining.append((row["old"], row["new"]))
    return remaining


def identifiers(path: Path) -> Iterator[tuple[int, str, type[ast.AST]]]:
    """All names that a file gives: definitions, variables, parameters, attributes, keyword arguments."""
    for node in ast.walk(ast.parse(path.read_text())):
        line, kind = getattr(node, "lineno", 0), type(node)
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield line, node.name, kind
        elif isinstance(node, ast.Name):
            yield line, node.id, kind
        elif isinstance(node, ast.arg):
            yield line, node.arg, kind
        elif isinstance(node, ast.Attribute):
            yield line, node.attr, kind
        elif isinstance(node, ast.keyword) and node.arg:
            yield line, node.arg, kind


def banned_identifiers() -> list[str]:
    """Places where a banned word is used as a name: `path:line name`."""
    found = []
    for folder in ("pipeline", "hydra_plugins", "tests"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for line, name, kind in identifiers(path):
                word = name.strip("_")
                is_banned = word in BANNED or name in BANNED_CLASSES
                if is_banned or (kind is ast.FunctionDef and folder != "tests" and word in BANNED_FUNCTIONS):
                    found.append(f"{path.relative_to(ROOT)}:{line} {name}")
    return sorted(set(found))
