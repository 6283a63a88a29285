"""The column of a table that names image files, and the files that it means."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from pipeline.data.sources.folder_walk import image_endings
from pipeline.data.tables.text_file import TextTable
from pipeline.errors import UserError, list_names


def find_image_column(
    table: TextTable, taken: Collection[str], *, column: str | None, images: str | None
) -> str | None:
    """Return the column that names image files, or None where the table has no images.

    That is `column`, or the only one that is not `taken` and in which every cell ends like an image file. Raises
    `UserError` (`path_column`) where several do, and where none does although `images` says that there are images.
    """
    if column is not None:
        table.column(column, field="path_column")
        return column
    endings = image_endings()
    found = [
        name
        for name, cells in table.columns.items()
        if name not in taken and all(Path(cell).suffix.lower() in endings for cell in cells)
    ]
    if len(found) > 1 or (images is not None and not found):
        problem = (
            f"{list_names(found, most=5)} all name images"
            if found
            else "no column has endings such as .png in every line"
        )
        raise UserError(
            f"name the column of the images, since {problem}. {table.describe_columns()}", field="path_column"
        )
    return found[0] if found else None


def find_image_files(
    table: TextTable, column: str, *, images: str | None, on_error: str
) -> tuple[Path, list[Path], list[int]]:
    """Return the folder of the images, the files that exist, and their rows.

    Paths are seen from `images`, by default the folder of the table. A name without an ending stands for the file of
    that name with one. Raises `UserError`: (`images`) where there is no such folder, and (`path_column`) for files that
    do not exist, unless `on_error` is skip and some do.
    """
    root = table.file.parent if images is None else Path(images).expanduser()
    if not root.is_dir():
        raise UserError(
            f"{root} is not a folder. Set data.images to the folder that the paths start from.", field="images"
        )
    found = _locate(root, table.columns[column])
    missing = [row for row, file in enumerate(found) if file is None]
    if missing and (on_error == "refuse" or len(missing) == len(found)):
        row = missing[0]
        skip = " data.on_error=skip leaves them out." if len(missing) < len(found) else ""
        hint = "" if images else " If the paths start from another folder, name it: data.images=DIR."
        raise UserError(
            f"{table.file}: {len(missing)} of {len(found)} files in the column {column!r} do not exist: the first is "
            f"{table.columns[column][row]!r} in line {table.lines[row]}, looked for in {root}.{hint}{skip}",
            field="path_column",
        )
    rows = [row for row, file in enumerate(found) if file is not None]
    return root, [file for file in found if file is not None], rows


def _locate(root: Path, cells: Sequence[str]) -> list[Path | None]:
    """Return the file that each cell means, or None."""
    endings = image_endings()
    by_stem: dict[str, list[Path]] = {}
    if any(Path(cell).suffix.lower() not in endings for cell in cells):
        for file in sorted(root.rglob("*")):
            if file.suffix.lower() in endings:
                by_stem.setdefault(file.relative_to(root).with_suffix("").as_posix(), []).append(file)

    def locate(cell: str) -> Path | None:
        if not cell:
            return None
        for name in (cell, cell.replace("\\", "/")):
            if (root / name).is_file():
                return root / name
        same = by_stem.get(cell.replace("\\", "/"), [])
        return same[0] if len(same) == 1 else None

    return [locate(cell) for cell in cells]
