"""Blocks for pages, and a parser that shows what a browser would see of one."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

from pipeline.report.blocks import (
    Block,
    Callout,
    Chart,
    Command,
    Folded,
    Images,
    Link,
    PngImage,
    StatTiles,
    Table,
    Text,
)

EVIL = "</script><script>window.injected = 1</script><img src=x onerror='window.injected=1'>\"'&\u2028<b>bold</b>"
PNG = b"\x89PNG"


def chart(name: str = "loss", *, text: str = "train", **options: object) -> Chart:
    data = [{"x": [1, 2, 3], "y": [3.0, float("nan"), 1.0], "name": text, "text": [text, text, text]}]
    return Chart(name, text, {"data": data, "layout": {"title": {"text": text}}}, **options)  # type: ignore[arg-type]


def every_block(text: str) -> list[Block]:
    """Return one block of each kind, with `text` wherever a text can be."""
    image = PngImage(PNG, text, 2, 2)
    return [
        chart(text=text, note=text, views={text: {"yaxis.type": "log"}}),
        Table([text, "n"], [[text, 2], [Link(text, "a/b.html"), None], [image, 1.5]], caption=text),
        Images(text, [(text, image)], note=text),
        Text(text),
        Command(text, text),
        StatTiles([(text, text, text, "passed")]),
        Callout("failure", text, text, [(text, text)], [Command(text)]),
        Folded(text, [(text, text)]),
    ]


class PageParser(HTMLParser):
    """The elements of a page, the texts that it shows, and the JSON in its scripts."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.texts: list[str] = []
        self.links: dict[str, str] = {}
        """Class of each link by its address."""
        self.policy = ""
        self.scripts: dict[str, str] = {}
        """Content of each script that has an id."""
        self.by_tag: dict[str, list[str]] = {}
        self._tag = self._script = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.attributes += values
        self._tag, self._script = tag, values.get("id", "") if tag == "script" else ""
        if tag == "a":
            self.links[values["href"]] = values.get("class", "")
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"]

    def handle_endtag(self, tag: str) -> None:
        self._tag = self._script = ""

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        self.by_tag.setdefault(self._tag, []).append(data)
        if self._script:
            self.scripts[self._script] = data

    @property
    def headline(self) -> str:
        return self.by_tag["h1"][0]

    @property
    def charts(self) -> dict[str, Any]:
        return {one["id"]: one for one in json.loads(self.scripts["data-charts"])}
