"""The program on a Dataset, a Hugging Face data set and shards: it trains, or ends with code 2 and leaves nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import PASSED, USER_ERROR
from tests.data.sources import user_datasets
from tests.data.sources.test_shards import png, write
from tests.data.sources.user_datasets import picture

ROOT = Path(__file__).parents[3]
MODULE = user_datasets.__name__
OPTIONS = ("model=mlp", "model.width=16", "stage=[train,evaluate]", "stages.train.epochs=2", "report=false")


def run(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    """Start the program with its runs and caches below `folder`."""
    environment = os.environ | {
        "PIPELINE_ALLOW": f"{MODULE}.Bars,{MODULE}.broken_constructor",
        "HF_HOME": str(folder / "hugging_face"),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "pipeline", *OPTIONS, f"outputs={folder / 'runs'}", *overrides]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)


def data_of(folder: Path, kind: str) -> list[str]:
    """Return the overrides for data of this kind, which are written below `folder`."""
    pictures = [(picture(i % 3, i), i % 3) for i in range(120)]
    if kind == "custom":
        return ["data=custom", f"data.dataset._target_={MODULE}.Bars", "+data.dataset.n=120"]
    if kind == "shards":
        pytest.importorskip("webdataset")
        members = [
            (f"{i:04}.{ending}", content)
            for i, (image, label) in enumerate(pictures)
            for ending, content in (("png", png(image)), ("txt", "abc"[label].encode()))
        ]
        write(folder / "shards" / "part-0.tar", members)
        return ["data=shards", f"data.path={folder / 'shards'}"]
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=["a", "b", "c"]))
    columns = {"image": [image for image, _ in pictures], "label": [label for _, label in pictures]}
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(folder / "set")
    return ["data=huggingface", f"data.path={folder / 'set'}"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["custom", "huggingface", "shards"])
def test_training(tmp_path: Path, kind: str) -> None:
    done = run(tmp_path, *data_of(tmp_path, kind))
    assert done.returncode == PASSED, done.stderr
    (record,) = (tmp_path / "runs").glob("run/2*/outcome.json")
    stages = json.loads(record.read_text())["stages"]
    assert (
        next(stage for stage in stages if stage["name"] == "train")["metrics"]["val_accuracy"] > 0.5
    )  # chance is 0.33


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["data=custom", f"data.dataset._target_={MODULE}.broken_constructor"], ["data.dataset", "no table", ".py:"]),
        (["data=shards", "data.path={folder}/none.tar"], ["data.path", "none.tar"]),
        (["data=huggingface", "data.path={folder}/none"], ["data.path", "save_to_disk"]),
        (["data=huggingface"], ["data.path"]),
    ],
)
def test_mistakes(tmp_path: Path, overrides: list[str], words: list[str]) -> None:
    done = run(tmp_path, *(override.format(folder=tmp_path) for override in overrides))
    assert done.returncode == USER_ERROR, done.stderr
    assert all(word in done.stderr for word in words)
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()
