"""The commands predict, evaluate, export and card, as a shell calls them."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.cli import run_command
from pipeline.data.sources.embedded import digits as digits_source
from pipeline.errors import UserError
from tests.prediction.small_inputs import COLOURS, write_picture, write_rows, write_table
from tests.report.pages import PageParser
from tests.small_run import ROOT

Capture = pytest.CaptureFixture[str]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def record_of(outputs: Path) -> dict[str, Any]:
    (path,) = outputs.glob("*/*/outcome.json")
    return json.loads(path.read_text())


def test_predict(colour_run: Path, pictures: Path, tmp_path: Path, capsys: Capture) -> None:
    """The table, the page and what could not be read; the exit code is 0 as long as something could."""
    broken = tmp_path / "broken.png"
    broken.write_text("x")
    out, page = tmp_path / "new" / "out.csv", tmp_path / "page.html"
    code = run_command("predict", [str(colour_run), str(pictures), str(broken), "--out", str(out), "--page", str(page)])
    printed = capsys.readouterr()
    assert code == 0
    assert str(broken) in printed.err
    assert str(out) in printed.out
    rows = rows_of(out)
    assert [row["input"] for row in rows][:2] == [str(pictures / "blue" / "0.png"), str(pictures / "blue" / "1.png")]
    assert [row["class"] for row in rows] == [Path(row["input"]).parent.name for row in rows]
    for row in rows:
        assert sum(float(row[f"probability{rank}"]) for rank in ("", "_2", "_3")) == pytest.approx(1, abs=1e-5)
        assert float(row["probability"]) >= float(row["probability_2"]) >= float(row["probability_3"])
    content = PageParser(page.read_text())
    assert content.tags.count("img") == 60
    assert str(broken) in content.texts


def test_predict_prints(colour_run: Path, pictures: Path, capsys: Capture) -> None:
    file = pictures / "red" / "0.png"
    assert run_command("predict", [str(colour_run), str(file), "--top-k", "2"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{file}  red 0.")
    assert line.count(",") == 1
    assert run_command("predict", [str(colour_run), "--json", str(file)]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["classes"] == list(COLOURS)
    assert answer["predictions"][0]["class"] == "red"
    assert next(iter(answer["predictions"][0]["probabilities"])) == "red"
    assert answer["unreadable"] == []


def test_predict_other_tasks(values_run: Path, labels_run: Path, table_run: Path, tmp_path: Path) -> None:
    """Values in the units of the targets, a probability for each label, and rows of a table."""
    out = tmp_path / "out.csv"
    for run, kind in ((values_run, "regression"), (labels_run, "multilabel")):
        data = write_rows(tmp_path / "rows.npz", kind)
        assert run_command("predict", [str(run), str(data), "--out", str(out), "--page", str(tmp_path / "p.html")]) == 0
        rows = rows_of(out)
        assert rows[0]["input"] == f"{data}:x_train[0]"
        if kind == "regression":
            assert np.mean([float(row["cm"]) for row in rows]) == pytest.approx(100, abs=10)
        else:
            for row in rows:
                assert row["labels"] == ";".join(name for name in "abcd" if float(row[name]) >= 0.5)
    table = write_table(tmp_path / "people.csv", 50)
    assert run_command("predict", [str(table_run), str(table), "--out", str(out)]) == 0
    expected = [line.split(",")[2] for line in table.read_text().splitlines()[1:]]
    given = [row["class"] for row in rows_of(out)]
    assert sum(a == b for a, b in zip(given, expected, strict=True)) > 40


def test_predict_names_values_that_training_never_had(table_run: Path, tmp_path: Path, capsys: Capture) -> None:
    table = write_table(tmp_path / "people.csv", 30, towns=("Bern", "Mars"))
    assert run_command("predict", [str(table_run), str(table)]) == 0
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 30
    (line,) = printed.err.splitlines()
    for fact in ("town", "'Mars'", "15 rows"):
        assert fact in line
    assert run_command("predict", [str(table_run), str(table), "--json"]) == 0
    (note,) = json.loads(capsys.readouterr().out)["notes"]
    assert "'Mars'" in note


def test_predict_refuses(colour_run: Path, pictures: Path, tmp_path: Path) -> None:
    picture = str(pictures / "red" / "0.png")
    (tmp_path / "broken.png").write_text("x")
    for arguments in (
        [str(colour_run), str(tmp_path / "broken.png")],
        [str(colour_run), "nowhere"],
        [str(colour_run)],
        ["nowhere", picture],
        [str(colour_run), picture, "--out", "preds.txt"],
        [str(colour_run), picture, "--out", str(tmp_path)],
        [str(colour_run), picture, "--page", picture],
        [str(colour_run), picture, "--top-k", "0"],
        [str(colour_run), picture, "--fit", "pad"],
        [str(colour_run), picture, "--fitt", "pad"],
    ):
        with pytest.raises(UserError):
            run_command("predict", arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["broken.png"]


def test_predict_resizes(digits_run: Path, tmp_path: Path, capsys: Capture) -> None:
    """Where the run resized nothing, --fit does."""
    file = write_picture(tmp_path / "large.png", (9, 9, 9), size=(30, 20))
    assert run_command("predict", [str(digits_run), str(file), "--fit", "pad"]) == 0
    assert capsys.readouterr().out.startswith(str(file))


def test_predict_is_quick(digits_run: Path, tmp_path: Path) -> None:
    """A prediction loads no Lightning, which takes longer than all else."""
    np.save(tmp_path / "x.npy", digits_source().train.pixels[:3].numpy())
    code = "import sys; from pipeline.cli import run_command; run_command('predict', sys.argv[1:]); print(*sys.modules)"
    words = [sys.executable, "-c", code, str(digits_run), str(tmp_path / "x.npy")]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=True)
    assert "x.npy[2]  " in done.stdout
    assert not {"pytorch_lightning", "lightning_fabric", "torchmetrics", "hydra"} & set(done.stdout.split())


def test_evaluate_own_test_split(digits_run: Path, tmp_path: Path) -> None:
    """The same score as at the end of the run, in a run of its own, beside the score on the validation split."""
    assert run_command("evaluate", [str(digits_run), f"outputs={tmp_path}"]) == 0
    record, original = record_of(tmp_path), json.loads((digits_run / "outcome.json").read_text())
    (stage,) = record["stages"]
    assert stage["metrics"]["test_accuracy"] == original["stages"][-1]["metrics"]["test_accuracy"]
    assert record["data"]["fingerprint"] == original["data"]["fingerprint"]
    assert record["command"] == f"python -m pipeline evaluate {digits_run} outputs={tmp_path}"
    assert run_command("predict", ["latest", "--outputs", str(tmp_path), str(_digits(tmp_path))]) == 0  # follows it


def _digits(folder: Path) -> Path:
    np.save(folder / "x.npy", digits_source().train.pixels[:3].numpy())
    return folder / "x.npy"


def test_evaluate_other_data(colour_run: Path, pictures: Path, tmp_path: Path) -> None:
    """Classes are matched by name: with one missing, the others have other numbers in these data."""
    other = tmp_path / "other"
    shutil.copytree(pictures, other, ignore=shutil.ignore_patterns("blue"))
    for i in range(5):  # five greens that are called red
        shutil.copy(pictures / "green" / f"{i}.png", other / "red" / f"wrong{i}.png")
    assert run_command("evaluate", [str(colour_run), f"data.path={other}", f"outputs={tmp_path / 'out'}"]) == 0
    record = record_of(tmp_path / "out")
    metrics = record["stages"][0]["metrics"]
    assert record["data"]["sizes"] == {"train": 0, "val": 0, "test": 45}
    assert metrics["test_accuracy"] == pytest.approx(40 / 45)
    assert metrics["per_class_accuracy"] == {"blue": None, "green": 1.0, "red": pytest.approx(20 / 25)}
    assert (tmp_path / "out" / "colours").is_dir()


def test_evaluate_official_test_split(colour_run: Path, pictures: Path, tmp_path: Path) -> None:
    for split, names in (("train", ("0", "1", "2")), ("test", ("3", "4"))):
        for colour in COLOURS:
            for name in names:
                target = tmp_path / "data" / split / colour / f"{name}.png"
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(pictures / colour / f"{name}.png", target)
    assert (
        run_command("evaluate", [str(colour_run), f"data.path={tmp_path / 'data'}", f"outputs={tmp_path / 'out'}"]) == 0
    )
    assert record_of(tmp_path / "out")["data"]["sizes"]["test"] == 6


@pytest.mark.parametrize("kind", ["values", "labels", "table"])
def test_evaluate_other_tasks(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """On the data that a run was trained on, but all of them, with the run's moments, columns and names."""
    run = request.getfixturevalue(f"{kind}_run")
    data = {
        "values": lambda: write_rows(tmp_path / "rows.npz", "regression"),
        "labels": lambda: write_rows(tmp_path / "rows.npz", "multilabel"),
        "table": lambda: write_table(tmp_path / "people.csv", 90, towns=("Rome", "Paris")),
    }[kind]()
    if kind != "table":  # the columns of the targets in another order
        with np.load(data) as arrays:
            named = dict(arrays)
        np.savez(data, x_train=named["x_train"], y_train=named["y_train"][:, ::-1], classes=named["classes"][::-1])
    assert run_command("evaluate", [str(run), f"data.path={data}", f"outputs={tmp_path / 'out'}"]) == 0
    record = record_of(tmp_path / "out")
    original = json.loads((run / "outcome.json").read_text())
    metrics, before = record["stages"][0]["metrics"], original["stages"][-1]["metrics"]
    name = "test_r2" if kind == "values" else "test_accuracy"
    assert metrics[name] == pytest.approx(before[name], abs=0.25)
    assert record["data"]["classes"] == original["data"]["classes"]


