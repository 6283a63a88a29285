"""Broken .csv and .npz files: each ends in one message that names the file or the key, before any training."""

from __future__ import annotations

import copy
import functools
import gzip
import io
import pickle
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from pipeline.config.compose import compose_config
from pipeline.config.to_dict import to_dict
from pipeline.errors import UserError
from pipeline.workflow.build import load_data

ROOT = Path(__file__).parents[2]
N = 60
X = (np.arange(N * 30) % 251).reshape(N, 6, 5).astype(np.uint8)
ROWS = np.random.default_rng(0).normal(size=(N, 4))
Y = np.arange(N) % 3
TABLE = "a,b,label\n" + "".join(f"{i % 7},{i % 5 / 4},{'xyz'[i % 3]}\n" for i in range(N))
MATRIX = np.random.default_rng(1).integers(0, 2, (N, 4))


def with_cell(row: int, column: int, value: str) -> str:
    """Return the table with one other cell; row 0 is the header."""
    lines = [line.split(",") for line in TABLE.splitlines()]
    lines[row][column] = value
    return "\n".join(map(",".join, lines)) + "\n"


def put(array: np.ndarray, at: Any, value: Any) -> np.ndarray:
    changed = array.copy()
    changed[at] = value
    return changed


def npz_bytes(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **{"x_train": X, "y_train": Y, **arrays})
    return stream.getvalue()


