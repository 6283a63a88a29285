"""Statistics of the activations of a forward pass: per layer over a batch, and per unit over several batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.signals.activation_statistics import STATISTICS, compute_statistics, never_active, unit_axis
from pipeline.signals.aten_ops import BOUNDED, RELU_LIKE, OperationTracer, activation_kind, unique_namer

MAX_VALUES = 2**16
"""Values of one layer that are measured in a sampled step: enough for a percent, and cheap beside the step."""

ModuleNames = Mapping[nn.Module, tuple[str, str]]
"""Modules whose output is that of an activation -> the name and the kind of the activation."""


@dataclass
class Layer:
    """Measurements of one activation of the network.

    `statistics` (6,) are those of the latest pass (`compute_statistics`). `dead` (units,) is true for units that were 0
    for every example of all passes; None for kinds that cannot die.
    """

    name: str
    kind: str
    units: int
    statistics: Tensor
    dead: Tensor | None


class Activations(OperationTracer):
    """Measures the output of every activation as it is computed.

    `limit` is the largest number of values that are measured per layer; None stands for all. With `silent_only` just
    `dead` and `saturated` are measured, which show where no gradient passes; this takes a third to a tenth of the time,
    and the other statistics are NaN.

    Tracing every operation costs 0.35 ms a pass of a small MLP, hooks on modules nearly nothing. So the first pass
    traces operations. If every activation was the output of some module, `activation_modules()` returns these modules,
    and an object that is built with them as `modules` uses hooks.
    """

    def __init__(
        self, *, limit: int | None = MAX_VALUES, modules: ModuleNames | None = None, silent_only: bool = False
    ):
        super().__init__()
        self.limit, self.silent_only = limit, silent_only
        self.layers: dict[str, Layer] = {}
        self._unique: Callable[[str], str] = unique_namer()
        self._hooked_modules = modules
        self._found_modules: dict[nn.Module, tuple[str, str]] = {}
        self._is_outside_modules = False  # an activation is not the output of a module
        # of the latest activation: the name of the running module, (name, kind), the address of its output
        self._latest: tuple[str, tuple[str, str], int] | None = None

    @contextmanager
    def trace(self, network: nn.Module) -> Iterator[None]:
        """Measure the activations of the forward passes of `network` inside the context."""
        if self._hooked_modules is None:
            with super().trace(network):
                yield
            return
        hooks = [m.register_forward_hook(partial(self._hook, *names)) for m, names in self._hooked_modules.items()]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def activation_modules(self) -> ModuleNames | None:
        """Return the `modules` for later passes of the same network.

        None means that an activation was not the output of a module, so that later passes have to be traced, too.
        """
        if self._hooked_modules is not None:
            return self._hooked_modules
        if self._is_outside_modules or self._latest is not None:  # of the network itself, whose end was not seen
            return None
        return self._found_modules

    def _hook(self, name: str, kind: str, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
        if output.numel():
            self._measure(name, kind, output.detach())

    def on_module_exit(self, module: nn.Module, name: str, output: Any) -> None:
        """Decide whether the output of `module` is the latest activation."""
        if self._latest is None:
            return
        running, names, address = self._latest
        if running == name and isinstance(output, Tensor) and output.data_ptr() == address:
            self._found_modules[module] = names
        else:
            self._is_outside_modules = True
        self._latest = None

    def next_batch(self) -> None:
        """Begin a further pass of the same network, so that its layers get the same names."""
        self._unique = unique_namer()

    def on_operation(self, operation: str, args: Sequence[Any], output: Any) -> None:
        """Measure `output` if the operation is an activation."""
        # an activation that is processed further before its module ends is not the output of that module
        self._is_outside_modules |= self._latest is not None and operation != "detach"
        kind = activation_kind(operation, args, output)
        if kind is None or not output.numel():  # an expert of a mixture may get no example
            return
        names = self.module or operation, kind
        self._latest = self.module, names, output.data_ptr()
        self._measure(*names, output)

    def _measure(self, module: str, kind: str, output: Tensor) -> None:
        name = self._unique(module)
        values = output if self.limit is None else output[: max(8, self.limit // max(1, output[0].numel()))]
        dead = None
        if kind in RELU_LIKE:
            dead = never_active(values)
            before = self.layers.get(name)
            if before is not None and before.dead is not None:
                dead = dead & before.dead
        statistics = compute_statistics(values.float(), kind, saturated_only=self.silent_only)
        self.layers[name] = Layer(name, kind, values.shape[unit_axis(values)], statistics, dead)

    def columns(self) -> dict[str, list[Any]]:
        """Return one list per key, with one entry per layer: `name`, `kind`, `units`, each of `STATISTICS`, and `dead`.

        `dead` is the share of dead units. An entry is None where it has no meaning for the kind of activation.
        """
        layers = list(self.layers.values())
        if not layers:
            return {key: [] for key in ("name", "kind", "units", *STATISTICS, "dead")}
        rows = torch.stack([layer.statistics for layer in layers]).tolist()
        columns: dict[str, list[Any]] = {
            "name": [layer.name for layer in layers],
            "kind": [layer.kind for layer in layers],
            "units": [layer.units for layer in layers],
        }
        for i, key in enumerate(STATISTICS):
            columns[key] = [
                None if key == "saturated" and layer.kind not in BOUNDED else row[i]
                for layer, row in zip(layers, rows, strict=True)
            ]
        columns["dead"] = [None if layer.dead is None else float(layer.dead.float().mean()) for layer in layers]
        return columns
