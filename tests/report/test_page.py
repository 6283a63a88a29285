"""The page by itself: whole, small, and with no way in for markup."""

from __future__ import annotations

import base64
import gzip
import re
import subprocess
import sys

import pytest

from pipeline.report.blocks import BLUE, STATUSES, Block, Chart, Link, PlotlyMarkup, Section, Text, escape_plotly
from pipeline.report.page import render_page
from tests.report.pages import EVIL, PageParser, chart, every_block


def page_with(*blocks: Block, title: str = "train") -> str:
    section = Section(title, blocks, "failed", title)
    return render_page(title=title, verdict=title, status="failed", sections=[section])


def page_of_texts(text: str) -> str:
    return page_with(*every_block(text), title=text)


def test_texts_make_no_elements() -> None:
    """Texts of users are shown as they are."""
    plain, evil = PageParser(page_of_texts("x" * len(EVIL))), PageParser(page_of_texts(EVIL))
    assert evil.tags == plain.tags
    assert sorted(evil.attributes) == sorted(plain.attributes)
    assert sum(text.strip() == EVIL.strip() for text in evil.texts) >= 12


def test_json_has_no_markup() -> None:
    """`<!--<script` would change what ends a script."""
    views = {"<!--<script ": {"yaxis.type": "log"}}
    assert not set("<>&\u2028") & set(PageParser(page_with(chart(views=views))).scripts["data-charts"])


def test_chart_labels() -> None:
    """Labels inside charts are text, except for those that are meant as Plotly's markup."""
    meant = PlotlyMarkup(f"<b>{escape_plotly('<i>')}</b>")
    figure = {"data": [{"name": "<b>a</b> & b", "text": meant, "hovertemplate": "%{y}<extra></extra>"}], "layout": {}}
    trace = PageParser(page_with(Chart("c", "c", figure))).charts["c"]["data"][0]
    assert trace["name"] == "&lt;b&gt;a&lt;/b&gt; &amp; b"
    assert trace["text"] == "<b>&lt;i&gt;</b>"
    assert trace["hovertemplate"] == "%{y}<extra></extra>"


def test_nonfinite_is_a_gap() -> None:
    assert PageParser(page_with(chart())).charts["loss"]["data"][0]["y"] == [3.0, None, 1.0]


def test_size_with_plotly() -> None:
    page = page_with(*every_block("train"))
    assert len(page.encode()) < 2_100_000
    code = gzip.decompress(base64.b64decode(PageParser(page).scripts["data-plotly"]))
    assert b"plotly.js v" in code[:200]


def test_size_without_charts() -> None:
    assert len(page_with(Text("nothing to draw"))) < 30_000


def test_content_security_policy() -> None:
    """Only scripts of known hashes run, and nothing is loaded."""
    rules = PageParser(page_with(chart())).policy.split("; ")
    assert rules[0] == "default-src 'none'"
    assert re.fullmatch(r"script-src( 'sha256-[\w+/=]+'){2}", rules[1])
    assert set(rules[2:]) == {
        "style-src 'unsafe-inline'", "img-src data: blob:", "base-uri 'none'", "form-action 'none'"
    }  # fmt: skip


def test_every_status_has_a_sign() -> None:
    """A page can be read without colours: what went well or badly has a sign."""
    sections = [Section(f"s{i}", [], status) for i, status in enumerate(STATUSES)]
    marks = PageParser(render_page(title="", verdict="", status="", sections=sections)).by_tag["b"]
    assert len(marks) == len(set(STATUSES) - {"", "skipped"})


@pytest.mark.parametrize("href", ["javascript:alert(1)", " JavaScript:alert(1)", "data:text/html,x", "file:///etc"])
def test_unsafe_links(href: str) -> None:
    with pytest.raises(AssertionError):
        Link("x", href)


def test_chart_ids_are_unique() -> None:
    with pytest.raises(AssertionError):
        page_with(chart(), chart())


def test_deterministic() -> None:
    assert page_of_texts("train") == page_of_texts("train")


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("", {"plotly", "torch", "numpy", "PIL", "jinja2"}),
        (
            "render_page(title='', verdict='', status='', sections=[Section('a', [Chart('a', '', {'data': []})])])",
            {"plotly", "torch", "numpy", "PIL"},
        ),
    ],
    ids=["import", "render"],
)
def test_imports(code: str, absent: set[str]) -> None:
    code = (
        "from pipeline.report.page import render_page; from pipeline.report.blocks import Chart, Section; "
        f"{code}; import sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    )
    done = subprocess.run([sys.executable, "-c", code.replace("; ;", ";")], capture_output=True, text=True, check=True)
    assert not absent & set(done.stdout.split())


def test_named_colours() -> None:
    """The browser chooses the colour of a name, by light and dark mode."""
    figure = {"data": [{"y": [1], "line": {"color": BLUE}}], "layout": {}}
    assert PageParser(page_with(Chart("c", "c", figure))).charts["c"]["data"][0]["line"]["color"] == "var(--blue)"
