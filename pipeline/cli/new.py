"""`new`: make a project of one's own, a folder with data, a network, a check, options and a test to replace."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

from pipeline.cli.parser import CommandParser
from pipeline.errors import PASSED, UserError

_package = Path(__file__).resolve().parents[1]
_installed, _in_checkout = _package / "project_template", _package.parent / "docs" / "examples" / "own_project"
TEMPLATE = _installed if _installed.is_dir() else _in_checkout
"""The project that is copied: inside an installed package, or an example of the documentation in a checkout."""
_NOT_COPIED = shutil.ignore_patterns("__pycache__", ".*", "outputs")
_NEXT = """{folder}: a project with data, a network and a check of its own, in mine/. Try it:
  cd {quoted}
  python -m pipeline --config-dir conf experiment=first
  python -m pytest
Then replace mine/data.py and mine/network.py by your own; README.md says which file is what."""


def new(args: Sequence[str]) -> int:
    """Copy the template into a folder that does not exist or is empty, and say what to do next."""
    parser = CommandParser("new", "Make a folder with a small project that runs: replace its data, network and check.")
    parser.add_argument("folder", metavar="DIR", type=Path, help="the folder to make; it may exist if it is empty")
    folder: Path = parser.parse(args).folder
    existed = _is_empty_folder(folder)
    try:
        shutil.copytree(TEMPLATE, folder, ignore=_NOT_COPIED, copy_function=shutil.copyfile, dirs_exist_ok=True)
    except (OSError, shutil.Error) as error:
        for path in folder.iterdir() if folder.is_dir() else ():
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        if not existed and folder.is_dir():
            folder.rmdir()
        raise _cannot_make(folder, error) from error
    print(_NEXT.format(folder=folder, quoted=shlex.quote(str(folder))))
    return PASSED


def _is_empty_folder(folder: Path) -> bool:
    """Return whether the folder exists, with nothing in it. Raises `UserError` if something is there already."""
    try:
        if not folder.exists() and not folder.is_symlink():
            return False
        found = next(folder.iterdir(), None)
    except OSError as error:
        raise _cannot_make(folder, error) from error
    if found is not None:
        raise UserError(
            f"{str(folder)!r} is not empty ({found.name} is in it); name a folder that is new or empty.", field="DIR"
        )
    return True


def _cannot_make(folder: Path, error: Exception) -> UserError:
    return UserError(f"cannot make the folder {str(folder)!r} ({error}); name one that is new or empty.", field="DIR")
