"""Operations of a loss that make pairs of all examples by a slip: (N, 1) with (N,) gives (N, N)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.signals.schema import SanitySignals
from pipeline.signals.synthetic_outputs import SyntheticOutputs


def broadcasts(synthetic: SyntheticOutputs) -> SanitySignals:
    """List the operations of the loss that combine (N, 1) with (N,) and so make pairs of all examples."""
    if synthetic.examples in synthetic.raw.shape[1:]:
        return {}
    tracer = _BroadcastTracer(synthetic.examples)
    with tracer:
        synthetic.value(synthetic.raw)
    return {"loss_broadcasts": list(dict.fromkeys(tracer.found))}


class _BroadcastTracer(TorchDispatchMode):
    """Finds operations on an (n, 1) and an (n,) tensor that have nothing to do with each other.

    A loss that compares all pairs on purpose inserts an axis for it (`a[:, None] - a`); a slip does not.
    """

    def __init__(self, examples: int):
        super().__init__()
        self.found: list[str] = []
        self._n = examples
        self._inserted: list[Tensor] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        output = function(*args, **(kwargs or {}))
        name, n = function.overloadpacket.__name__, self._n
        operands = [value for value in args if isinstance(value, Tensor)]
        if name in ("unsqueeze", "view", "_unsafe_view") and operands[0].ndim == 1:
            self._inserted.append(output)
        shapes = {tuple(operand.shape): operand for operand in operands}
        if (
            len(operands) > 1
            and isinstance(output, Tensor)
            and output.shape == (n, n)
            and {(n, 1), (n,)} <= set(shapes)
        ):
            column, row = shapes[n, 1], shapes[n,]
            is_meant = any(column is one for one in self._inserted) or _is_same_memory(column, row)
            if not is_meant:
                self.found.append(f"{name.rstrip('_')} of (N, 1) and (N,)")
        return output


def _is_same_memory(first: Tensor, second: Tensor) -> bool:
    return first.untyped_storage().data_ptr() == second.untyped_storage().data_ptr()
