from __future__ import annotations

import pytest
import torch

from pipeline.errors import UserError
from pipeline.model.torchvision_model import torchvision_model


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_and_colour_images(channels: int) -> None:
    network = torchvision_model((channels, 28, 28), 7, name="squeezenet1_1", resize=None)
    assert network.training
    network.eval()
    x = torch.randn(2, channels, 28, 28)
    logits = network(x)
    assert logits.shape == (2, 7)
    torch.testing.assert_close(logits, network.network(x.expand(2, 3, 28, 28)))  # type: ignore[operator]


def test_resize_is_bilinear() -> None:
    network = torchvision_model((1, 8, 8), 3, name="squeezenet1_1", resize=32)
    seen: list[torch.Tensor] = []
    network.network.register_forward_hook(lambda m, inputs, y: seen.append(inputs[0]))  # type: ignore[union-attr]
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    network(ramp)
    assert seen[0].shape == (1, 3, 32, 32)
    middle = seen[0][0, 0, 5, 2:-2]  # pixel centres: x = (i + 1/2) / 4 - 1/2
    torch.testing.assert_close(middle, (torch.arange(2, 30) + 0.5) / 4 - 0.5)


def test_networks_with_a_second_output_give_one() -> None:
    network = torchvision_model((3, 32, 32), 5, name="googlenet", resize=None)
    assert network(torch.randn(2, 3, 32, 32)).shape == (2, 5)  # in training, where they would give two or three


def test_images_too_small_for_the_network() -> None:
    with pytest.raises(UserError, match="resize=") as error:
        torchvision_model((3, 8, 8), 5, name="squeezenet1_1", resize=None)
    assert error.value.field == "resize"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("resnet81", "Did you mean 'resnet18'"),
        ("fcn_resnet50", "no image classifier"),
        ("retinanet_resnet50_fpn", "no image classifier"),
        ("quantized_resnet18", "no image classifier"),
        ("r3d_18", "no image classifier"),
        (18, "not a classification network"),
    ],
)
def test_only_classifiers_by_their_name(name: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        torchvision_model((3, 32, 32), 5, name=name, resize=None)
    assert error.value.field == "name"


def test_other_fields_are_checked() -> None:
    with pytest.raises(UserError, match="not 4"):
        torchvision_model((4, 32, 32), 5, name="resnet18", resize=None)
    with pytest.raises(UserError, match="whole number") as error:
        torchvision_model((3, 32, 32), 5, name="resnet18", resize=0)
    assert error.value.field == "resize"
