"""`init.from` and `model.weights` in a run: components, preprocessing, sanity, record, and the hash of the run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import pipeline
from pipeline.config.compose import compose_config
from pipeline.config.options_in_force import options_in_force
from pipeline.errors import UserError
from pipeline.runs.json_files import config_hash
from pipeline.workflow.build import build_components
from pipeline.workflow.components import Components
from tests.small_run import SMALL, make_small_run

OUTPUTS = ["report=false", "checks=off", "stages.train.epochs=1"]


def build(*overrides: str) -> Components:
    return make_small_run(Path(), *overrides).components


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a run that has trained for an epoch."""
    folder = tmp_path_factory.mktemp("trained")
    result = pipeline.run([*SMALL, *OUTPUTS, "stage=train", f"outputs={folder}"], quiet=True)
    return Path(result.directory).resolve()


def test_networks_start_from_the_best_checkpoint(trained: Path) -> None:
    components = build(f"init.from={trained}")
    saved = torch.load(trained / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    for seed in (0, 1):
        state = components.make_network(seed).state_dict()
        assert all(torch.equal(value, saved[f"network.{name}"]) for name, value in state.items())
    assert components.weights is not None
    assert components.weights["head"] == "loaded"
    assert components.weights["source"] == str(trained / "checkpoints" / "best.ckpt")


def test_preprocessing_of_the_run(trained: Path) -> None:
    few = ("data.limit=100", f"init.from={trained}")
    own, theirs = build(*few).preprocessing, build(*few, "preprocessing=network").preprocessing
    assert not torch.equal(own.offset, theirs.offset)
    assert torch.equal(theirs.offset, build().preprocessing.offset)


def test_preprocessing_of_a_network_without_weights() -> None:
    """It is the mean of each channel."""
    assert torch.equal(build("preprocessing=network").preprocessing.offset, build().preprocessing.offset)


def test_preprocessing_with_numbers() -> None:
    fitted = build("preprocessing=network", "preprocessing.mean=[0.5]", "preprocessing.std=[0.25]").preprocessing
    assert torch.allclose(fitted(torch.full((1, 1, 8, 8), 16.0)), torch.tensor(2.0))
    for wrong, field in (("mean=[0.5,1]", "mean"), ("std=[0]", "std"), ("mean=3", "mean")):
        other = "std=[1]" if field == "mean" else "mean=[1]"
        with pytest.raises(UserError) as error:
            build("preprocessing=network", f"preprocessing.{wrong}", f"preprocessing.{other}")
        assert error.value.field == f"preprocessing.{field}"


def test_the_hash_is_that_of_the_weights(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "copy")
    original, copied = (build(f"init.from={folder}").config for folder in (trained, tmp_path / "copy"))
    assert original["init"]["from"] != copied["init"]["from"]
    assert config_hash(original) == config_hash(copied)
    assert config_hash(original) != config_hash(build().config)
    assert options_in_force(original)["init"] == "he"


def test_sanity_expects_no_guess_of_a_trained_head(trained: Path, tmp_path: Path) -> None:
    for overrides, expected in (((f"init.from={trained}",), None), ((), pytest.approx(2.3026, abs=1e-3))):
        run = make_small_run(tmp_path, *overrides)
        outcome = run.components.stages["sanity"](*run, ())
        assert outcome.signals is not None
        assert outcome.signals["expected_first_loss"] == expected
        assert [f.check for f in outcome.findings if f.check == "initial_loss"] == []
        assert ("init" in outcome.signals["ignored_keys"]) == bool(overrides)


def test_the_record_says_where_weights_are_from(trained: Path, tmp_path: Path) -> None:
    """Also where the name `latest` will be that of another run."""
    outputs = trained.parents[1]
    result = pipeline.run(
        [*SMALL, *OUTPUTS, "stage=train", f"outputs={outputs}", f"init.from={outputs}/latest"], quiet=True
    )
    record: dict[str, Any] = json.loads((Path(result.directory) / "outcome.json").read_text())
    path = str(trained / "checkpoints" / "best.ckpt")
    assert record["weights"]["source"] == path
    assert len(record["weights"]["sha256"]) == 64
    assert f"init.from={path}" in record["command"]
    loaded = pipeline.load(result.directory)  # the file is not needed any more
    assert loaded(torch.zeros(1, 1, 8, 8)).shape == (1, 10)


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        (["init.from=no/such/run"], "init.from"),
        (["init.from=3"], "init.from"),
        (["init.from=FOLDER"], "init.from"),
        (["init.from=RUN", "model.width=5"], "init.from"),
        (["optimizer.layer_decay=0"], "optimizer.layer_decay"),
        (["optimizer.layer_decay=1.5"], "optimizer.layer_decay"),
        (["optimizer.layer_decay=fast"], "optimizer.layer_decay"),
    ],
)
def test_refused(overrides: list[str], field: str, trained: Path, tmp_path: Path) -> None:
    given = [text.replace("RUN", str(trained)).replace("FOLDER", str(tmp_path)) for text in overrides]
    with pytest.raises(UserError) as error:
        build(*given)
    assert error.value.field == field


def test_two_sources_of_weights_are_refused(trained: Path) -> None:
    pytest.importorskip("timm")
    with pytest.raises(UserError) as error:
        build("model=timm", "model.weights=net.pth", f"init.from={trained}")
    assert error.value.field == "init.from"


def test_the_network_of_a_library_sets_its_preprocessing(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    file = tmp_path / "net.pth"
    torch.save(timm.create_model("test_resnet").state_dict(), file)
    overrides = ["model=timm", "model.name=test_resnet", f"model.weights={file}", "model.resize=null"]
    components = build_components(compose_config(["data=digits", "data.limit=200", *overrides]))
    mean, std = timm.get_pretrained_cfg("test_resnet").mean, timm.get_pretrained_cfg("test_resnet").std
    grey = components.preprocessing(torch.full((1, 1, 8, 8), 16.0))
    assert float(grey[0, 0, 0, 0]) == pytest.approx((1 - sum(mean) / 3) / (sum(std) / 3), rel=1e-4)
    assert components.weights is not None
    assert components.weights["head"] == "new"
