"""`preserved`: whatever happens inside, the model is as it was."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.watching.preserve import preserved
from tests.watching.models import convnet


@pytest.mark.parametrize("fails", [False, True])
def test_everything_is_put_back(fails: bool) -> None:
    model = convnet()
    model[0].requires_grad_(False)
    model[1].eval()
    model[5].weight.grad = gradient = torch.ones_like(model[5].weight)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    numbers = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002 - what is tested
    try:
        with preserved(model):
            with torch.no_grad():
                for tensor in (*model.parameters(), *model.buffers()):
                    tensor.add_(1)
            model.requires_grad_(True)
            model.train()
            gradient.add_(1)
            model[5].weight.grad = None
            torch.rand(3), random.random(), np.random.rand()  # noqa: NPY002 - what is tested
            if fails:
                raise KeyError("inside")
    except KeyError:
        pass
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [p.requires_grad for p in model.parameters()] == [False, True, True, True, True]
    assert [module.training for module in model] == [True, False, True, True, True, True]
    assert model[5].weight.grad is gradient
    assert bool((gradient == 1).all())
    assert torch.equal(torch.get_rng_state(), numbers[0])
    assert random.getstate() == numbers[1]
    assert (np.random.get_state()[1] == numbers[2]).all()  # noqa: NPY002 - what is tested


def test_a_lazy_module_is_refused() -> None:
    with pytest.raises(Exception, match="lazy") as caught, preserved(nn.LazyLinear(3)):
        pass
    assert caught.value.field == "model"  # type: ignore[attr-defined]
