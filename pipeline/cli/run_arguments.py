"""The arguments that name a trained network."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path


def add_run_arguments(parser: ArgumentParser) -> None:
    """Add RUN, --checkpoint and --outputs."""
    parser.add_argument("run", metavar="RUN", help="a run's folder, `latest`, its name, or a .ckpt file")
    parser.add_argument("--checkpoint", choices=("best", "last"), default="best", help="which one of the run")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="the folder of all runs")
