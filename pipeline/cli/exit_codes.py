"""The exit codes of jobs, collected in the program that started them, whichever process or machine they ran in."""

from __future__ import annotations

import sys

from pipeline.errors import USER_ERROR, UserError

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
