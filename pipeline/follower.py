"""One of several processes of a training, but not the first: `python -m pipeline.follower`, started by the train stage.

Reads one line of JSON (`pipeline.stages.processes.Work`), says `ready` once it has its parts, and trains with the
others. It writes no file; all else that is printed, also by the user's own network, goes to standard error, which the
first process reads when this one fails.
"""

from __future__ import annotations

import functools
import gc
import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.errors import Stopped, UserError


def main() -> None:
    """Exit codes: 0 the training ended, also early; 1 a crash; 2 the user's mistake."""
    gc.set_threshold(50_000)  # as in the first process
    work = json.loads(sys.stdin.readline())
    first = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    threading.Thread(target=_end_with_the_first, daemon=True).start()
    from pipeline.runner import keep_freed_memory, quiet_libraries

    keep_freed_memory()
    try:
        with quiet_libraries():
            _follow(work, ready=functools.partial(print, "ready", file=first, flush=True))
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except Stopped:
        pass


def _follow(work: dict[str, Any], *, ready: Callable[[], None]) -> None:
    from pipeline.assemble import assemble_plain, with_directory
    from pipeline.parts import Place
    from pipeline.stages import Train
    from pipeline.stages.processes import leave_group

    parts = assemble_plain(work["config"])
    parts = with_directory(parts, Path(), resume=Path(work["resume"]) if work["resume"] else None)
    place, train = Place(**work["place"]), Train(**work["train"])
    ready()
    with parts.stopper.listening():
        try:
            train.follow(parts, place)
        finally:
            leave_group()


def _end_with_the_first() -> None:
    """Standard input ends when the first process ends, however it does; then nobody waits for this one any more."""
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
