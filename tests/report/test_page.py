"""The page by itself: whole, small, and with no way in for markup."""

from __future__ import annotations

import base64
import gzip
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from pipeline.report.blocks import (
    BLUE,
    Block,
    Callout,
    Chart,
    Command,
    Images,
    Link,
    PlotlyMarkup,
    PngImage,
    Section,
    StatTiles,
    Table,
    Text,
    escape_plotly,
)  # fmt: skip
from pipeline.report.page import render_page

EVIL = "</script><script>window.injected = 1</script><img src=x onerror='window.injected=1'>\"'&\u2028<b>bold</b>"
PNG = b"\x89PNG"


def chart(name: str = "loss", *, word: str = "train", **options: object) -> Chart:
    data = [{"x": [1, 2, 3], "y": [3.0, float("nan"), 1.0], "name": word, "text": [word, word, word]}]
    return Chart(name, word, {"data": data, "layout": {"title": {"text": word}}}, **options)  # type: ignore[arg-type]


def every_block(word: str) -> list[Block]:
    picture = PngImage(PNG, word, 2, 2)
    return [
        chart(word=word, note=word, views={word: {"yaxis.type": "log"}}),
        Table([word, "n"], [[word, 2], [Link(word, "a/b.html"), None], [picture, 1.5]], caption=word),
        Images(word, [(word, picture)], note=word),
        Text(word),
        Command(word, word),
        StatTiles([(word, word, word, "passed")]),
        Callout("failure", word, word, [(word, word)], [Command(word)]),
    ]


def whole(word: str = "train", *, blocks: list[Block] | None = None) -> str:
    blocks = every_block(word) if blocks is None else blocks
    return render_page(title=word, verdict=word, status="failed", sections=[Section(word, blocks, "failed", word)])


class PageParser(HTMLParser):
    """The elements of a page, and the words that it shows."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.words: list[str] = []
        self.blocks: dict[str, str] = {}
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        self._inside = dict(attrs).get("id") or "" if tag == "script" else ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self._inside:
            self.blocks[self._inside] = data


def test_users_words_make_no_elements_and_are_shown_as_they_are() -> None:
    plain, evil = PageParser(whole("x" * len(EVIL))), PageParser(whole(EVIL))
    assert evil.tags == plain.tags
    assert sorted(evil.attributes) == sorted(plain.attributes)
    assert sum(word.strip() == EVIL.strip() for word in evil.words) >= 12


def test_data_has_nothing_that_an_html_parser_knows() -> None:
    """`<!--<script` changes what ends a script."""
    views = {"<!--<script ": {"yaxis.type": "log"}}
    assert not set("<>&\u2028") & set(PageParser(whole(blocks=[chart(views=views)])).blocks["data-charts"])


def test_labels_inside_charts_are_text_but_for_what_is_meant() -> None:
    meant = PlotlyMarkup(f"<b>{escape_plotly('<i>')}</b>")
    figure = {"data": [{"name": "<b>a</b> & b", "text": meant, "hovertemplate": "%{y}<extra></extra>"}], "layout": {}}
    [drawn] = json.loads(PageParser(whole(blocks=[Chart("c", "c", figure)])).blocks["data-charts"])
    assert drawn["data"][0]["name"] == "&lt;b&gt;a&lt;/b&gt; &amp; b"
    assert drawn["data"][0]["text"] == "<b>&lt;i&gt;</b>"
    assert drawn["data"][0]["hovertemplate"] == "%{y}<extra></extra>"


def test_what_is_no_number_is_a_gap() -> None:
    [drawn] = json.loads(PageParser(whole(blocks=[chart()])).blocks["data-charts"])
    assert drawn["data"][0]["y"] == [3.0, None, 1.0]


def test_it_is_small_and_holds_the_whole_of_plotly() -> None:
    text = whole()
    assert len(text.encode()) < 2_100_000
    code = gzip.decompress(base64.b64decode(PageParser(text).blocks["data-plotly"]))
    assert b"plotly.js v" in code[:200]


def test_without_charts_it_carries_no_plotly() -> None:
    assert len(whole(blocks=[Text("nothing to draw")])) < 30_000


def test_only_scripts_of_known_hashes_run() -> None:
    text = whole()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy
    scripts = next(rule for rule in policy[1].split("; ") if rule.startswith("script-src"))
    assert re.fullmatch(r"script-src( 'sha256-[\w+/=]+'){2}", scripts)
    assert policy[1].startswith("default-src 'none'")


@pytest.mark.parametrize("href", ["javascript:alert(1)", " JavaScript:alert(1)", "data:text/html,x", "file:///etc"])
def test_links_lead_to_pages(href: str) -> None:
    with pytest.raises(AssertionError):
        Link("x", href)


def test_two_charts_need_two_names() -> None:
    with pytest.raises(AssertionError):
        whole(blocks=[chart(), chart()])


def test_it_is_the_same_each_time() -> None:
    assert whole() == whole()


def test_neither_plotly_nor_torch_is_imported() -> None:
    code = (
        "from pipeline.report.page import render_page; from pipeline.report.blocks import *;"
        "render_page(title='', verdict='', status='', sections=[Section('a', [Chart('a', '', {'data': []})])]);"
        "import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"plotly", "torch", "numpy"} & set(done.stdout.split())


def test_named_colours_stay_names_until_the_browser_chooses() -> None:
    figure = {"data": [{"y": [1], "line": {"color": BLUE}}], "layout": {}}
    [drawn] = json.loads(PageParser(whole(blocks=[Chart("c", "c", figure)])).blocks["data-charts"])
    assert drawn["data"][0]["line"]["color"] == "var(--blue)"
