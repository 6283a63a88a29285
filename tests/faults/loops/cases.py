"""The watched cases: the loops of this folder, and the networks and losses of the other cases in a bare loop."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tests.faults import datasets
from tests.faults.case import CONFIGURATION_ERROR, Case, dotted, read_cases
from tests.faults.loops import faulty, faulty_parts, second_faulty, second_sound, second_tasks, sound
from tests.faults.loops.loop import Loop, Pair
from tests.faults.loops.sound import digits

FAMILY = "loops"
MODULES = (sound, second_sound, second_tasks, faulty, faulty_parts, second_faulty)
SECOND = {module.__name__ for module in (second_sound, second_tasks, second_faulty)}
"""Modules whose loops are of the set `second`."""
FLOOR_OF_MODULES = 0.6
"""Score of a sound network after the four epochs of `ModuleLoop`, which are fewer than its case has."""
TORCH_OPTIMIZERS = {
    "sgd": torch.optim.SGD, "momentum": torch.optim.SGD, "nesterov": torch.optim.SGD, "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW, "rmsprop": torch.optim.RMSprop,
}  # fmt: skip


def loops() -> dict[str, type[Loop]]:
    """Return the classes of the loops by name, the sound ones first."""
    found = {}
    for module in MODULES:
        for name, value in vars(module).items():
            if inspect.isclass(value) and issubclass(value, Loop) and value.__module__ == module.__name__:
                found[name] = value
    return found


def loop_cases() -> dict[str, Case]:
    """Return a case for each loop that a watcher can judge."""
    cases = {}
    for name, loop in loops().items():
        twin = None if not loop.expect else loop.__bases__[0].__name__
        cases[name] = Case(
            name, FAMILY, expect=loop.expect, also_right=loop.also_right if loop.expect else frozenset(), seeds=2,
            must_detect="always" if loop.visible else "if_shown", harmless=loop.harmless, seen=True,
            set="second" if loop.__module__ in SECOND else "new", twin=twin, floor=0.0 if loop.expect else loop.floor,
        )  # fmt: skip
    return cases


def module_cases() -> dict[str, Case]:
    """Return the cases whose fault, if any, is in the network or the loss, which a bare loop can have."""
    cases = read_cases()
    chosen = {name: case for name, case in cases.items() if _is_portable(case, cases)}
    twins = {str(case.twin): cases[str(case.twin)] for case in chosen.values() if case.twin}
    names = {*chosen, *(name for name, case in twins.items() if _has_code(case))}
    return {name: _watched(case) for name, case in cases.items() if name in names}


def _watched(case: Case) -> Case:
    """Return the case with a floor for fewer epochs. Outputs of a wrong shape may also be refused by a preflight."""
    refused = {CONFIGURATION_ERROR} if "wrong_output_count" in case.expect else set()
    return replace(case, expect=case.expect | refused, floor=min(case.floor, FLOOR_OF_MODULES))


def _has_code(case: Case) -> bool:
    return bool(case.module or case.loss) and not (case.data and datasets.is_folder(case.data))


def _is_portable(case: Case, cases: Mapping[str, Case]) -> bool:
    """Return whether all of the case's mistake is code that a bare loop runs as well."""
    if not _has_code(case):
        return False
    if case.healthy:
        return True
    twin = cases[str(case.twin)]
    own_code = (case.module, case.loss) != (twin.module, twin.loss)
    other_changes = set(case.overrides) - set(twin.overrides)
    return own_code and case.data == twin.data and not other_changes


class ModuleLoop(Loop):
    """The network, the loss, the data and the rate of a case, for four epochs."""

    epochs = 4

    def __init__(self, case: Case, seed: int):
        self.case = case
        self.options = dict(override.partition("=")[::2] for override in case.overrides)
        super().__init__(seed)

    def make_data(self) -> tuple[Pair, Pair]:
        if self.case.data is not None:
            arrays = datasets.build(self.case.data)
            if "x_val" not in arrays:
                return _halves(arrays["x_train"], arrays["y_train"])
            return _pair(arrays, "train"), _pair(arrays, "val")
        if self.options.get("data") == "digits":
            return digits(flat=False)
        arrays = datasets.fashion()
        return _pair(arrays, "train"), _pair(arrays, "val")

    def make_network(self) -> nn.Module:
        shape = tuple(self.training_set[0].shape[1:])
        classes = int(self.training_set[1].max()) + 1
        self.classes = classes  # type: ignore[misc]
        if not self.case.module:
            width = 64
            return nn.Sequential(
                nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], width), nn.ReLU(), nn.Linear(width, width),
                nn.ReLU(), nn.Linear(width, classes),
            )  # fmt: skip
        factory = _load(dotted(self.case.module))
        available = {"input_shape": shape, "classes": classes}
        names = inspect.signature(factory).parameters
        return factory(**{key: value for key, value in available.items() if key in names})

    def make_optimizer(self) -> Optimizer:
        name = self.options.get("optimizer", "momentum")
        rate = float(self.options.get("optimizer.lr", 0.01 if name in ("momentum", "nesterov") else 0.003))
        momentum = {"momentum": 0.9} if name in ("momentum", "nesterov") else {}
        return TORCH_OPTIMIZERS[name](self.network.parameters(), lr=rate, **momentum)  # type: ignore[arg-type]

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        if not self.case.loss:
            return super().loss(outputs, labels)
        return _load(dotted(self.case.loss))(outputs, labels)


def _load(name: str):  # type: ignore[no-untyped-def]
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def _pair(arrays: Mapping[str, object], part: str) -> Pair:
    """Return images (N, C, H, W), scaled and centred by a constant, and labels."""
    x = torch.as_tensor(arrays[f"x_{part}"]).float()
    if x.ndim == 2:
        x = x[:, :, None, None]
    if x.ndim == 3:
        x = x[:, None]
    if x.shape[-1] == 3:
        x = x.permute(0, 3, 1, 2).contiguous()
    if float(x.max()) > 16:
        x = (x / 255 - 0.286) / 0.353
    return x, torch.as_tensor(arrays[f"y_{part}"]).long()


def _halves(x: object, y: object) -> tuple[Pair, Pair]:
    """Return four fifths of the examples to train, and the others."""
    pixels, labels = _pair({"x_train": x, "y_train": y}, "train")
    cut = len(labels) * 4 // 5
    return (pixels[:cut], labels[:cut]), (pixels[cut:], labels[cut:])