def test_evaluate_refuses(colour_run: Path, digits_run: Path, pictures: Path, values_run: Path, tmp_path: Path) -> None:
    """Before anything is evaluated, with the key at fault; nothing is left behind."""
    unknown = tmp_path / "unknown"
    shutil.copytree(pictures, unknown)
    (unknown / "red").rename(unknown / "rde")
    x = digits_source().train.pixels[:60, 0].numpy()
    for name, arrays in {
        "shape": {"x_train": np.pad(x, ((0, 0), (1, 1), (1, 1))), "y_train": np.arange(60) % 10},
        "names": {"x_train": x, "y_train": np.arange(60) % 10, "classes": np.array(list("abcdefghij"))},
        "task": {"x_train": x, "y_train": np.random.default_rng(0).normal(size=60)},
    }.items():
        np.savez(tmp_path / f"{name}.npz", **arrays)  # type: ignore[arg-type]
    out = f"outputs={tmp_path / 'out'}"
    for run, overrides, field in (
        (colour_run, [f"data.path={unknown}"], "data.path"),
        (colour_run, [f"data.path={tmp_path / 'nowhere'}"], "data.path"),
        (digits_run, ["data=npz", f"data.path={tmp_path / 'shape.npz'}"], "data.path"),
        (digits_run, ["data=npz", f"data.path={tmp_path / 'names.npz'}"], "data.path"),
        (digits_run, ["data=npz", f"data.path={tmp_path / 'task.npz'}"], "data.path"),
        (digits_run, ["data=npz"], "data.path"),
        (digits_run, ["data.pth=x"], "data.pth"),
        (digits_run, ["model.width=3"], "model.width"),
        (digits_run, ["stages.train.epochs=3"], "stages.train.epochs"),
        (digits_run, ["data.path=a,b"], "data.path"),
        (tmp_path, [], None),
    ):
        with pytest.raises(UserError) as error:
            run_command("evaluate", [str(run), *overrides, out])
        assert error.value.field == field, overrides
    assert not (tmp_path / "out").exists()


