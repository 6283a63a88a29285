"""Rows of data in other forms: tables, data sets of Hugging Face, torch Datasets."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.field.case import Trial, case, passed, refused, want
from tests.field.pictures import SHAPES, coloured, write_classes

SMALL = ("model=mlp", "model.width=32", "model.depth=1", "data.batch_size=16")
SHORT = ("stage=[sanity,train,evaluate]", "stages.train.epochs=3")


def write_people(path: Path) -> Path:
    """Write a table with numbers, categories, missing values and identifiers."""
    random = np.random.default_rng(0)
    lines = ["id,town,age,height,label"]
    for i in range(300):
        age, town = int(random.integers(18, 80)), ("Bern", "Rome", "Oslo")[i % 3]
        label = "old" if age + 10 * (town == "Rome") > 50 else "young"
        lines.append(f"p{i:04},{town},{'' if i % 17 == 0 else age},{150 + 40 * random.random():.1f},{label}")
    path.write_text("\n".join(lines) + "\n")
    return path


@case(75, "csv of paths and labels; tabular csv", "both train; what was decided is said")
def tables(trial: Trial) -> str:
    write_classes(trial.folder / "photos")
    files = sorted((trial.folder / "photos").rglob("*.png"))
    rows = [f"{path.relative_to(trial.folder)},{path.parent.name}" for path in files]
    (trial.folder / "photos.csv").write_text("\n".join(["file,label", *rows]) + "\n")
    ended = trial.run("data=csv", f"data.path={trial.folder}/photos.csv", *SMALL, *SHORT)
    passed(ended, "3 classes", "3x24x24")
    want(ended.record["data"]["classes"] == list(SHAPES), f"{ended.record['data']['classes']}")
    table = trial.run("data=csv", f"data.path={write_people(trial.folder / 'people.csv')}", *SMALL, *SHORT)
    passed(table, "2 classes", "features", "missing", "id")
    accuracy = table.stages["evaluate"]["metrics"]["test_accuracy"]
    want(accuracy > 0.75, f"test accuracy {accuracy}")
    refused(
        trial.run("data=csv", f"data.path={trial.folder}/people.csv", "data.label=towwn", *SMALL), "data.label", "town"
    )
    return f"images {ended.stages['evaluate']['headline'][:24]}; rows {table.stages['evaluate']['headline'][:24]}"


@case(76, "a Hugging Face data set on disk; Parquet", "trains")
def hugging_face(trial: Trial) -> str:
    import datasets

    random = np.random.default_rng(0)
    columns = {"image": [coloured(random, i % 3) for i in range(150)], "label": [i % 3 for i in range(150)]}
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=list(SHAPES)))
    saved = datasets.Dataset.from_dict(columns, features=features)
    saved.save_to_disk(trial.folder / "set")
    saved.to_parquet(trial.folder / "photos.parquet")
    got = []
    for name in ("set", "photos.parquet"):
        ended = trial.run("data=huggingface", f"data.path={trial.folder / name}", *SMALL, *SHORT)
        passed(ended, "3 classes")
        want(ended.record["data"]["classes"] == list(SHAPES), f"{ended.record['data']['classes']}")
        got.append(ended.stages["evaluate"]["headline"][:24])
    return "; ".join(got)


@case(78, "a torch Dataset by _target_; FakeData", "trains")
def torch_dataset(trial: Trial) -> str:
    trial.allow |= {"tests.field.networks.Drawn", "torchvision.datasets.FakeData"}
    words = ("data=custom", "data.dataset._target_=tests.field.networks.Drawn")
    ended = trial.run(*words, "+data.dataset.n=300", *SMALL, *SHORT)
    passed(ended, "3 classes")
    want(ended.record["data"]["classes"] == ["left", "middle", "right"], f"{ended.record['data']['classes']}")
    refused(trial.run(*words, *SMALL), "n")
    fake = ("data=custom", "data.dataset._target_=torchvision.datasets.FakeData", "+data.dataset.size=120")
    fake = (*fake, "+data.dataset.image_size=[3,16,16]", "+data.dataset.num_classes=3")
    passed(trial.run(*fake, *SMALL, "stage=[data]"), "3x16x16")
    return ended.stages["evaluate"]["headline"][:60]
