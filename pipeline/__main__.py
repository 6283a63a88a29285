"""The program: `python -m pipeline [group=option ...] [key=value ...]`, or a command: `python -m pipeline runs`."""

from __future__ import annotations

import os
import select
import signal
import sys

from pipeline.cli import run_command
from pipeline.cli.command import command_name
from pipeline.cli.exit_codes import print_user_error
from pipeline.errors import SIGNALLED, Interrupted, UserError
from pipeline.workflow.process_setup import configure_process


def main() -> None:
    """Run a command or a job, and exit with its code: one of `pipeline.errors`, or 128 + n if signal n stopped it."""
    configure_process()
    arguments, command = sys.argv[1:], command_name(sys.argv[1:])
    try:
        code = _run(command, arguments)
        sys.stdout.flush()
    except UserError as error:
        code = print_user_error(error)
    except (Interrupted, KeyboardInterrupt) as stop:
        print("stopped" if command else "stopped; continue with resume=auto", file=sys.stderr)
        code = SIGNALLED + (stop.signal if isinstance(stop, Interrupted) else signal.SIGINT)
    except BrokenPipeError:
        if not _stdout_is_closed():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it once more at its end
        code = SIGNALLED + signal.SIGPIPE
    sys.exit(code)


def _run(command: str | None, arguments: list[str]) -> int:
    if command:
        return run_command(command, arguments[1:])
    if {"--help", "-h"} & set(arguments):
        return run_command("help", arguments)
    if "--version" in arguments:
        from pipeline.cli.help import print_versions

        return print_versions()
    from pipeline.cli.launch import launch

    return launch(arguments)


def _stdout_is_closed() -> bool:
    """Return whether the reader of our output has gone, as in `pipeline runs | head`. Other pipes break as well."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), select.POLLOUT)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


if __name__ == "__main__":
    main()
