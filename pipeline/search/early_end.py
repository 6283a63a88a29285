"""The early end of a search by a signal, `search.fail_fast` or a wrong argument: its exit code, and what it saves."""

from __future__ import annotations

import contextlib
import functools
import signal
import sys
from collections.abc import Callable, Iterator
from typing import ParamSpec

from pipeline.errors import CRASHED, FAILED, USER_ERROR, Interrupted, UserError
from pipeline.search.plan import SearchPlan
from pipeline.search.records import BROKEN, write_search
from pipeline.search.report.terminal import SearchTerminal
from pipeline.search.results.files import write_results
from pipeline.search.results.snapshot import take_snapshot
from pipeline.search.study.search_study import SearchStudy
from pipeline.search.workers.forkserver import kill_forkserver
from pipeline.search.workers.scheduler import FailFast

P = ParamSpec("P")


def exit_code_of_early_end(search: Callable[P, int]) -> Callable[P, int]:
    """Turn what ends a search early into one line and an exit code."""

    @functools.wraps(search)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            return search(*args, **kwargs)
        except UserError as error:
            kill_forkserver()
            print(f"error: {error}", file=sys.stderr)
            return USER_ERROR
        except FailFast as end:
            print(f"The search ends at the first trial that broke (search.fail_fast): {end}", file=sys.stderr)
            return FAILED if end.state == BROKEN else CRASHED
        except (Interrupted, KeyboardInterrupt) as interrupt:
            print("Interrupted: the same command resumes the search.", file=sys.stderr)
            return 128 + (interrupt.signal if isinstance(interrupt, Interrupted) else signal.SIGINT)

    return wrapped


@contextlib.contextmanager
def saved_at_any_end(
    plan: SearchPlan, study: SearchStudy, reporter: SearchTerminal, examples: int
) -> Iterator[Callable[[], None]]:
    """Yield a function that writes search.json, which is called at the end as well.

    If a signal or `search.fail_fast` ends the search, the results so far are written.
    """

    def save() -> None:
        write_search(take_snapshot(plan, study, examples=examples))

    try:
        yield save
    except (Interrupted, KeyboardInterrupt, FailFast):
        if (search := take_snapshot(plan, study, examples=examples)).trials:
            write_results(search)
        raise
    finally:
        reporter.close()
        save()
