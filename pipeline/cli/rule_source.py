"""What can be read off a rule's code without running it: why, where from, which remedies, which stages' signals."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KEYS = {
    "sanity": """first_loss expected_first_loss logit_mean logit_std penalty penalty_factors penalized_losses
        zero_gradients symmetric_layers frozen_parameters shared_parameters leaking_examples leak_examples leak_gradient
        fit_loss fit_loss_zeroed fit_steps fit_first_accuracy fit_accuracy doubled_loss_ratio bias_before_batchnorm
        perfect_probability_loss output_log_probabilities output_operations
        output_sums_to_one linear_pairs weight_pairs activations gradients data
        examples update_direction precision reduced_pass_seconds full_pass_seconds""",
    "overfit": """overfit_reached overfit_steps overfit_first_loss overfit_loss overfit_best_loss overfit_wrong
        overfit_examples overfit_target""",
    "train": """train_examples val_examples steps_per_epoch epochs_planned schedule augmentation chance_loss
        chance_accuracy epochs samples units eval_loss batch_loss eval_accuracy batch_accuracy exploded exploded_cost
        exploded_step original_cost break_factor interrupted_epoch steps_per_entry""",
    "ensemble": "ensemble_accuracy member_accuracies ensemble_examples disagreement members_broken",
}
"""Top-level keys of docs/signals.md that one stage alone has."""
SHARED = {
    "nonfinite": ("sanity", "overfit", "train"),
    "losses": ("overfit", "train"),
    "batchnorm_layers": ("sanity", "train"),
    "input_std": ("sanity", "train"),
}
"""Keys of several stages; they count for a rule that reads none of one stage alone."""
_STAGE = {key: stage for stage, keys in KEYS.items() for key in keys.split()}
_OVERRIDE = re.compile(r"\+?[a-z_]+(\.[a-z_0-9]+)*=\S+")
_SEVERITIES = ("failure", "warning", "info")


@dataclass(frozen=True)
class RuleSource:
    """Texts in the order of the code; holes of an f-string are `...`."""

    whys: tuple[str, ...]
    sources: tuple[str, ...]
    remedies: tuple[str, ...]
    severities: tuple[str, ...]
    stages: tuple[str, ...]

    @classmethod
    def of(cls, rule: Any) -> RuleSource:
        """Of a rule's class, its module, and what that takes from its neighbours in pipeline/checks/."""
        module = ast.parse(inspect.getsource(sys.modules[rule.__module__]))
        nodes = [module, *_neighbours(module, Path(inspect.getfile(rule)).parent.parent)]
        texts = [
            _text(node)
            for top in nodes
            for node in sorted(ast.walk(top), key=_place)
            if isinstance(node, (ast.Constant, ast.JoinedStr))
        ]
        return cls(
            whys=_given(module, "why"),
            sources=_given(module, "source"),
            remedies=tuple(dict.fromkeys(text for text in texts if _OVERRIDE.fullmatch(text))),
            severities=tuple(severity for severity in _SEVERITIES if severity in texts),
            stages=_stages(key for top in nodes for key in _signals_read(top)),
        )


def _neighbours(module: ast.Module, folder: Path) -> Iterator[ast.AST]:
    """Functions and classes that the module imports from its room, and what these use there in turn."""
    for node in module.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pipeline.checks."):
            name = str(node.module).rpartition(".")[2]
            if name == "finding":
                continue
            other = ast.parse((folder / f"{name}.py").read_text())
            defined = {n.name: n for n in other.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
            ahead, seen = [alias.name for alias in node.names], set[str]()
            while ahead:
                here = ahead.pop()
                if here in defined and here not in seen:
                    seen.add(here)
                    yield defined[here]
                    ahead += [n.id for n in ast.walk(defined[here]) if isinstance(n, ast.Name)]


def _given(module: ast.Module, word: str) -> tuple[str, ...]:
    """Every text that stands as `word=` in a call or as `"word":` in a dictionary."""
    values: list[ast.AST] = []
    for node in ast.walk(module):
        if isinstance(node, ast.Call):
            values += [keyword.value for keyword in node.keywords if keyword.arg == word]
        elif isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            values += [value for key, value in pairs if isinstance(key, ast.Constant) and key.value == word]
    return tuple(dict.fromkeys(text for value in sorted(values, key=_place) for text in _texts(value, module)))


def _texts(node: ast.AST, module: ast.Module) -> Iterator[str]:
    """What an expression can read as: both sides of a condition, and what a name was assigned."""
    if isinstance(node, (ast.Constant, ast.JoinedStr)):
        if text := _text(node):
            yield text
    elif isinstance(node, ast.IfExp):
        yield from _texts(node.body, module)
        yield from _texts(node.orelse, module)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        for left in _texts(node.left, module):
            yield from (left + right for right in _texts(node.right, module) or ("...",))
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
        for part in (node.func.value, *node.args[1:]):  # a table of texts, and its default
            yield from _texts(part, module)
    elif isinstance(node, ast.Dict):
        for value in node.values:
            yield from _texts(value, module)
    elif isinstance(node, ast.Name):
        for other in ast.walk(module):
            if not isinstance(other, ast.Assign):
                continue
            if any(isinstance(target, ast.Name) and target.id == node.id for target in other.targets):
                yield from _texts(other.value, module)


def _place(node: ast.AST) -> tuple[int, int]:
    """Where it stands in its file."""
    return getattr(node, "lineno", 0), getattr(node, "col_offset", 0)


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) if isinstance(part, ast.Constant) else "..." for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _signals_read(top: ast.AST) -> Iterator[str]:
    """Keys that are looked up in `signals`: by index, `get` or `in`, or by a function that is given both."""
    for node in ast.walk(top):
        near: list[ast.expr] = []
        if isinstance(node, ast.Subscript) and _is_signals(node.value):
            near = [node.slice]
        elif isinstance(node, ast.Compare) and _is_signals(node.comparators[0]):
            near = [node.left]
        elif isinstance(node, ast.Call):
            asked = isinstance(node.func, ast.Attribute) and node.func.attr == "get" and _is_signals(node.func.value)
            near = node.args[:1] if asked else list(node.args) if any(map(_is_signals, node.args)) else []
        elif isinstance(node, ast.comprehension) and isinstance(node.iter, (ast.Tuple, ast.List)):
            near = list(node.iter.elts)
        yield from (text for part in near if (text := _text(part)))


def _is_signals(node: ast.AST) -> bool:
    return getattr(node, "id", getattr(node, "attr", "")) == "signals"


def _stages(keys: Iterator[str]) -> tuple[str, ...]:
    read = set(keys)
    found = {_STAGE[key] for key in read if key in _STAGE}
    if not found:
        found = {stage for key in read for stage in SHARED.get(key, ())}
    return tuple(stage for stage in KEYS if stage in found)
