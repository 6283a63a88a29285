"""The exit code of a job counts in the program that started it, whichever process or machine it ran in."""

from __future__ import annotations

job_exit_codes: list[int] = []
"""Of a command, or of each job: one, or those of a multirun."""


class JobExitCode:
    """A job's exit code, noted wherever it arrives: Hydra's launchers send back what a job returns."""

    def __init__(self, code: int):
        self.code = code
        job_exit_codes.append(code)

    def __reduce__(self) -> tuple[type[JobExitCode], tuple[int]]:
        return JobExitCode, (self.code,)
