"""A multilayer perceptron of any depth and width."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from pipeline import validation
from pipeline.errors import UserError
from pipeline.model.block import HiddenBlock


class MLP(nn.Module):
    """Flatten, `depth` hidden blocks `hidden.dense1`, `hidden.dense2`, ..., and the linear layer `output`.

    (N, C, H, W) images -> (N, classes) logits. `width` is one number for all hidden layers, or one for each. Depth 0 is
    a linear classifier. Raises `UserError` naming the field.
    """

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        classes: int,
        block: HiddenBlock,
        *,
        width: int | Sequence[int],
        depth: int,
    ):
        super().__init__()
        widths = _widths(width, validation.integer("depth", depth, at_least=0))
        channels, height, breadth = input_shape
        fans = [channels * height * breadth, *widths]
        layers = [(f"dense{i}", block.make_dense(fans[i - 1], fans[i])) for i in range(1, len(fans))]
        self.hidden = nn.Sequential(OrderedDict(layers))
        self.output = nn.Linear(fans[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.hidden(x.flatten(1)))


def _widths(width: int | Sequence[int], depth: int) -> list[int]:
    """Return the width of each of `depth` layers."""
    if isinstance(width, str) or not isinstance(width, Sequence):
        return [validation.integer("width", width, at_least=1)] * depth
    if len(width) != depth:
        problem = f"there are {depth} hidden layers, but {len(width)} widths {list(width)}. Set it to {len(width)}."
        raise UserError(problem, field="depth")
    return [validation.integer("width", each, at_least=1) for each in width]
