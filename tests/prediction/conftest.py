"""Small trained runs of each kind of data, which the tests of this room share."""

from __future__ import annotations

from pathlib import Path

import pytest

import pipeline
from pipeline.prediction.predictor import Predictor
from tests.prediction.small_inputs import COLOURS, write_picture, write_rows, write_table

SMALL = ("model=mlp", "model.width=32", "model.depth=1", "trainer=cpu", "data.batch_size=16", "stages.train.epochs=3")
STAGES = ("stage=[train,evaluate]", "report=false", "checks=off")


def train(folder: Path, *overrides: str) -> Path:
    return pipeline.run([*SMALL, *STAGES, f"outputs={folder / 'outputs'}", *overrides], quiet=True).directory


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 pictures of each of three colours, in folders of their names."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, colour in COLOURS.items():
        for i in range(20):
            write_picture(folder / name / f"{i}.png", colour, seed=i)
    return folder


@pytest.fixture(scope="session")
def colour_run(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("colours")
    return train(folder, "data=image_folder", f"data.path={pictures}", "data.size=[6,8]", "name=colours")


@pytest.fixture(scope="session")
def colours(colour_run: Path) -> Predictor:
    return pipeline.load(colour_run)


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("digits"), "data=digits", "data.limit=300", "name=digits", "augmentation=flip")


@pytest.fixture(scope="session")
def digits(digits_run: Path) -> Predictor:
    return pipeline.load(digits_run)


@pytest.fixture(scope="session")
def values_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("values")
    rows = write_rows(folder / "rows.npz", "regression")
    return train(folder, "data=npz", f"data.path={rows}", "loss=regression", "preprocessing=standardize", "name=values")


@pytest.fixture(scope="session")
def labels_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labels")
    rows = write_rows(folder / "rows.npz", "multilabel")
    return train(folder, "data=npz", f"data.path={rows}", "loss=bce", "preprocessing=standardize", "name=labels")


@pytest.fixture(scope="session")
def table_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("table")
    return train(folder, "data=csv", f"data.path={write_table(folder / 'people.csv', 200)}", "name=table")
