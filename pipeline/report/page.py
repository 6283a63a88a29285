"""One self-contained HTML page from plain data. It needs no network, and lets none be used.

Plotly's JavaScript comes from the installed package, compressed; the browser unpacks it. No text of the data becomes
markup: Jinja escapes texts, charts are JSON in a block that cannot end early, and a content security policy lets only
the page's own scripts run, known by their hashes. Neither plotly nor torch is imported.
"""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
from collections.abc import Mapping, Sequence
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.report.blocks import STATUS_MARKS, Block, Chart, Section
from pipeline.report.chart_json import chart_to_dict, to_script_json

if TYPE_CHECKING:
    from jinja2 import Environment

HERE = Path(__file__).parent
SHORT_CELL = 18
"""Letters of a table's cell that are kept on one line."""


def render_page(
    *,
    title: str,
    verdict: str,
    status: str,
    sections: Sequence[Section],
    subtitle: str = "",
    top: Sequence[Block] = (),
    home: str = "",
    scripts: Sequence[str] = (),
    data: Mapping[str, Any] | None = None,
) -> str:
    """Return the whole page.

    `verdict` is the sentence at its head, `status` one of `STATUSES`, `top` the blocks below the verdict, and `home` a
    relative link to the index of all runs. `scripts` is JavaScript that this kind of page needs beside `page.js`, and
    `data` what it reads: JSON in elements `data-<name>`.
    """
    blocks = [*top, *(block for section in sections for block in section.blocks)]
    charts = [block for block in blocks if isinstance(block, Chart)]
    assert len({chart.id for chart in charts}) == len(charts), "two charts have the same id"
    all_scripts = [(HERE / "page.js").read_text(), *scripts]
    plotly, plotly_hash = _plotly() if charts or scripts else ("", _csp_hash(""))
    json_blocks = {"charts": [chart_to_dict(chart) for chart in charts], **(data or {})}
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            policy=_content_security_policy([plotly_hash, *map(_csp_hash, all_scripts)]),
            title=title,
            style=(HERE / "page.css").read_text(),
            status=status,
            home=home,
            verdict=verdict,
            subtitle=subtitle,
            sections=sections,
            top=top,
            data={name: to_script_json(value) for name, value in json_blocks.items()},
            plotly=plotly,
            scripts=all_scripts,
        )
    )


@functools.cache
def _environment() -> Environment:
    """Return Jinja with the templates of this package; everything is escaped that a template does not mark as safe."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["type_name"] = lambda value: type(value).__name__
    environment.filters["base64"] = lambda data: base64.b64encode(data).decode()
    environment.globals |= {"marks": STATUS_MARKS, "short_cell": SHORT_CELL}
    return environment


@functools.cache
def _plotly() -> tuple[str, str]:
    """Return Plotly's JavaScript, gzipped in base64, and its hash. Importing the package would be slow."""
    code = Path(str(distribution("plotly").locate_file("plotly/package_data/plotly.min.js"))).read_bytes()
    return base64.b64encode(gzip.compress(code, 6, mtime=0)).decode(), _csp_hash(code.decode())


def _csp_hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _content_security_policy(script_hashes: Sequence[str]) -> str:
    rules = {
        "default-src": "'none'",
        "script-src": " ".join(script_hashes),
        "style-src": "'unsafe-inline'",
        "img-src": "data: blob:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {sources}" for name, sources in rules.items())
