"""Whole runs, as a user starts them: their files, exit codes, wrong input, interruption and resuming."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch

import pipeline
from pipeline.config.compose import compose_config
from pipeline.data.sources.embedded import digits
from pipeline.errors import UserError
from pipeline.workflow.result import RunResult
from pipeline.workflow.runner import run

ROOT = Path(__file__).resolve().parent.parent
TINY = ["data=digits", "model=mlp", "model.width=32", "optimizer.lr=0.02"]
SMALL = [*TINY, "stages.train.epochs=4"]


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    return tmp_path / "outputs"


def run_in(outputs: Path, *overrides: str) -> RunResult:
    return pipeline.run([f"outputs={outputs}", *overrides], quiet=True)


def command(outputs: Path, *overrides: str) -> list[str]:
    return [sys.executable, "-m", "pipeline", f"outputs={outputs}", *overrides]


def shell(outputs: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(outputs, *overrides), cwd=ROOT, capture_output=True, text=True, timeout=240)


def record_of(folder: Path) -> dict:
    record = json.loads((folder / "outcome.json").read_text())
    jsonschema.validate(record, json.loads((ROOT / "docs" / "outcome.schema.json").read_text()))
    return record


# ---------------------------------------------------------------- a whole run


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return run_in(tmp_path_factory.mktemp("whole") / "outputs", *SMALL, "name=mine", "tags=[a,b]")


def test_stages_pass_in_order(whole: RunResult) -> None:
    assert whole.status == "passed"
    assert whole.exit_code == 0
    assert [outcome.name for outcome in whole.outcomes] == ["sanity", "overfit", "train", "evaluate"]
    assert whole.metrics["evaluate"]["test_accuracy"] > 0.85
    assert not whole.findings


def test_files_of_run(whole: RunResult) -> None:
    folder = whole.directory
    record = record_of(folder)
    assert record["status"] == "passed"
    assert record["name"] == "mine"
    assert record["tags"] == ["a", "b"]
    assert record["data"]["sizes"] == {"train": 1437, "val": 180, "test": 180}
    assert (folder.parent.parent / "latest").resolve() == folder.resolve()
    names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    assert names == [
        ".hydra/config.yaml",
        ".hydra/overrides.yaml",
        "checkpoints/best.ckpt",
        "checkpoints/best.ckpt.sha256",
        "checkpoints/last.ckpt",
        "checkpoints/last.ckpt.sha256",
        "history.csv",
        "model_card.md",
        "outcome.json",
        "pictures.npz",
        "report.html",
        "signals.json",
    ]
    assert len((folder / "history.csv").read_text().splitlines()) == 1 + 4


def test_predictor(whole: RunResult) -> None:
    predictor = pipeline.load(whole.directory)
    from pipeline.data import split

    test = split(digits(), validation=0.1, test=0.1, seed=0, limit=None).test
    correct = sum(
        name == predictor.classes[label]
        for name, label in zip(predictor.predict_classes(test.pixels), test.labels.tolist(), strict=True)
    )
    assert correct / len(test) == pytest.approx(whole.metrics["evaluate"]["test_accuracy"])
    with pytest.raises(ValueError, match=r"\(1, 3, 8, 8\).*\(1, 8, 8\)"):
        predictor(torch.zeros(1, 3, 8, 8))


def test_predictor_averages_views(outputs: Path) -> None:
    run = run_in(outputs, *TINY, "stages.train.epochs=1", "stage=[train,evaluate]", "augmentation=flip")
    assert run.metrics["evaluate"]["views"] == 2
    predictor, images = pipeline.load(run.directory), digits().train.pixels[:50]
    torch.testing.assert_close(predictor(images), predictor(images.flip(-1)))


def test_checkpoint_is_plain_data(whole: RunResult) -> None:
    state = torch.load(whole.directory / "checkpoints" / "best.ckpt", weights_only=True)
    assert state["pipeline"]["classes"] == [str(digit) for digit in range(10)]


def test_recorded_command(tmp_path: Path, outputs: Path) -> None:
    """The command in outcome.json repeats the run, with an option from a folder of the user."""
    (tmp_path / "conf" / "optimizer").mkdir(parents=True)
    (tmp_path / "conf" / "optimizer" / "mine.yaml").write_text((ROOT / "conf" / "optimizer" / "sgd.yaml").read_text())
    overrides = [f"outputs={outputs}", *TINY, "stage=sanity", "optimizer=mine"]
    config_dir = str(tmp_path / "conf")
    first = run(
        compose_config(overrides, config_dir=config_dir), overrides=overrides, config_dir=config_dir, quiet=True
    )
    command = shlex.split(record_of(first.directory)["command"])
    assert command == ["python", "-m", "pipeline", f"--config-dir={config_dir}", *overrides]
    done = subprocess.run([sys.executable, *command[1:]], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    again = record_of(outputs / "latest")
    assert again["command"] == record_of(first.directory)["command"]
    assert again["config_hash"] == record_of(first.directory)["config_hash"]


def test_seed_decides_bits(whole: RunResult, outputs: Path) -> None:
    def weights(result: RunResult) -> dict[str, torch.Tensor]:
        return torch.load(result.directory / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]

    first, again = weights(whole), weights(run_in(outputs, *SMALL, "stage=train"))
    other = weights(run_in(outputs, *SMALL, "stage=train", "seed=1"))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


# ---------------------------------------------------------------- failing runs


def test_zero_weights_fail_sanity(outputs: Path) -> None:
    """No later stage runs."""
    result = run_in(outputs, *SMALL, "init=zeros")
    assert (result.status, result.exit_code) == ("failed", 3)
    assert [outcome.name for outcome in result.outcomes] == ["sanity"]
    assert [finding.check for finding in result.findings] == ["symmetric_units"]
    record = record_of(result.directory)
    assert record["stages"][0]["findings"][0]["remedy"] == ["init=he"]


def test_remedy_helps(outputs: Path) -> None:
    broken = [*TINY, "stage=sanity", "init=large_gaussian", "batchnorm=none"]
    finding = run_in(outputs, *broken).findings[0]
    assert finding.check == "exploding_activations"
    assert run_in(outputs, *broken, *finding.remedy).status == "passed"


def test_early_break(outputs: Path) -> None:
    result = run_in(outputs, *SMALL, "stage=train", "batchnorm=none", "optimizer.lr=30", "stages.train.epochs=50")
    assert result.exit_code == 3
    finding = result.findings[0]
    assert finding.check in ("loss_exploding", "nonfinite")
    assert finding.remedy == ("optimizer.lr=3",)
    assert finding.step is not None
    assert finding.step <= 23  # one epoch of 50


def test_signals_off(outputs: Path) -> None:
    """Without recorded signals the curves are still checked."""
    result = run_in(outputs, *SMALL, "stage=train", "signals=off")
    assert result.status == "passed"
    assert result.outcomes[0].signals is not None
    assert not {"samples", "units", "probe_examples"} & set(result.outcomes[0].signals)
    broken = run_in(outputs, *SMALL, "stage=train", "signals=off", "batchnorm=none", "optimizer.lr=30")
    assert broken.findings[0].check in ("loss_exploding", "nonfinite")


@pytest.mark.slow
@pytest.mark.parametrize("data", ["fashion_mnist_5k", "digits"])
def test_overfit_passes(data: str, outputs: Path) -> None:
    assert run_in(outputs, f"data={data}", "stage=[sanity,overfit]").status == "passed"


# ---------------------------------------------------------------- wrong input: one message, and no files


def save_npz(path: Path, **changes: np.ndarray | None) -> Path:
    random = np.random.default_rng(0)
    arrays = {"x_train": random.integers(0, 256, (200, 8, 8), dtype=np.uint8), "y_train": np.arange(200) % 4}
    np.savez(path, **{name: value for name, value in (arrays | changes).items() if value is not None})
    return path


NAN = np.full((200, 8, 8), 0.5)
NAN[3, 2, 1] = np.nan
INFINITE = np.where(np.isnan(NAN), np.inf, NAN)
FILES = {
    "NaN": ({"x_train": NAN}, "NaN or infinite"),
    "infinite": ({"x_train": INFINITE}, "NaN or infinite"),
    "negative label": ({"y_train": np.where(np.arange(200) == 5, -100, np.arange(200) % 4)}, "-100"),
    "empty split": ({"x_test": np.zeros((0, 8, 8), np.uint8), "y_test": np.zeros(0, np.int64)}, "empty"),
    "absent class": ({"y_train": np.where(np.arange(200) % 4 == 2, 1, np.arange(200) % 4)}, "class '2'"),
    "bytes as floats": ({"x_train": np.full((200, 8, 8), 255.0)}, "scale"),
    "lengths": ({"y_train": np.arange(199) % 4}, "199"),
}


@pytest.mark.parametrize("case", FILES)
def test_wrong_data(case: str, tmp_path: Path, outputs: Path) -> None:
    changes, word = FILES[case]
    path = save_npz(tmp_path / "mine.npz", **changes)
    with pytest.raises(UserError, match=word) as caught:
        run_in(outputs, "data=npz", f"data.path={path}")
    assert caught.value.field == "data.path"
    assert not outputs.exists()


WRONG = {
    "data=npz data.path=nowhere.npz": "data.path",
    "data=npz": "data.path",
    "activation=rleu": "activation",
    "optimzer.lr=1": "optimzer.lr",
    "+optimzer.lr=1": "optimzer.lr",
    "++stages.train.epoch=3": "stages.train.epoch",
    "+optimizer.lrr=1": "optimizer.lrr",
    "optimizer.lr=abc": "optimizer.lr",
    "optimizer.lr=": "optimizer.lr",
    "optimizer.lr=-1": "optimizer.lr",
    "optimizer.lr=nan": "optimizer.lr",
    "optimizer.lr=inf": "optimizer.lr",
    "optimizer.lr=1e30": "optimizer.lr",
    "stages.train.epochs=0": "stages.train.epochs",
    "data.batch_size=5000": "data.batch_size",
    "data.batch_size=-3": "data.batch_size",
    "data.batch_size=359": "data.batch_size",  # 1437 = 4 x 359 + 1
    "trainer.devices=9999": "trainer.devices",
    "trainer.precision=8": "trainer.precision",
    "stage=[]": "stage",
    "stage=evaluate": "stages.evaluate.checkpoint",
    "stage=evaluate stages.evaluate.checkpoint=no.ckpt": "stages.evaluate.checkpoint",
    "model._target_=os.system": "model._target_",
    "model=mlp model.depth=-1": "model.depth",
    "model.depth=30": "model.depth",
    "schedule.scheduler.eta_min=abc schedule=cosine": "schedule.scheduler",
    "regularization.dropout=1.5": "regularization.dropout",
    "regularization.l2=-1": "regularization.l2",
    "data.limit=3": "data.limit",
    "data.validation=0": "data.validation",
    "seed=abc": "seed",
    "resume=nowhere": "resume",
    "name=../x": "name",
    "stages.overfit.examples=1000000": "stages.overfit.examples",
}


@pytest.mark.parametrize("overrides", WRONG)
def test_wrong_configuration(overrides: str, outputs: Path) -> None:
    with pytest.raises(UserError) as caught:
        run_in(outputs, "data=digits", *overrides.split())
    assert caught.value.field == WRONG[overrides]
    assert not outputs.exists()


def test_outputs_not_writable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError) as caught:
        run_in(tmp_path / "file" / "below", *SMALL)
    assert caught.value.field == "outputs"


@pytest.mark.parametrize(
    ("override", "code"), [pytest.param("optimizer.lr=abc", 2, marks=pytest.mark.slow), ("init=zeros", 3)]
)
def test_exit_codes(override: str, code: int, outputs: Path) -> None:
    done = shell(outputs, *TINY, "stage=sanity", override)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "\x1b" not in done.stdout  # no control characters in a pipe
    if code == 2:
        assert len(done.stderr.strip().splitlines()) == 1
        assert not outputs.exists()
    else:
        assert "symmetric_units" in done.stdout
        assert "init=he" in done.stdout


def test_later_option_drops_keys(outputs: Path) -> None:
    """A remedy can be appended to a command: `he` has no `init.weight.std`, which was given for another init."""
    result = run_in(outputs, *TINY, "stage=sanity", "init=small_gaussian", "init.weight.std=0", "init=he")
    assert result.status == "passed", result.findings


# ---------------------------------------------------------------- sweeps


@pytest.mark.slow
def test_sweep_and_test_split(outputs: Path) -> None:
    """A sweep spares the test split unless it sweeps seeds only."""
    for key, evaluates in (("optimizer.lr=0.01,0.05", False), ("seed=0,1", True)):
        done = shell(outputs / key[:4], "-m", *SMALL, "stage=[train,evaluate]", key)
        assert done.returncode == 0, done.stderr
        records = [record_of(path.parent) for path in (outputs / key[:4]).rglob("outcome.json")]
        folders = {path.parent.resolve() for path in (outputs / key[:4] / "run").rglob("outcome.json")}
        assert len(folders) == 2
        assert all((record["stages"][-1]["name"] == "evaluate") == evaluates for record in records)


@pytest.mark.slow
def test_sweep_with_failed_job(outputs: Path) -> None:
    done = shell(outputs, "-m", *TINY, "stage=sanity", "init=zeros,he,xavier")
    assert done.returncode == 3
    assert sorted(record_of(p.parent)["exit_code"] for p in (outputs / "run").rglob("outcome.json")) == [0, 0, 3]


# ---------------------------------------------------------------- interrupting and resuming


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_resume_gives_same_bits(number: int, code: int, outputs: Path) -> None:
    overrides = [*SMALL, "stage=train", "stages.train.epochs=60", "regularization=l2_dropout", "augmentation=flip"]
    whole = run_in(outputs / "whole", *overrides)
    process = subprocess.Popen(
        command(outputs, *overrides),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())},  # the same bits need the same threads
    )
    deadline = time.monotonic() + 120
    while not list(outputs.glob("run/*/checkpoints/last.ckpt")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    process.communicate(timeout=120)
    assert process.returncode == code
    (interrupted,) = outputs.glob("run/*/outcome.json")
    assert record_of(interrupted.parent)["status"] == ("running" if number == signal.SIGKILL else "interrupted")
    resumed = run_in(outputs, *overrides, "resume=auto")
    assert record_of(resumed.directory)["resumed_from"]
    assert resumed.directory != interrupted.parent

    def last(folder: Path) -> dict:
        return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)

    one, two = last(whole.directory), last(resumed.directory)
    assert all(torch.equal(one["state_dict"][name], two["state_dict"][name]) for name in one["state_dict"])
    without_time = [
        [{key: value for key, value in row.items() if key != "seconds"} for row in state["pipeline"]["history"]]
        for state in (one, two)
    ]
    assert without_time[0] == without_time[1]


# ---------------------------------------------------------------- outputs/latest


def test_evaluate_latest(whole: RunResult, outputs: Path) -> None:
    shutil.copytree(whole.directory.parent.parent, outputs, symlinks=True)
    checkpoint = f"stages.evaluate.checkpoint={outputs}/latest/checkpoints/best.ckpt"
    again = run_in(outputs, *SMALL[:-1], "stage=evaluate", checkpoint)
    assert again.metrics["evaluate"]["test_accuracy"] == whole.metrics["evaluate"]["test_accuracy"]
    assert (outputs / "latest").resolve() == again.directory.resolve()


def test_refused_run_is_not_latest(whole: RunResult, outputs: Path) -> None:
    shutil.copytree(whole.directory.parent.parent, outputs, symlinks=True)
    with pytest.raises(UserError):
        run_in(outputs, *SMALL[:-1], "stage=evaluate", "stages.evaluate.checkpoint=no.ckpt")
    assert (outputs / "latest").resolve() == (outputs / "mine" / whole.directory.name).resolve()
