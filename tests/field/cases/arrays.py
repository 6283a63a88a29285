"""Rows of .npz files: channels, labels and tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.sources.embedded import digits
from tests.field.case import Trial, case, flat, passed, refused, want, want_no_crash

MLP = ("data=npz", "model=mlp", "model.width=32", "model.depth=1", "data.batch_size=32")
SHORT = ("stage=[sanity,overfit,train,evaluate]", "stages.train.epochs=3")


def save(path: Path, **arrays: Any) -> str:
    """Write a .npz file and return the override that names it."""
    np.savez_compressed(path, **arrays)
    return f"data.path={path}"


def some_digits(count: int = 600) -> tuple[np.ndarray, np.ndarray]:
    """Return digits as uint8 (N, 8, 8) of 0 to 255 and labels."""
    images = digits().train
    pixels = images.pixels[:count, 0].float().numpy()  # type: ignore[union-attr]
    return (pixels * 255 / pixels.max()).astype("uint8"), images.labels[:count].numpy()


@case(50, "images of 2 and of 5 channels", "load")
def channels(trial: Trial) -> str:
    x, y = some_digits()
    got = []
    for count in (2, 5):
        wide = np.stack([x] * count, axis=-1)
        wide = np.clip(wide + np.random.default_rng(0).integers(0, 20, wide.shape), 0, 255).astype("uint8")
        path = save(trial.folder / f"c{count}.npz", x_train=wide, y_train=y)
        ended = trial.run("data=npz", path, "model.width=4", "stage=[sanity,train]", "stages.train.epochs=1")
        passed(ended, f"{count}x8x8")
        got.append(f"{count}x8x8")
    return f"loaded as {', '.join(got)}, and trained"


@case(52, "labels that are words", "encoded, with their names")
def words(trial: Trial) -> str:
    x, y = some_digits()
    path = save(trial.folder / "ystr.npz", x_train=x, y_train=np.array([f"d{label}" for label in y]))
    ended = trial.run(*MLP, path, "stage=[sanity,train]", "stages.train.epochs=1")
    passed(ended)
    want(ended.record["data"]["classes"] == [f"d{i}" for i in range(10)], f"{ended.record['data']['classes']}")
    return "classes d0 .. d9"


@case(55, "a 0/1 matrix of several labels; one-hot rows", "multilabel; argmax only for one-hot")
def several_labels(trial: Trial) -> str:
    x, y = some_digits()
    many = np.stack([y % 2 == 0, y > 4, y % 3 == 0], axis=1).astype("int64")
    refusal = trial.run(*MLP, save(trial.folder / "multi.npz", x_train=x, y_train=many), *SHORT)
    if refusal.code == 2:
        got = refused(refusal, "any number of labels", "loss=bce", without=("argmax",))
        trained = trial.run(*MLP, save(trial.folder / "multi.npz", x_train=x, y_train=many), *SHORT, "loss=bce")
    else:
        got, trained = "", refusal
    want_no_crash(trained)
    want(trained.code == 0, f"exit {trained.code}: {flat(trained.text)[-300:]}")
    want(trained.record["data"]["task"] == "multilabel", f"task {trained.record['data']['task']}")
    hot = refused(
        trial.run(*MLP, save(trial.folder / "hot.npz", x_train=x, y_train=np.eye(10, dtype=int)[y])), "argmax"
    )
    return f"task multilabel, {trained.stages['evaluate']['headline'][:60]}; one-hot: {hot[-60:]} {got[:40]}"


@case(56, "targets that are real numbers", "regression; no advice to cut them to integers")
def targets(trial: Trial) -> str:
    x, y = some_digits()
    target = (x.mean(axis=(1, 2)) / 10 + 0.1 * y).astype("float64")
    path = save(trial.folder / "regr.npz", x_train=x, y_train=target)
    refused(trial.run(*MLP, path, "loss=cross_entropy"), "loss=regression", without=("astype.{2}int64",))
    ended = trial.run(*MLP, path, *SHORT, "loss=regression")
    want_no_crash(ended)
    want(ended.record["data"]["task"] == "regression", f"task {ended.record['data']['task']}")
    want(ended.code == 0, f"exit {ended.code}: {flat(ended.text)[-300:]}")
    return f"task regression, {ended.stages['evaluate']['headline'][:80]}"


@case(60, "a text file given as .npz", "'not a .npz', data=csv; no allow_pickle")
def text_as_npz(trial: Trial) -> str:
    (trial.folder / "msft.csv").write_text("date,open\n2020-01-01,1.5\n" * 30)
    (trial.folder / "notes.npz").write_text("only words\n")
    pickle = ("allow_pickle", "pickled", "object array")
    got = refused(trial.run(*MLP, f"data.path={trial.folder}/msft.csv"), "not a", "npz", "data=csv", without=pickle)
    refused(trial.run(*MLP, f"data.path={trial.folder}/notes.npz"), "not a", "npz", without=pickle)
    return got


@case(64, "9 names for 10 classes; ten equal names", "refused")
def names(trial: Trial) -> str:
    x, y = some_digits()
    nine = save(trial.folder / "nine.npz", x_train=x, y_train=y, classes=np.array([f"c{i}" for i in range(9)]))
    equal = save(trial.folder / "equal.npz", x_train=x, y_train=y, classes=np.array(["a"] * 10))
    refused(trial.run(*MLP, nine), "9 names")
    return refused(trial.run(*MLP, equal), "'a'")


def clusters(classes: int, each: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Return `each` small pictures of every class, each class a picture of its own with noise."""
    random = np.random.default_rng(seed)
    centres = random.integers(20, 230, (classes, 8, 8))
    y = np.repeat(np.arange(classes), each)
    x = np.clip(centres[y] + random.normal(0, 12, (len(y), 8, 8)), 0, 255).astype("uint8")
    order = random.permutation(len(y))
    return {"x_train": x[order], "y_train": y[order]}


