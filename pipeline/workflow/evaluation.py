"""What is needed to evaluate the checkpoint of a run: its network and preprocessing, with its own data or others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.config.instantiate import call_with_path
from pipeline.config.to_dict import to_dict
from pipeline.data import Images, Source, Splits, validate_data
from pipeline.data.dataset import CLASSIFICATION, REGRESSION
from pipeline.data.storage import settle
from pipeline.data.tables.encoder import TableEncoder
from pipeline.data.tables.roles import find_labels, find_splits
from pipeline.data.tables.targets import read_targets
from pipeline.data.tables.text_file import read_table
from pipeline.errors import UserError, did_you_mean, quote_names
from pipeline.prediction.input_format import IMAGE, TABLE
from pipeline.prediction.predictor import Predictor, load_predictor
from pipeline.report.terminal import OUTPUTS
from pipeline.workflow.build import BuildCache, build_without_data, check_plain_values, load_data, load_source
from pipeline.workflow.components import Components

_SHOWN = 5  # names that an error lists


def evaluation_builder(checkpoint: Path, *, other_data: bool) -> Callable[[Any], Components]:
    """Return a function that builds the components of a run that only evaluates `checkpoint`.

    Network, preprocessing, augmentation and class names are those of the checkpoint; what the configuration says about
    them is passed over. With `other_data` the data are not those that it was trained on: their test split is evaluated,
    or the validation split where they have no other, or else all of their examples.
    """

    def build(config: Any) -> Components:
        plain = check_plain_values(to_dict(config))
        fields = build_without_data(plain, BuildCache())
        predictor = load_predictor(checkpoint)
        if other_data:
            data = load_other_data(plain["data"], predictor)
        else:
            data = load_data(plain["data"])
            if data.classes != predictor.classes or data.task != predictor.task:
                raise UserError(
                    f"the data now have the {OUTPUTS[data.task][1]} {quote_names(data.classes, most=_SHOWN)}, "
                    "but the network was "
                    f"trained on {quote_names(predictor.classes, most=_SHOWN)}. They have changed since; give "
                    "other data by "
                    "data.path=...",
                    field="data",
                )
            fields["loss"] = call_with_path(fields["loss"].fit_weights, "loss", data.train.labels, len(data.classes))
        return Components(
            data=data,
            batch_size=1,
            preprocessing=predictor.preprocessing,
            make_network=lambda seed=0: predictor.network,
            channels_last=False,
            config=plain,
            **fields | {"augmentation": predictor.augmentation},
        )

    return build


def load_other_data(node: Mapping[str, Any], predictor: Predictor) -> Splits:
    """Return the data that the node describes as one test split, with the labels and the scale of the predictor.

    Raises `UserError` for other classes than the predictor's, other shapes, or other kinds of labels.
    """
    is_table = predictor.input_format.kind == TABLE
    source = _encoded_table(node, predictor) if is_table else load_source(node)
    if source.task != predictor.task:
        raise UserError(
            f"the data are for {source.task}, but the network was trained for {predictor.task}.", field="data.path"
        )
    images = next(split for split in (source.test, source.val, source.train) if split is not None)
    labels = _match_labels(source, images.labels, predictor)
    empty = Images(torch.empty((0, *predictor.input_shape)), labels[:0])
    data = Splits(
        name=source.name,
        train=empty,
        val=empty,
        test=replace(images, labels=labels, weights=None),
        classes=predictor.classes,
        scale=source.scale,
        path=source.path,
        loading=source.loading,
        task=source.task,
        target_moments=predictor.target_moments,
        reading=source.reading,
    )
    data = call_with_path(settle, "data", data, cache=node.get("cache", "auto"))
    return _match_pixels(data, predictor)


def _encoded_table(node: Mapping[str, Any], predictor: Predictor) -> Source:
    """Return a table as its source does, but with the columns encoded as those of the run were."""
    target = str(node["source"].get("_target_"))
    if not target.endswith(".table"):
        raise UserError("the network was trained on the columns of a table: use data=csv.", field="data")
    if node.get("path") is None:
        raise UserError("give the file of your data: data.path=...", field="data.path")
    text = call_with_path(read_table, "data", str(node["path"]))
    labels = call_with_path(find_labels, "data", text, node["label"])
    _, splits = call_with_path(find_splits, "data", text, node["split_column"])
    targets = call_with_path(read_targets, "data", text, labels, task=node["task"], separator=node["label_separator"])
    try:
        encoder = TableEncoder.from_state(predictor.input_format.reading)
        encoded = encoder(text.columns)
    except UserError as error:
        raise UserError(f"{text.file}: {error.message}", field="data.path") from error
    pixels = torch.from_numpy(encoded)[:, :, None, None]
    images = {name: Images(pixels[rows], targets.labels[rows]) for name, rows in splits.items()}
    source = Source(
        name=text.file.stem,
        train=images["train"],
        val=images.get("val"),
        test=images.get("test"),
        classes=targets.classes,
        scale=1.0,
        path=str(text.file),
        loading={"notes": encoder.describe_new(text.columns)},
        task=targets.task,
        reading=predictor.input_format.reading,
    )
    call_with_path(validate_data, "data", source)
    return source


def _match_labels(source: Source, labels: Tensor, predictor: Predictor) -> Tensor:
    """Return the labels as the predictor numbers them, by the names of the classes, labels or targets."""
    unknown = [name for name in source.classes if name not in predictor.classes]
    if unknown:
        kind = OUTPUTS[source.task][len(unknown) > 1]
        raise UserError(
            f"the network does not know the {kind} {quote_names(unknown, most=_SHOWN)}."
            f"{did_you_mean(unknown[0], predictor.classes)} It was trained on "
            f"{quote_names(predictor.classes, most=_SHOWN)}; they are matched by name.",
            field="data.path",
        )
    if source.task == CLASSIFICATION:
        return torch.tensor([predictor.classes.index(name) for name in source.classes])[labels]
    missing = [name for name in predictor.classes if name not in source.classes]
    if missing:
        raise UserError(
            f"the data say nothing about {quote_names(missing, most=_SHOWN)}, which the network predicts.",
            field="data.path",
        )
    ordered = labels[:, [source.classes.index(name) for name in predictor.classes]]
    if source.task != REGRESSION or predictor.target_moments is None:
        return ordered
    mean, deviation = predictor.target_moments.double()
    return ((ordered.double() - mean) / deviation).float()


def _match_pixels(data: Splits, predictor: Predictor) -> Splits:
    """Return the data with pixels as the network was trained on: of its shape, and stored in its scale."""
    shape, expected = tuple(data.test.pixels.shape[1:]), predictor.input_shape
    if shape != expected:
        resizes = data.reading.get("kind") == IMAGE and shape[0] == expected[0]
        hint = f" data.size=[{expected[1]},{expected[2]}] resizes them." if resizes else ""
        raise UserError(
            f"the data are of shape {shape}, but the network was trained on {expected} (C, H, W).{hint}",
            field="data.path",
        )
    input_format = predictor.input_format
    if input_format.scale is None or abs(data.scale / input_format.scale - 1) < 1e-9:
        return data
    if not isinstance(data.test.pixels, Tensor):
        raise UserError(
            f"the pixels are stored on another scale ({data.scale:.3g} times them is in [0, 1]) than those of the run "
            f"({input_format.scale:.3g}); store them alike.",
            field="data.path",
        )
    pixels = data.test.pixels.float() * (data.scale / input_format.scale)
    return replace(data, test=replace(data.test, pixels=pixels), scale=input_format.scale)