def zip_bytes(*members: tuple[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two members of one name
        for name, content in members:
            archive.writestr(name, content)
    return stream.getvalue()


def npy_bytes(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


GOOD_Y = ("y_train.npy", npy_bytes(Y))
HUGE_HEADER = npy_bytes(X).replace(b"(60, 6, 5)", b"(6000000,)", 1)

# file name, content, further overrides, the key at fault, facts of the message
CASES: dict[str, tuple[str, bytes, list[str], str, list[str]]] = {
    # files that are no table
    "csv: empty": ("t.csv", b"", [], "path", []),
    "csv: blank": ("t.csv", b"\n \n", [], "path", []),
    "csv: header alone": ("t.csv", b"a,b,label\n", [], "path", ["a, b, label"]),
    "csv: no header": ("t.csv", TABLE.partition("\n")[2].encode(), [], "path", ["'0, 0.0, x'"]),
    "csv: one column": ("t.csv", b"label\nx\ny\n", [], "path", ["'label'"]),
    "csv: same names": ("t.csv", with_cell(0, 1, "a").encode(), [], "path", ["a occurs"]),
    "csv: two empty names": ("t.csv", with_cell(0, 1, "").replace("a,", ",", 1).encode(), [], "path", ["2 of the 3"]),
    "csv: one cell more": ("t.csv", with_cell(9, 1, "1,5").encode(), [], "path", ["line 10", " 4."]),
    "csv: one cell less": ("t.csv", TABLE.encode() + b"1,2\n", [], "path", ["line 62", " 2."]),
    "csv: open quote": ("t.csv", with_cell(9, 1, '"1').encode(), [], "path", ["line 10"]),
    "csv: latin-1": ("t.csv", with_cell(9, 2, "né").encode("latin-1"), [], "path", ["line 10", "0xe9", "iconv"]),
    "csv: bytes of 0": ("t.csv", TABLE.encode() + b"\0\0", [], "path", []),
    "csv: a zip": ("t.csv", npz_bytes(), [], "path", ["data=npz"]),
    "csv: Parquet": ("t.csv", b"PAR1....PAR1", [], "path", ["data=huggingface"]),
    "csv: torn gzip": ("t.csv.gz", gzip.compress(TABLE.encode())[:60], [], "path", []),
    # labels of a table
    "csv: no label": ("t.csv", TABLE.replace("label", "c", 1).encode(), [], "label", ["a, b, c"]),
    "csv: two labels": ("t.csv", with_cell(0, 1, "y").encode(), [], "label", ["y, label"]),
    "csv: misspelt label": ("t.csv", TABLE.encode(), ["data.label=lable"], "label", ["'label'"]),
    "csv: empty label": ("t.csv", with_cell(9, 2, "").encode(), [], "label", ["line 10", "1 of 60"]),
    "csv: one class": ("t.csv", TABLE.replace("y\n", "x\n").replace("z\n", "x\n").encode(), [], "path", ["'x'"]),
    "csv: lonely class": ("t.csv", with_cell(9, 2, "w").encode(), [], "test", ["'w'"]),
    "csv: text as label": (
        "t.csv",
        ("a,b,label\n" + "".join(f"{i},{i},word {i}\n" for i in range(N))).encode(),
        [],
        "label",
        ["60 different"],
    ),
    "csv: words as targets": ("t.csv", TABLE.encode(), ["data.task=regression"], "label", ["'x'", "line 2"]),
    "csv: numbers as tags": ("t.csv", TABLE.encode(), ["data.label=a", "data.task=multilabel"], "task", ["'0'"]),
    "csv: unknown task": ("t.csv", TABLE.encode(), ["data.task=multi"], "task", ["'multilabel'"]),
    "csv: several words": ("t.csv", TABLE.encode(), ["data.label=[a,label]"], "label", ["'x'", "line 2"]),
    "csv: constant target": (
        "t.csv",
        ("a,b,y\n" + "".join(f"{i % 7},{i},2.5\n" for i in range(N))).encode(),
        [],
        "path",
        ["'y'", "one value"],
    ),
    # columns of a table
    "csv: word among numbers": (
        "t.csv",
        ("a,b,label\n" + "".join(f"{i / 7 if i != 8 else 'oops'},{i % 3},{'xyz'[i % 2]}\n" for i in range(N))).encode(),
        [],
        "path",
        ["'oops'", "line 10", "data.categories"],
    ),
    "csv: infinite": (
        "t.csv",
        ("a,b,label\n" + "".join(f"{i / 7 if i != 8 else '1e999'},{i % 3},{i % 2}\n" for i in range(N))).encode(),
        [],
        "path",
        ["line 10", "1e999"],
    ),
    "csv: a column is the label": (
        "t.csv",
        ("a,code,label\n" + "".join(f"{i % 7},{i % 3},{'xyz'[i % 3]}\n" for i in range(N))).encode(),
        [],
        "path",
        ["'code'", "data.drop=['code']"],
    ),
    "csv: a column is the target": (
        "t.csv",
        ("a,b,y\n" + "".join(f"{i % 7},{2 * i**1.5 + 1},{i**1.5}\n" for i in range(N))).encode(),
        [],
        "path",
        ["'b'"],
    ),
    "csv: identifiers only": (
        "t.csv",
        ("id,label\n" + "".join(f"{i},{i % 2}\n" for i in range(N))).encode(),
        [],
        "path",
        ["data.drop=[]"],
    ),
    "csv: drop is misspelt": ("t.csv", TABLE.encode(), ["data.drop=[aa]"], "drop", ["'aa'"]),
    "csv: the label is dropped": ("t.csv", TABLE.encode(), ["data.drop=[label]"], "drop", ["'label'"]),
    "csv: no such groups": ("t.csv", TABLE.encode(), ["data.groups=patient"], "groups", ["'patient'"]),
    "csv: one group": (
        "t.csv",
        ("a,g,label\n" + "".join(f"{i % 7},s,{'xyz'[i % 3]}\n" for i in range(N))).encode(),
        ["data.groups=g"],
        "groups",
        ["'s'"],
    ),
    "csv: two roles": ("t.csv", TABLE.encode(), ["data.groups=label"], "groups", ["data.label"]),
    "csv: weights are words": ("t.csv", with_cell(9, 1, "much").encode(), ["data.weights=b"], "weights", ["line 2"]),
    "csv: negative weight": ("t.csv", with_cell(9, 1, "-1").encode(), ["data.weights=b"], "weights", ["line 10"]),
    "csv: unknown split": ("t.csv", TABLE.encode(), ["data.split_column=label"], "split_column", ["'x'", "line 2"]),
    "csv: no training": (
        "t.csv",
        ("a,split,label\n" + "".join(f"{i % 7},test,{'xyz'[i % 3]}\n" for i in range(N))).encode(),
        [],
        "split_column",
        [],
    ),
    "csv: images that are not there": (
        "t.csv",
        b"file,label\na.png,x\nb.png,y\n",
        [],
        "path_column",
        ["2 of 2", "'a.png'", "line 2"],
    ),
    "csv: no folder": ("t.csv", b"file,label\na.png,x\nb.png,y\n", ["data.images=nowhere"], "images", ["nowhere"]),
    "csv: no images at all": ("t.csv", TABLE.encode(), ["data.images=."], "path_column", []),
    # files that are no .npz
    "npz: empty": ("t.npz", b"", [], "path", []),
    "npz: a table": ("t.npz", TABLE.encode(), [], "path", ["data=csv"]),
    "npz: latin-1 text": ("t.npz", "é;è\n1;2\n".encode("latin-1"), [], "path", []),
    "npz: a pickle": ("t.npz", pickle.dumps({"x_train": [1]}), [], "path", ["pickle"]),
    "npz: one array": ("t.npz", npy_bytes(X), [], "path", ["savez"]),
    "npz: torn": ("t.npz", npz_bytes()[:900], [], "path", []),
    "npz: another archive": ("t.npz", zip_bytes(("a.txt", b"a")), [], "path", ["a.txt"]),
    "npz: a text of that name": ("t.npz", zip_bytes(("x_train", b"a"), GOOD_Y), [], "path", ["x_train"]),
    "npz: twice the same": (
        "t.npz",
        zip_bytes(("x_train.npy", npy_bytes(X)), ("x_train.npy", npy_bytes(X)), GOOD_Y),
        [],
        "path",
        ["x_train"],
    ),
    "npz: less than it says": ("t.npz", zip_bytes(("x_train.npy", HUGE_HEADER), GOOD_Y), [], "path", []),
    "npz: misspelt": ("t.npz", zip_bytes(("X_train.npy", npy_bytes(X)), GOOD_Y), [], "path", ["'X_train'"]),
    "npz: half a split": ("t.npz", npz_bytes(x_val=X), [], "path", ["x_val and y_val"]),
    # inputs
    "npz: objects": ("t.npz", npz_bytes(x_train=np.array([[1], [1, 2]] * 30, object)), [], "path", ["x_train"]),
    "npz: words": ("t.npz", npz_bytes(x_train=X.astype(str)), [], "path", ["x_train", "data=csv"]),
    "npz: complex": ("t.npz", npz_bytes(x_train=X.astype(complex)), [], "path", ["x_train", "complex128"]),
    "npz: times": ("t.npz", npz_bytes(x_train=X.astype("M8[s]")), [], "path", ["x_train"]),
    "npz: booleans": ("t.npz", npz_bytes(x_train=X > 5), [], "path", ["x_train", "astype('float32')"]),
    "npz: records": ("t.npz", npz_bytes(x_train=np.zeros(N, [("a", int)])), [], "path", ["x_train"]),
    "npz: no dimension": ("t.npz", npz_bytes(x_train=np.uint8(4)), [], "path", ["x_train is ()"]),
    "npz: one dimension": ("t.npz", npz_bytes(x_train=np.arange(N)), [], "path", ["x_train is (60,)"]),
    "npz: no columns": ("t.npz", npz_bytes(x_train=np.zeros((N, 0))), [], "path", ["(60, 0)"]),
    "npz: films": ("t.npz", npz_bytes(x_train=np.zeros((N, 3, 4, 5, 6))), [], "path", ["(60, 3, 4, 5, 6)"]),
    "npz: which are the channels": (
        "t.npz",
        npz_bytes(x_train=np.zeros((N, 6, 6, 6), np.uint8)),
        [],
        "path",
        ["data.channels_last"],
    ),
    "npz: no channels": ("t.npz", npz_bytes(), ["data.channels_last=true"], "channels_last", ["(60, 6, 5)"]),
    "npz: missing values": (
        "t.npz",
        npz_bytes(x_train=put(ROWS, (7, 2), np.nan)),
        [],
        "path",
        ["row 7 in column 2", "1 in 1 row"],
    ),
    "npz: 64 bits": ("t.npz", npz_bytes(x_train=X.astype(np.uint64) * 10**15), [], "path", ["x_train"]),
    "npz: bytes as floats": ("t.npz", npz_bytes(x_train=X.astype(np.float16)), [], "path", ["data.scale"]),
    "npz: other widths": (
        "t.npz",
        npz_bytes(x_train=ROWS, x_test=ROWS[:9, :3], y_test=Y[:9]),
        [],
        "path",
        ["test has 3", "train 4"],
    ),
    "npz: nothing": ("t.npz", npz_bytes(x_train=X[:0], y_train=Y[:0]), [], "path", ["train split"]),
    "npz: numbers of examples": ("t.npz", npz_bytes(y_train=Y[:-1]), [], "path", ["60 images", "(59,)"]),
    "npz: numbers of rows": ("t.npz", npz_bytes(x_train=ROWS, y_train=Y[:-1]), [], "path", ["60 rows"]),
    # labels
    "npz: one-hot": ("t.npz", npz_bytes(y_train=np.eye(3)[Y]), [], "path", ["y.argmax(1)"]),
    "npz: probabilities": ("t.npz", npz_bytes(y_train=np.full((N, 4), 0.25)), [], "path", ["y.argmax(1)"]),
    "npz: not one-hot": ("t.npz", npz_bytes(y_train=MATRIX), ["data.task=classification"], "path", ["multilabel"]),
    "npz: rows of integers": ("t.npz", npz_bytes(y_train=MATRIX * 3), [], "path", ["data.task=regression"]),
    "npz: label always holds": ("t.npz", npz_bytes(y_train=put(MATRIX, (slice(None), 1), 1)), [], "path", ["'1'"]),
    "npz: labels from 1": ("t.npz", npz_bytes(y_train=Y + 1), [], "path", ["y - 1"]),
    "npz: labels with gaps": ("t.npz", npz_bytes(y_train=Y * 10), [], "path", ["return_inverse"]),
    "npz: negative label": ("t.npz", npz_bytes(y_train=put(Y, 4, -100)), [], "path", ["-100", "index 4"]),
    "npz: labels from -1": ("t.npz", npz_bytes(y_train=Y - 1), [], "path", ["return_inverse", "remove"]),
    "npz: one label": ("t.npz", npz_bytes(y_train=Y * 0 + 1), [], "path", ["two classes"]),
    "npz: huge label": ("t.npz", npz_bytes(y_train=Y.astype(np.uint64) * 2**62), [], "path", [str(2**63)]),
    "npz: NaN label": ("t.npz", npz_bytes(y_train=put(Y / 1, 4, np.nan)), [], "path", ["1 of 60"]),
    "npz: infinite target": ("t.npz", npz_bytes(y_train=put(ROWS[:, 0], 4, np.inf)), [], "path", ["1 of 60"]),
    "npz: constant target": ("t.npz", npz_bytes(y_train=np.full(N, 2.5)), [], "path", ["'target'"]),
    "npz: complex labels": ("t.npz", npz_bytes(y_train=Y.astype(complex)), [], "path", ["y_train", "complex128"]),
    "npz: times as labels": ("t.npz", npz_bytes(y_train=Y.astype("M8[D]")), [], "path", ["y_train"]),
    "npz: objects as labels": ("t.npz", npz_bytes(y_train=np.array(["a", 1] * 30, object)), [], "path", ["y_train"]),
    "npz: labels without dimension": ("t.npz", npz_bytes(y_train=np.int64(1)), [], "path", ["()"]),
    "npz: pictures as labels": ("t.npz", npz_bytes(y_train=X), [], "path", ["y_train is (60, 6, 5)"]),
    "npz: words in one split": ("t.npz", npz_bytes(x_test=X[:3], y_test=np.array(list("abc"))), [], "path", ["y_test"]),
    "npz: fractions": ("t.npz", npz_bytes(y_train=Y / 2), ["data.task=classification"], "path", ["fractions"]),
    "npz: words as targets": ("t.npz", npz_bytes(y_train=Y.astype(str)), ["data.task=regression"], "path", ["'0'"]),
    # names
    "npz: too few names": ("t.npz", npz_bytes(classes=np.array(["a", "b"])), [], "path", ["2 names", "up to 2"]),
    "npz: too many names": ("t.npz", npz_bytes(classes=np.array(list("abcd"))), [], "path", ["'d'"]),
    "npz: equal names": ("t.npz", npz_bytes(classes=np.array(["a", "a", "a"])), [], "path", ["'a'"]),
    "npz: floats as names": ("t.npz", npz_bytes(classes=np.zeros(3)), [], "path", ["classes", "float64"]),
    "npz: names of other words": (
        "t.npz",
        npz_bytes(y_train=np.array(list("xyz"))[Y], classes=np.array(list("xyw"))),
        [],
        "path",
        ["'z'"],
    ),
}  # fmt: skip


@functools.cache
def data_node(option: str) -> dict[str, Any]:
    return to_dict(compose_config([f"data={option}"]))["data"]


@pytest.mark.parametrize(("name", "content", "overrides", "field", "facts"), CASES.values(), ids=CASES.keys())
def test_broken_files(
    name: str, content: bytes, overrides: list[str], field: str, facts: list[str], tmp_path: Path
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    node = copy.deepcopy(data_node("npz" if name.endswith(".npz") else "csv"))
    for override in [f"data.path={file}", *overrides]:
        key, _, value = override.removeprefix("data.").partition("=")
        node[key] = node["source"][key] = yaml.safe_load(value)
    with pytest.raises(UserError) as error:
        load_data(node)
    assert error.value.field == f"data.{field}"
    assert str(file) in error.value.message or field != "path"
    for fact in facts:
        assert fact in error.value.message
    assert "allow_pickle" not in error.value.message


def test_number_of_kinds() -> None:
    assert len(CASES) >= 40


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "npz", "missing"])
def test_the_program_says_one_thing_and_leaves_nothing(kind: str, tmp_path: Path) -> None:
    name, content, *_ = CASES["npz: a table" if kind == "npz" else "csv: latin-1"]
    if kind != "missing":
        (tmp_path / name).write_bytes(content)
    option = "npz" if kind == "npz" else "csv"
    command = [sys.executable, "-m", "pipeline", f"data={option}", f"data.path={tmp_path / name}"]
    done = subprocess.run(
        [*command, f"outputs={tmp_path / 'out'}", "model=mlp"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 2
    lines = (done.stdout + done.stderr).strip().splitlines()
    assert len([line for line in lines if line.startswith("error:")]) == 1
    assert "Traceback" not in done.stderr
    assert name in done.stderr
    assert not list((tmp_path / "out").rglob("outcome.json"))
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").rglob("*.*"))
