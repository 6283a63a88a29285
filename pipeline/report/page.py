"""One self-contained HTML page from plain data: it needs no network, and lets none be used.

The charts' JavaScript is Plotly's, from the installed package, compressed; the browser unpacks it. No word of the data
becomes markup: texts are escaped, charts are JSON in a block that cannot end early, and a content security policy
lets only the page's own scripts run, known by their hashes.
"""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
import html
import json
import math
from collections.abc import Mapping, Sequence
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from pipeline.report.blocks import Block, Chart, PlotlyMarkup, Section, escape_plotly
from pipeline.report.html import block_html, chip_html

HERE = Path(__file__).parent
TEMPLATES = ("hovertemplate", "texttemplate")
"""Written by us, with Plotly's markup in them."""


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
    """The whole page. `verdict`: the sentence that it opens with; `top`: blocks right below it; `home`: a relative
    link to the index of all runs; `scripts`: JavaScript that this kind of page needs beside that of every page, and
    `data` what it reads, as JSON in elements `data-<name>`."""
    charts = [block for part in ([*top], *(s.blocks for s in sections)) for block in part if isinstance(block, Chart)]
    assert len({chart.id for chart in charts}) == len(charts), "two charts of one name"
    ours = [(HERE / "page.js").read_text(), *scripts]
    plotly, digest = _plotly() if charts or scripts else ("", _digest(""))
    back = f'<a class="home" href="{html.escape(home)}">all runs</a>' if home else ""
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_policy([digest, *map(_digest, ours)])}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{html.escape(title)}</title>",
        f"<style>{(HERE / 'page.css').read_text()}</style></head><body>",
        f'<header class="{status}"><p class="kind">{html.escape(title)}{back}</p><h1>{html.escape(verdict)}</h1>',
        f'<p class="subtitle">{html.escape(subtitle)}</p></header>',
        f"<nav>{''.join(map(chip_html, sections))}</nav><main>",
        "<noscript><p class='muted'>Charts, sorting and copying need JavaScript; all else is here.</p></noscript>",
        f'<section class="blocks">{"".join(map(block_html, top))}</section>' if top else "",
        *(_section(section) for section in sections),
        "</main>",
        *(
            f'<script type="application/json" id="data-{html.escape(name)}">{_json(value)}</script>'
            for name, value in {"charts": [_plain(chart) for chart in charts], **(data or {})}.items()
        ),
        f'<script type="text/plain" id="data-plotly">{plotly}</script>',
        *(f"<script>{script}</script>" for script in ours),
        "</body></html>\n",
    ]
    return "\n".join(parts)


def _section(section: Section) -> str:
    summary = f'<p class="summary">{html.escape(section.summary)}</p>' if section.summary else ""
    blocks = "".join(block_html(block) for block in section.blocks)
    return (
        f'<section id="{section.id}" class="{section.status}"><h2>{html.escape(section.title)}</h2>'
        f'{summary}<div class="blocks">{blocks}</div></section>'
    )


def _plain(chart: Chart) -> dict[str, Any]:
    return {"id": chart.id, "title": chart.title, "views": chart.views, **_as_text(dict(chart.figure))}


def _as_text(value: Any, key: str = "") -> Any:
    """The figure with all that Plotly would read as markup spelled out."""
    if isinstance(value, str):
        return str(value) if isinstance(value, PlotlyMarkup) or key in TEMPLATES else escape_plotly(value)
    if isinstance(value, Mapping):
        return {name: _as_text(inner, name) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_text(inner, key) for inner in value]
    return value


def _finite(value: Any) -> Any:
    """Numbers that JSON does not know are gaps in a line."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return value


def _json(value: Any) -> str:
    """JSON that no HTML parser takes for anything else: `<` would begin a tag, U+2028 ends a line in JavaScript."""
    text = json.dumps(_finite(value), separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@functools.cache
def _plotly() -> tuple[str, str]:
    """Plotly's JavaScript, gzip in base64, and its hash. The package is not imported: that is slow."""
    code = Path(str(distribution("plotly").locate_file("plotly/package_data/plotly.min.js"))).read_bytes()
    return base64.b64encode(gzip.compress(code, 6, mtime=0)).decode(), _digest(code.decode())


def _digest(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _policy(digests: Sequence[str]) -> str:
    rules = {
        "default-src": "'none'",
        "script-src": " ".join(digests),
        "style-src": "'unsafe-inline'",
        "img-src": "data: blob:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {what}" for name, what in rules.items())
