"""Exported networks give what the original gives, for any number of inputs, or are refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import pipeline.prediction.export
from pipeline.data.sources.embedded import digits as digits_source
from pipeline.errors import UserError
from pipeline.prediction.export import ONNX, TOLERANCE, TORCH, export_predictor
from pipeline.prediction.predictor import Predictor

PIXELS = digits_source().train.pixels[:40]


@pytest.mark.parametrize("size", [1, 3, 40])
def test_onnx(digits: Predictor, exported: Path, size: int) -> None:
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    (given,) = session.run(["probabilities"], {"pixels": PIXELS[:size].numpy()})
    np.testing.assert_allclose(given, digits.probabilities(PIXELS[:size]).numpy(), atol=1e-5)


@pytest.fixture(scope="module")
def exported(digits: Predictor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "digits.onnx"
    written = export_predictor(digits, ONNX, path, PIXELS)
    assert written.inputs == 40
    assert 0 <= written.difference < 1e-5
    assert list(path.parent.iterdir()) == [path]
    return path


def test_metadata(digits: Predictor, exported: Path) -> None:
    properties = {entry.key: json.loads(entry.value) for entry in onnx.load(exported).metadata_props}
    assert properties["classes"] == list(digits.classes)
    assert properties["task"] == "classification"
    assert properties["input"]["shape"] == ["N", 1, 8, 8]
    assert properties["input"]["type"] == "uint8"
    assert properties["input"]["reading"] == {"kind": "array"}
    onnx.checker.check_model(str(exported), full_check=True)


def test_torch(digits: Predictor, tmp_path: Path) -> None:
    path = tmp_path / "new" / "digits.pt2"
    assert export_predictor(digits, TORCH, path, PIXELS[:1]).difference < 1e-6
    files = {"metadata.json": ""}
    program = torch.export.load(path, extra_files=files)
    for size in (1, 3, 40):
        torch.testing.assert_close(program.module()(PIXELS[:size]), digits.probabilities(PIXELS[:size]))
    assert json.loads(files["metadata.json"])["classes"] == list(digits.classes)


class Wrapper(nn.Module):
    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network


class Branching(Wrapper):
    """Decides by a value, which torch.export cannot follow."""

    def forward(self, inputs: Tensor) -> Tensor:
        return self.network(inputs) if inputs.mean() > 0 else self.network(-inputs)


class FixedSize(Wrapper):
    """Works for batches of two alone."""

    def forward(self, inputs: Tensor) -> Tensor:
        return self.network(inputs).reshape(2, 10)


@pytest.mark.parametrize("wrapper", [Branching, FixedSize])
def test_not_exportable(wrapper: type[Wrapper], digits: Predictor, tmp_path: Path) -> None:
    """One message, and nothing is left behind."""
    broken = dataclasses.replace(digits, network=wrapper(digits.network).eval())
    with pytest.raises(UserError):
        export_predictor(broken, TORCH, tmp_path / "x.pt2", PIXELS)
    assert not list(tmp_path.iterdir())


class Random(Wrapper):
    """Draws numbers also when it is evaluated."""

    def forward(self, inputs: Tensor) -> Tensor:
        return self.network(nn.functional.dropout(inputs, 0.5, training=True))


def test_difference(digits: Predictor, tmp_path: Path) -> None:
    """A file that gives something else than the original is refused, and does not stay."""
    random = dataclasses.replace(digits, network=Random(digits.network).eval())
    with pytest.raises(UserError, match=f"{TOLERANCE:g}"):
        export_predictor(random, TORCH, tmp_path / "x.pt2", PIXELS)
    assert not list(tmp_path.iterdir())


def test_missing_package(digits: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline.prediction.export, "find_spec", lambda name: None if name == "onnxscript" else True)
    with pytest.raises(UserError, match=r"onnxscript.*\[onnx\]") as error:
        export_predictor(digits, ONNX, tmp_path / "x.onnx", PIXELS)
    assert error.value.field == "--format"
