"""Networks of timm: names, channels, sizes, moments, and weights from a file; nothing is downloaded unless asked."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.errors import UserError
from pipeline.model.load_weights import WeightLoader
from pipeline.model.timm_model import timm_model, timm_weights

timm = pytest.importorskip("timm")
MAKE: Any = timm.create_model


@pytest.fixture(autouse=True)
def no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    def create(name: str, *, pretrained: bool = False, **arguments: Any) -> Any:
        if pretrained:
            raise OSError("no network")
        return MAKE(name, pretrained=False, **arguments)

    monkeypatch.setattr(timm, "create_model", create)


@pytest.mark.parametrize(("name", "channels"), [("test_resnet", 1), ("test_resnet", 3), ("test_efficientnet", 5)])
def test_images_of_any_channels(name: str, channels: int) -> None:
    network = timm_model((channels, 40, 40), 7, name=name, resize=None).eval()
    assert network(torch.zeros(2, channels, 40, 40)).shape == (2, 7)
    assert network.network.num_classes == 7


def test_sizes() -> None:
    """`auto` resizes for networks of one size, and where trained weights are wanted."""
    sizes = {
        (name, weights): timm_model((1, 8, 8), 3, name=name, weights=weights).size
        for name in ("test_resnet", "test_vit")
        for weights in (None, "file.pth")
    }
    assert sizes == {
        ("test_resnet", None): None, ("test_resnet", "file.pth"): 160, ("test_vit", None): 160,
        ("test_vit", "file.pth"): 160,
    }  # fmt: skip
    assert timm_model((1, 8, 8), 3, name="test_resnet", resize=24).size == 24
    assert timm_model((1, 64, 64), 3, name="test_vit", img_size=64).size is None


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"name": "tst_resnet"}, "name"),
        ({"name": "resnet18.nothing"}, "name"),
        ({"name": "hf-hub:someone/model"}, "name"),
        ({"name": 3}, "name"),
        ({"name": "test_resnet", "no_such_argument": 1}, "name"),
        ({"name": "test_resnet", "resize": 0}, "resize"),
        ({"name": "test_resnet", "resize": "large"}, "resize"),
        ({"name": "test_vit", "resize": None}, "resize"),
    ],
)
def test_refused(arguments: dict[str, Any], field: str) -> None:
    with pytest.raises(UserError) as error:
        timm_model((3, 8, 8), 3, **arguments)
    assert error.value.field == field


def test_the_closest_name_is_told() -> None:
    with pytest.raises(UserError, match="'test_resnet'"):
        timm_model((3, 8, 8), 3, name="tst_resnet")


def test_timm_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"staged-training-pipeline\[timm\]"):
        timm_model((3, 8, 8), 3, name="test_resnet")


def test_weights_from_a_file(tmp_path: Path) -> None:
    """The head is new, the first layer is adapted to grey images, and the moments are those of timm."""
    trained = MAKE("test_resnet", num_classes=11)
    torch.save(trained.state_dict(), tmp_path / "net.pth")
    node = {"name": "test_resnet", "weights": str(tmp_path / "net.pth")}
    weights = timm_weights(node)
    assert weights is not None
    assert weights.moments == (trained.pretrained_cfg["mean"], trained.pretrained_cfg["std"])
    network: Any = timm_model((1, 8, 8), 3, **node)
    report_of = WeightLoader(weights, tuple("abc"))
    report_of(network)
    assert report_of.report["head_names"] == ["network.fc.weight", "network.fc.bias"]
    assert (report_of.report["head"], len(report_of.report["adapted"])) == ("new", 1)
    assert torch.equal(network.network.layer1[0].conv1.weight, trained.layer1[0].conv1.weight)


def test_nothing_is_asked_for() -> None:
    assert timm_weights({"name": "test_resnet", "pretrained": False, "weights": None}) is None


@pytest.mark.parametrize(
    ("node", "field"),
    [
        ({"pretrained": True}, "model.pretrained"),  # there is no connection
        ({"pretrained": "yes"}, "model.pretrained"),
        ({"pretrained": True, "weights": "net.pth"}, "model.pretrained"),
        ({"weights": "no_such_file.pth"}, "model.weights"),
    ],
)
def test_weights_that_cannot_be_had(node: dict[str, Any], field: str) -> None:
    with pytest.raises(UserError) as error:
        timm_weights({"name": "test_resnet", **node})
    assert error.value.field == field
