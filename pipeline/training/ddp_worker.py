"""One of several processes of a training, but not the first: `python -m pipeline.training.ddp_worker`.

The train stage starts it, or a copy of the program that a launcher started does (`pipeline.training.follower`). It
reads one line of JSON (`pipeline.training.workers.WorkerSpec`), prints `ready` once it has built its components, and
trains together with the others. It writes no file. Everything else that is printed, also by the user's own network,
goes to standard error, which is read when this process fails.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.errors import USER_ERROR, Interrupted, UserError
from pipeline.training.launcher import joint_training
from pipeline.workflow.process_setup import configure_process, silence_library_warnings


def main() -> None:
    """Exit with 0 when the training ended, also early; 1 after a crash; 2 where the user's input is wrong."""
    configure_process()
    spec = json.loads(sys.stdin.readline())
    parent = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    try:
        with joint_training(), silence_library_warnings():
            _train_as_worker(spec, on_ready=functools.partial(print, "ready", file=parent, flush=True))
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(USER_ERROR)
    except Interrupted:
        pass


def _train_as_worker(spec: dict[str, Any], *, on_ready: Callable[[], None]) -> None:
    from pipeline.stages.finetune import Finetune
    from pipeline.stages.train import Train
    from pipeline.training.ddp import destroy_process_group
    from pipeline.training.device import ProcessRank
    from pipeline.workflow.build import build_from_dict
    from pipeline.workflow.components import RunContext

    components = build_from_dict(spec["config"])
    context = RunContext(resume_from=Path(spec["resume_from"]) if spec["resume_from"] else None)
    kind = Finetune if spec.get("stage") == Finetune.name else Train
    rank, train = ProcessRank(**spec["rank"]), kind(**spec["train"])
    components.device_config.select_gpu(rank)
    on_ready()
    with context.interrupt_handler.installed():
        try:
            train.train_as_worker(components, context, rank)
        finally:
            destroy_process_group()


def _exit_with_parent() -> None:
    """Exit when standard input ends: the first process has ended, however it did, and nobody waits for this one."""
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
