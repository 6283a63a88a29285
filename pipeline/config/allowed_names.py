"""What a project allows configurations to call: the file pipeline.allow in the folder where the program is started.

It is no part of a configuration, and no configuration can name it or write it: a folder given by `--config-dir` is not
searched for one. Who can write the folder that `python -m` starts in decides what it imports anyway.
"""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.errors import UserError

ALLOW_FILE = "pipeline.allow"
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")


def names_in_allow_file() -> frozenset[str]:
    """Return the names in the working folder's file: one a line, with comments behind `#`; none without the file.

    Raises `UserError` for a line that is no dotted name, and for a file that cannot be read.
    """
    try:
        lines = Path(ALLOW_FILE).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return frozenset()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read it ({error}). It has one dotted name a line.", field=ALLOW_FILE) from error
    names = [(number, name) for number, line in enumerate(lines, 1) if (name := line.partition("#")[0].strip())]
    for number, name in names:
        if not _DOTTED.fullmatch(name):
            raise UserError(
                f"line {number}, {name!r}, is not the dotted name of a class or function, such as my_module.MyNet.",
                field=ALLOW_FILE,
            )
    return frozenset(name for _, name in names)
