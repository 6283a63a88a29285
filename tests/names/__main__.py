"""List what is left of the retired names: `make names`, `python -m tests.names`.

table.tsv has one retired name per row: a module (below `pipeline`), or a definition as `module:Class.name`, in the
module where it lives now. Prints those that still exist and exits with 1 if there are any.
"""

from __future__ import annotations

import sys

from tests.names.scan import banned_identifiers, remaining_names


def main() -> int:
    remaining = [f"{old} (now {new})" for old, new in remaining_names()] + banned_identifiers()
    print("\n".join(remaining) or "nothing is left")
    return 1 if remaining else 0


if __name__ == "__main__":
    sys.exit(main())