def train_many(trial: Trial, count: int, each: int, *more: str) -> str:
    path = save(trial.folder / f"k{count}.npz", **clusters(count, each))
    lr = (
        "optimizer=adam",
        "optimizer.lr=0.003",
        "loss.label_smoothing=0",
        "regularization=none",
        "stages.train.epochs=4",
    )
    ended = trial.run("data=npz", path, "model=mlp", "model.width=128", "model.depth=1", *lr, *more)
    want_no_crash(ended)
    want(
        {"sanity", "overfit", "train", "evaluate"} <= set(ended.stages),
        f"ended after {list(ended.stages)}: {flat(ended.text)[-200:]}",
    )
    size = (ended.directory / "outcome.json").stat().st_size
    want(size < 1_000_000, f"outcome.json has {size} bytes")
    return f"{ended.stages['evaluate']['headline'][:50]}; exit {ended.code}, outcome.json {size // 1000} kB"


@case(65, "200 classes, 16 each", "sanity, overfit, train, evaluate")
def classes_200(trial: Trial) -> str:
    path = save(trial.folder / "k200.npz", **clusters(200, 16))
    for stage in ("sanity", "overfit"):
        want_no_crash(trial.run("data=npz", path, "model=mlp", f"stage=[{stage}]"))
    return train_many(trial, 200, 16)


@case(66, "256 classes", "all stages")
def classes_256(trial: Trial) -> str:
    return train_many(trial, 256, 12)


@case(67, "257, 300 and 1,000 classes", "all stages, with the report")
def classes_1000(trial: Trial) -> str:
    train_many(trial, 257, 12)
    train_many(trial, 300, 12)
    return train_many(trial, 1000, 12, "report=true")


def rare(trial: Trial) -> str:
    """Write 99 of one class to 1 of another with a weak signal, and return the override."""
    random = np.random.default_rng(5)
    y = (np.arange(3000) % 100 == 0).astype("int64")
    x = random.normal(0, 1, (3000, 8, 8)) + 0.35 * y[:, None, None]
    x = np.clip(128 + 30 * x, 0, 255).astype("uint8")
    order = random.permutation(3000)
    return save(trial.folder / "imb.npz", x_train=x[order], y_train=y[order])


@case(69, "99:1 with a weak signal", "warned, with keys that help; no empty advice")
def imbalance(trial: Trial) -> str:
    ended = trial.run("data=npz", rare(trial), "model=mlp", "stages.train.epochs=3")
    want_no_crash(ended)
    want("class_imbalance" in ended.findings, f"findings {list(ended.findings)}")
    remedies = str(ended.findings["class_imbalance"])
    want("loss.weight=balanced" in remedies or "data.sampling=balanced" in remedies, remedies[-300:])
    for name, finding in ended.findings.items():
        want("init=he" not in finding["remedy"], f"{name} proposes the defaults in force: {finding['remedy']}")
    return f"{list(ended.findings)}; {ended.findings['class_imbalance']['remedy']}"


@case(70, "99:1, weighted by [1,50], balanced, own loss", "better; where the rate is too high, the remedy cures it")
def weighted(trial: Trial) -> str:
    path = rare(trial)
    trial.allow.add("tests.field.networks.weighted")
    own = ("loss=custom", "loss.function._target_=tests.field.networks.weighted")
    ways = {
        "sampling=balanced": ("data.sampling=balanced",),
        "weight=balanced": ("loss.weight=balanced",),
        "weight=[1,50]": ("loss.weight=[1,50]",),
        "own": own,
    }
    words = ("data=npz", path, "model=mlp", "stages.train.epochs=6", "stages.train.monitor=val_balanced_accuracy")

    def score(*more: str) -> tuple[float, dict[str, dict[str, Any]]]:
        ended = trial.run(*words, "stage=[train]", *more)
        want_no_crash(ended)
        history = ended.stages["train"]["metrics"].get("history", [])
        return max((epoch["val_balanced_accuracy"] for epoch in history), default=0.0), ended.findings

    plain, _ = score()
    got = [f"without {plain:.3f}"]
    for name, way in ways.items():
        reached, findings = score(*way)
        if "loss_exploding" in findings:
            remedy = findings["loss_exploding"]["remedy"]
            reached, findings = score(*way, *remedy)
            name = f"{name} {' '.join(remedy)}"
        want("loss_exploding" not in findings, f"{name} explodes with the remedy, too")
        want(reached > plain + 0.1, f"{name}: balanced accuracy {reached:.3f}, without {plain:.3f}")
        got.append(f"{name} {reached:.3f}")
    return "balanced accuracy: " + ", ".join(got)
