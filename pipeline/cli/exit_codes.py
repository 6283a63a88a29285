"""The exit codes of jobs, collected in the program that started them, whichever process or machine they ran in."""

from __future__ import annotations

import sys

from pipeline.errors import CRASHED, USER_ERROR, UserError, user_frames

job_exit_codes: list[int] = []
"""The exit code of each job that has ended: one of a single run, several of a multirun."""


class JobExitCode:
    """The exit code of a job. It is added to `job_exit_codes` where it is created, and wherever it is unpickled.

    Hydra's launchers send back what a job returns, so the codes of all jobs arrive in the program.
    """

    def __init__(self, code: int):
        self.code = code
        job_exit_codes.append(code)

    def __reduce__(self) -> tuple[type[JobExitCode], tuple[int]]:
        return JobExitCode, (self.code,)


def print_user_error(error: UserError) -> int:
    """Print the message of the error and return its exit code."""
    print(f"error: {error}", file=sys.stderr)
    return USER_ERROR


def print_error_of_user_code(error: Exception) -> int:
    """Print where in the user's own files the error arose, and return the exit code of a crash.

    Raises `error` again where it did not arise there: it may be a mistake of this program, which needs all of its
    traceback.
    """
    frames = user_frames(error)
    if not frames:
        raise error
    print(f"error: {type(error).__name__} in your code: {error}{frames}", file=sys.stderr)
    return CRASHED
