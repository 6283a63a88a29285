"""The exit code of a job counts in the program that started it, whichever process or machine it ran in."""

from __future__ import annotations

codes: list[int] = []
"""Of a command, or of each job: one, or those of a multirun."""


class Verdict:
    """A job's exit code, noted wherever it arrives: Hydra's launchers send back what a job returns."""

    def __init__(self, code: int):
        self.code = code
        codes.append(code)

    def __reduce__(self) -> tuple[type[Verdict], tuple[int]]:
        return Verdict, (self.code,)
