"""The signal `sanity.data` of docs/signals.md: images and labels, as they are stored and as the network receives them.

Shapes: N examples, C channels, H W pixels. Everything is measured on samples of bounded size, except what is cheap
enough for all examples: class counts, constant features and exact duplicates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from pipeline.signals.data.blank import blank_images
from pipeline.signals.data.channels import channel_orders
from pipeline.signals.data.duplicates import count_repeats, find_duplicates, is_in_train, value_bits
from pipeline.signals.data.inputs import constant_share, input_moments
from pipeline.signals.data.layout import layouts
from pipeline.signals.data.near_copies import near_copies
from pipeline.signals.data.neighbours import label_agreement
from pipeline.signals.data.turns import turn_signals
from pipeline.signals.schema import Data

__all__ = ["data_signals"]


@torch.no_grad()
def data_signals(
    splits: Mapping[str, tuple[Tensor, Tensor]], prepare: Callable[[Tensor], Tensor], classes: Sequence[str] | None
) -> Data:
    """Return the signal `sanity.data` of docs/signals.md.

    `splits` holds (stored pixels (N, C, H, W), labels (N,) int64) of `train`, and of `val` and `test` if they may be
    measured. `prepare` maps stored pixels to the inputs of the network. `classes` are names in label order; with None,
    labels are no classes, and all examples are counted as one. Pixels may be on any device. The global random state is
    neither used nor changed: equal data give equal numbers.
    """
    if classes is None:
        alike = {name: (pixels, torch.zeros(len(pixels), dtype=torch.long)) for name, (pixels, _) in splits.items()}
        measured = data_signals(alike, prepare, ["all"])
        del measured["neighbours"]
        return measured
    train, labels = splits["train"]
    others = {name: split for name, split in splits.items() if name != "train"}
    numbers = find_duplicates({name: pixels for name, (pixels, _) in splits.items()})
    known = is_in_train(numbers)
    return {
        "features": train[0].numel(),
        "value_bits": value_bits(train),
        "inputs": {name: input_moments(pixels, prepare) for name, (pixels, _) in splits.items()},
        "constant_features": constant_share(train),
        "blank": {name: len(blank_images(pixels)) for name, (pixels, _) in splits.items()},
        "class_names": list(classes),
        "class_counts": {
            name: torch.bincount(split_labels, minlength=len(classes)).tolist()
            for name, (_, split_labels) in splits.items()
        },
        "duplicates": {name: int(mask.sum()) for name, mask in known.items()},
        "repeats": count_repeats(numbers, {name: own for name, (_, own) in splits.items()}, len(classes)),
        "near_copies": near_copies(train, {name: pixels for name, (pixels, _) in others.items()}, left_out=known),
        "channel_orders": channel_orders(train, labels, others, len(classes)),
        "layouts": layouts({name: pixels for name, (pixels, _) in splits.items()}),
        "turns": turn_signals(train, labels, others),
        "neighbours": label_agreement(train, labels, others, len(classes)),
    }
