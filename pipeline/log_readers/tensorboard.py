"""Event files of TensorBoard: of `SummaryWriter`, Lightning, transformers and Keras."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.log_readers.columns import map_columns, meaning_of
from pipeline.log_readers.log import Log, Point
from pipeline.validation import require_package

EVENTS = "*tfevents*"


def read_events(files: Sequence[Path], folder: Path, typed: Mapping[str, str]) -> Log:
    """Return the log in the event files of a run. A file in a subfolder (`validation/`) has its name before its tags.

    The files are read in the order in which they were begun, so that a restarted run replaces what it logged again. A
    damaged file is read up to the damage. Raises `UserError` without the package tensorboard.
    """
    require_package("tensorboard", extra="loggers")
    log = Log("TensorBoard events", folder)
    passed_over: dict[str, None] = {}
    epochs: dict[float | None, float] = {}
    for file in sorted(files, key=lambda path: (path.parent, path.name)):
        prefix = "" if file.parent == folder or file == folder else f"{file.parent.relative_to(folder)}/"
        for tag, point in _scalars(file, log):
            name = prefix + tag
            if meaning_of(name) == ("epoch", ""):
                epochs[point.step] = point.value  # Lightning logs it beside every other number
            elif meaning_of(name) or name in typed.values():
                log.add(name, point)
            else:
                passed_over[name] = None
    log.pass_over(passed_over)
    for series in log.series.values():
        series.points = [point._replace(epoch=epochs.get(point.step)) for point in series.points]
    map_columns([*log.series, *passed_over], typed)  # raises for a column that is not there
    return log.finish()


def _scalars(file: Path, log: Log) -> Iterator[tuple[str, Point]]:
    """Yield tag and point of each scalar, in both forms that TensorBoard has had."""
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.util import tb_logging

    tb_logging.get_logger().setLevel(logging.ERROR)  # it warns of each file that another process still writes
    start = None
    try:
        for data in RawEventFileLoader(str(file)).Load():
            event = Event.FromString(data)
            start = event.wall_time if start is None else start
            for value in event.summary.value:
                number = _number(value)
                if number is not None:
                    yield value.tag, Point(number, float(event.step), None, event.wall_time - start)
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001 - the loader raises errors of many kinds for damaged files
        log.notes.append(f"{file.name} is damaged and was read up to there ({type(error).__name__})")


def _number(value: Any) -> float | None:
    """Return the scalar of a summary: its own field, or a tensor of one number."""
    if value.WhichOneof("value") == "simple_value":
        return float(value.simple_value)
    if value.WhichOneof("value") != "tensor" or value.metadata.plugin_data.plugin_name not in ("scalars", ""):
        return None
    from tensorboard.util.tensor_util import make_ndarray

    array = make_ndarray(value.tensor)
    return float(array.reshape(-1)[0]) if array.size == 1 and array.dtype.kind in "fiu" else None
