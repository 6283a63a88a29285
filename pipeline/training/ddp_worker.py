"""One of several processes of a training, but not the first: `python -m pipeline.training.ddp_worker`, started by the train stage.

Reads one line of JSON (`pipeline.training.ddp.Work`), says `ready` once it has its parts, and trains with the
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

from pipeline.errors import Interrupted, UserError


def main() -> None:
    """Exit codes: 0 the training ended, also early; 1 a crash; 2 the user's mistake."""
    gc.set_threshold(50_000)  # as in the first process
    work = json.loads(sys.stdin.readline())
    first = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    from pipeline.workflow.runner import silence_library_warnings, tune_glibc_malloc

    tune_glibc_malloc()
    try:
        with silence_library_warnings():
            _train_as_worker(work, ready=functools.partial(print, "ready", file=first, flush=True))
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except Interrupted:
        pass


def _train_as_worker(work: dict[str, Any], *, ready: Callable[[], None]) -> None:
    from pipeline.stages.train import Train
    from pipeline.training.ddp import destroy_process_group
    from pipeline.workflow.build import build_from_dict, with_directory
    from pipeline.workflow.components import ProcessRank

    parts = build_from_dict(work["config"])
    parts = with_directory(parts, Path(), resume=Path(work["resume"]) if work["resume"] else None)
    place, train = ProcessRank(**work["place"]), Train(**work["train"])
    ready()
    with parts.stopper.installed():
        try:
            train.train_as_worker(parts, place)
        finally:
            destroy_process_group()


def _exit_with_parent() -> None:
    """Standard input ends when the first process ends, however it does; then nobody waits for this one any more."""
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
