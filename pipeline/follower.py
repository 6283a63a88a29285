"""One of several processes of a training, but not the first: `python -m pipeline.follower`, started by the train stage.

Reads one line of JSON (`pipeline.stages.processes.Work`), says `ready` once it has its parts, and trains with the
others. It writes no file and says nothing else; how it failed goes to standard error, which the first process reads.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
from pathlib import Path

from pipeline.errors import Stopped, UserError


def main() -> None:
    """Exit codes: 0 the training ended, also early; 1 a crash; 2 the user's mistake."""
    gc.set_threshold(50_000)  # as in the first process
    work = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_first, daemon=True).start()
    from pipeline.runner import keep_freed_memory, quiet_libraries

    keep_freed_memory()
    try:
        with quiet_libraries():
            _follow(work)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except Stopped:
        pass


def _follow(work: dict[str, object]) -> None:
    from pipeline.assemble import assemble_plain, with_directory
    from pipeline.parts import Place
    from pipeline.stages import Train
    from pipeline.stages.processes import leave_group

    parts = assemble_plain(work["config"])  # type: ignore[arg-type]
    resume = Path(str(work["resume"])) if work["resume"] else None
    parts = with_directory(parts, Path(), resume=resume)
    place = Place(**work["place"])  # type: ignore[arg-type]
    train = Train(**work["train"])  # type: ignore[arg-type]
    print("ready", flush=True)
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
