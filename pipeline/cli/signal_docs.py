"""Generate docs/signals.md from the schema of the signals: `python -m pipeline.cli.signal_docs docs/signals.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints, is_typeddict

from pipeline.runs.paths import write_text
from pipeline.signals.schema import STAGES

HEAD = """# Signals

`make docs` writes this page from [pipeline/signals/schema.py](../pipeline/signals/schema.py); edit that file.

A run writes its measurements to `signals.json`: plain JSON, one object for each stage. `make diagnose RUN=outputs/...`
evaluates the checks of a finished run again from this file alone. NaN and infinities are the words `"nan"`, `"inf"`,
`"-inf"`. Losses are in nats, a share is a number from 0 to 1, a step is one optimizer update, counted from 1, and an
epoch is counted from 0.

```text
{"schema": 1, "stages": {"sanity": {...}, "overfit": {...}, "lr_range": {...}, "train": {...}, "ensemble": {...},
                         "evaluate": {...}}}
```

A check is a pure function of one stage's object. What was not measured is absent, and checks that need it stay silent.
The test split is measured (its pixels and classes, and whether its labels belong to its pixels) only where the run
evaluates on it, and nothing is fitted or chosen by it.
"""

TAIL = """## pictures.npz

Arrays for the charts of `report.html`, named `<stage>.<name>`; absent with `report=false`. Pixels are uint8, with one
channel or three and at most 48 on a side. Where values have a sign, 127.5 is zero.

| array | shape | what |
|---|---|---|
| `sanity.examples`, `sanity.steps` | (steps, classes, examples, H, W, channels), words | training examples of the \
first 12 classes after each step of the preprocessing; names of the steps |
| `sanity.mean` | (H, W, channels) | mean of training images |
| `sanity.plane`, `sanity.plane_labels` | (2, N, 2), (N) | 600 training examples before and after preprocessing, along \
their two directions of largest variance, not centred; their labels |
| `sanity.filters`, `train.filters` | (units, h, w, channels) | the first layer's weights before and after training, \
where they act on pixels |
| `evaluate.mistakes` | (N, H, W, channels) | the images of `mistakes` in the stage's metrics |
"""


def render_signal_docs() -> str:
    """Return the whole of docs/signals.md."""
    headings: dict[Any, str] = {}
    sections: list[str] = []
    for stage, schema in STAGES.items():
        headings[schema] = stage
        nested = [(schema, stage), *_nested(schema, stage, headings)]
        for table, heading in nested:
            level = "##" if table is schema else "###"
            sections += ["\n".join([f"{level} {heading}", "", *_rows(table, headings)]) + "\n"]
    return "\n".join([HEAD, *sections, TAIL])


def _nested(schema: Any, path: str, headings: dict[Any, str]) -> Iterator[tuple[Any, str]]:
    """Yield each table inside `schema` that has no heading yet, and note its heading."""
    for key, hint in get_type_hints(schema).items():
        table = _table_of(hint)
        if table is not None and table not in headings:
            headings[table] = f"{path}.{key}"
            yield table, headings[table]
            yield from _nested(table, headings[table], headings)


def _table_of(hint: Any) -> Any:
    """Return the `TypedDict` that a key holds, alone or by split; None for plain values."""
    return next((kind for kind in (hint, *get_args(hint)) if is_typeddict(kind)), None)


def _rows(schema: Any, headings: dict[Any, str]) -> Iterator[str]:
    yield from ("| key | unit, shape | what |", "|---|---|---|")
    for key, hint in get_type_hints(schema, include_extras=True).items():
        plain, unit, description = get_args(hint)
        if (table := _table_of(plain)) is not None:
            heading = headings[table]
            description += f": [{heading}](#{heading.replace('.', '')})"
        yield f"| `{key}` | {unit} | {description} |"


if __name__ == "__main__":
    write_text(Path(sys.argv[1]), render_signal_docs())
