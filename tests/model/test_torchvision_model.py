"""Networks of torchvision: channels, resizing, and arguments that do not suit them."""

from __future__ import annotations

import pytest
import torch

from pipeline.errors import UserError
from pipeline.model.torchvision_model import torchvision_model


@pytest.mark.parametrize("channels", [1, 3])
def test_channels(channels: int) -> None:
    network = torchvision_model((channels, 28, 28), 7, name="squeezenet1_1", resize=None)
    assert network.training
    network.eval()
    x = torch.randn(2, channels, 28, 28)
    logits = network(x)
    assert logits.shape == (2, 7)
    torch.testing.assert_close(logits, network.network(x.expand(2, 3, 28, 28)))  # type: ignore[operator]


def test_resize_is_bilinear() -> None:
    network = torchvision_model((1, 8, 8), 3, name="squeezenet1_1", resize=32)
    inputs: list[torch.Tensor] = []
    network.network.register_forward_hook(lambda m, args, y: inputs.append(args[0]))  # type: ignore[union-attr]
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    network(ramp)
    assert inputs[0].shape == (1, 3, 32, 32)
    middle = inputs[0][0, 0, 5, 2:-2]  # pixel centres: x = (i + 1/2) / 4 - 1/2
    torch.testing.assert_close(middle, (torch.arange(2, 30) + 0.5) / 4 - 0.5)


def test_no_auxiliary_output() -> None:
    network = torchvision_model((3, 32, 32), 5, name="googlenet", resize=None)
    assert network(torch.randn(2, 3, 32, 32)).shape == (2, 5)  # in training, where they would give two or three


@pytest.mark.parametrize("name", ["squeezenet1_1", "vit_b_32"])
def test_images_of_wrong_size(name: str) -> None:
    """torch raises RuntimeError for the former, AssertionError for the latter."""
    with pytest.raises(UserError, match=f"{name}.* 8x8 ") as error:
        torchvision_model((3, 8, 8), 5, name=name, resize=None)
    assert error.value.field == "resize"


def test_other_errors_are_not_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> None:
        raise TypeError

    monkeypatch.setattr("torchvision.models.SqueezeNet.forward", broken)
    with pytest.raises(TypeError):
        torchvision_model((3, 32, 32), 5, name="squeezenet1_1", resize=None)


@pytest.mark.parametrize(
    "name", ["resnet81", "fcn_resnet50", "retinanet_resnet50_fpn", "quantized_resnet18", "r3d_18", 18]
)
def test_invalid_name(name: str) -> None:
    with pytest.raises(UserError, match=str(name)) as error:
        torchvision_model((3, 32, 32), 5, name=name, resize=None)
    assert error.value.field == "name"
    assert ("'resnet18'" in error.value.message) == (name == "resnet81")  # "did you mean"


def test_invalid_channels_and_resize() -> None:
    with pytest.raises(UserError, match=r"\b4\b.*model=convnet"):
        torchvision_model((4, 32, 32), 5, name="resnet18", resize=None)
    with pytest.raises(UserError) as error:
        torchvision_model((3, 32, 32), 5, name="resnet18", resize=0)
    assert error.value.field == "resize"
