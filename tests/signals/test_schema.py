"""`pipeline.signals.schema` lists every key that a run writes to signals.json, and describes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints, is_typeddict

import pytest

import pipeline
from pipeline.runs.json_files import read_signals
from pipeline.signals.schema import STAGES, Signals, stages_with

SMALL = ("data=digits", "data.limit=200", "model=convnet", "model.width=4", "trainer=cpu", "logger=none")
HEALTHY = (
    "stage=[sanity,overfit,lr_range,train,ensemble,evaluate]",
    "augmentation=flip",
    "stages.overfit.steps=3",  # so that other learning rates are tried
    "stages.lr_range.steps=10",
    "stages.train.epochs=2",
    "stages.ensemble.members=2",
    "trainer.precision=bf16-mixed",
    "checks=off",
)
EXPLODING = ("stage=[train]", "optimizer=sgd", "optimizer.lr=1000", "batchnorm=none", "stages.train.epochs=2")


def unknown_keys(values: dict[str, Any], schema: Any, path: str) -> Iterator[str]:
    """Keys of `values`, and of the tables inside, that `schema` does not declare."""
    hints = get_type_hints(schema)
    for key, value in values.items():
        if key not in hints:
            yield f"{path}.{key}"
        elif is_typeddict(hints[key]):
            yield from unknown_keys(value, hints[key], f"{path}.{key}")
        else:
            for table in filter(is_typeddict, get_args(hints[key])):  # one for each split
                for split, inner in value.items():
                    yield from unknown_keys(inner, table, f"{path}.{key}.{split}")


@pytest.mark.parametrize("overrides", [HEALTHY, EXPLODING], ids=["healthy", "exploding"])
def test_every_key_of_a_run_is_declared(overrides: tuple[str, ...], tmp_path: Path) -> None:
    result = pipeline.run([*SMALL, *overrides, f"outputs={tmp_path}"], quiet=True)
    stages = read_signals(Path(result.directory))
    assert stages is not None
    assert stages.keys() == {name for name in STAGES if name in overrides[0]}
    assert [key for name, signals in stages.items() for key in unknown_keys(signals, STAGES[name], name)] == []


def test_every_key_has_a_unit_and_a_description() -> None:
    def tables(schema: Any) -> Iterator[Any]:
        yield schema
        for hint in get_type_hints(schema).values():
            for inner in filter(is_typeddict, (hint, *get_args(hint))):
                yield from tables(inner)

    for table in tables(Signals):
        for key, hint in get_type_hints(table, include_extras=True).items():
            _, unit, description = get_args(hint)
            assert unit.strip() == unit, key
            assert description.strip() == description != "", key


def test_stages_of_a_key() -> None:
    assert stages_with("leak_gradient") == ("sanity",)
    assert stages_with("lr") == ("sanity", "overfit", "train")
    assert stages_with("lr_factor") == ("finetune",)
    assert stages_with("first_loss") == ("sanity", "lr_range")
    assert stages_with("frist_loss") == ()
