"""Text files as cells: separators, quotes, encodings, names and line numbers."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from pipeline.data.tables.text_file import read_table
from pipeline.errors import UserError

CELLS = {"a": ["1", "2", "3"], "b c": ["x", "", "z, z"], "label": ["p", "q", "p"]}


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_separators_and_encodings(separator: str, encoding: str, tmp_path: Path) -> None:
    lines = [["a", "b c", "label"], ["1", " x ", "p"], ["2", "", "q"], ["3", '"z, z"', "p"]]
    text = "\r\n".join(map(separator.join, lines))
    for name, content in (("t.csv", text.encode(encoding)), ("t.csv.gz", gzip.compress(text.encode(encoding)))):
        (tmp_path / name).write_bytes(content)
        table = read_table(tmp_path / name)
        assert table.columns == CELLS
        assert (list(table.lines), table.separator) == ([2, 3, 4], separator)


def test_the_separator_that_cuts_all_lines_alike(tmp_path: Path) -> None:
    """Commas in free text are not columns."""
    (tmp_path / "t.csv").write_text("a;b;label\n1,5;2,5;x, y\n2,5;3;y, a, b\n")
    assert read_table(tmp_path / "t.csv").columns["a"] == ["1,5", "2,5"]


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    """Cells may have line breaks; blank lines and lines without values count as lines."""
    (tmp_path / "t.csv").write_text('a,label\n\n"two\nlines",x\n,\n3,y\n')
    table = read_table(tmp_path / "t.csv")
    assert table.columns == {"a": ["two\nlines", "3"], "label": ["x", "y"]}
    assert (list(table.lines), table.empty_lines) == ([3, 6], 1)


def test_names(tmp_path: Path) -> None:
    """An index without a name gets one; columns that are counted have a header; a comma at the end is no column."""
    (tmp_path / "t.csv").write_text(",0,1,2\n7,1,2,3\n8,4,5,6\n")
    assert list(read_table(tmp_path / "t.csv").columns) == ["column 1", "0", "1", "2"]
    (tmp_path / "t.csv").write_text("a,label,\n1,x,\n")
    assert list(read_table(tmp_path / "t.csv").columns) == ["a", "label"]
    for data in ("5.1,3.5,setosa", "0,0,1", "7,3,9"):
        (tmp_path / "t.csv").write_text(f"{data}\n{data}\n")
        with pytest.raises(UserError):
            read_table(tmp_path / "t.csv")


def test_other_files(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("a,label\n1,x\n")
    with pytest.raises(UserError, match=r"'mine\.csv'"):
        read_table(tmp_path / "mime.csv")
    with pytest.raises(UserError, match=r"mine\.csv"):
        read_table(tmp_path)