def test_evaluate_other_scale(digits_run: Path, tmp_path: Path) -> None:
    """Pixels that are stored on another scale, floats in [0, 1], are brought to that of the run."""
    train = digits_source().train
    x, y = train.pixels[:200, 0].numpy(), train.labels[:200].numpy()
    np.savez(tmp_path / "bytes.npz", x_train=x, y_train=y)
    np.savez(tmp_path / "floats.npz", x_train=(x / 16).astype(np.float32), y_train=y)
    scores = []
    for name, scale in (("bytes", ["data.scale=0.0625"]), ("floats", [])):
        out = tmp_path / f"out_{name}"
        arguments = ["data=npz", f"data.path={tmp_path / name}.npz", *scale, f"outputs={out}"]
        assert run_command("evaluate", [str(digits_run), *arguments]) == 0
        scores.append(record_of(out)["stages"][0]["metrics"]["test_loss"])
    assert scores[0] == pytest.approx(scores[1], rel=1e-5)


def test_export(digits_run: Path, tmp_path: Path, capsys: Capture) -> None:
    """Compared on test examples of the run, or on inputs that are given."""
    for inputs, count in (([], 64), ([str(_digits(tmp_path))], 12)):
        out = tmp_path / "digits.pt2"
        assert run_command("export", [str(digits_run), "--format", "torch.export", "--out", str(out), *inputs]) == 0
        printed = capsys.readouterr().out
        assert printed.startswith(f"{out}\n")
        assert f" on {count} inputs" in printed
    for arguments in (["--format", "onnx", "--out", "x.pt2"], ["--format", "onxx"], []):
        with pytest.raises(UserError):
            run_command("export", [str(digits_run), *arguments])


def test_card(digits_run: Path, capsys: Capture) -> None:
    assert run_command("card", [str(digits_run)]) == 0
    assert capsys.readouterr().out.startswith("# Model card")
