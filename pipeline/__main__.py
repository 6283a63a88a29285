"""`python -m pipeline ...`: check what was typed, let Hydra compose it, run the stages, exit with the verdict.

A first word without `=` is a command: `diagnose` judges a finished run again, `explain` prints a check's page.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

# Before torch is imported: OpenMP threads that spin for long while they wait make steps ten times slower beside other
# work. 10,000 turns are short enough for that; 1,000 cost 15 % on a quiet machine (docs/LOG.md).
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import hydra
from hydra._internal.utils import get_args_parser
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

from pipeline.errors import Stopped, UserError, did_you_mean
from pipeline.overrides import CONF, composed, register_resolvers, swept
from pipeline.rundir import check_name, check_writable

COMMANDS = ("diagnose", "explain")
_exit_codes: list[int] = []
"""Of each job of this process: one, or those of a multirun."""


def main() -> None:
    """The program. Exit codes: 0 passed, 1 crash, 2 the user's mistake, 3 a stage failed, 128 + n ended by signal n."""
    try:
        if (word := _command()) is not None:
            sys.exit(_obey(word, sys.argv[2:]))
        # argparse gives up on overrides on both sides of a flag (`a=1 -m b=2`): flags first
        sys.argv[1:] = sorted(sys.argv[1:], key=lambda word: "=" in word and not word.startswith("-"))
        arguments = get_args_parser().parse_known_args()[0]
        if not (arguments.help or arguments.hydra_help or arguments.shell_completion):
            config = composed(arguments.overrides, config_dir=arguments.config_dir)
            if (keys := swept(arguments.overrides)) and not (arguments.multirun or arguments.cfg):
                raise UserError("takes one value; to sweep over several add --multirun.", field=keys[0])
            if not (arguments.cfg or arguments.info):
                check_name(config.name)
                check_writable(Path(str(config.outputs)))
        os.environ["PIPELINE_SWEPT"] = ",".join(swept(arguments.overrides))  # for jobs in other processes too
        register_resolvers()
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(_job)()
    except UserError as error:
        sys.exit(_complain(error))
    except (Stopped, KeyboardInterrupt) as stop:
        number = stop.signal if isinstance(stop, Stopped) else 2
        print("stopped; go on with resume=auto", file=sys.stderr)
        sys.exit(128 + number)
    sys.exit(max(_exit_codes, default=0))


def _command() -> str | None:
    """The first word, where it is neither an override nor a flag."""
    word = next(iter(sys.argv[1:]), "")
    return word if word and "=" not in word and word[0] not in "-+~" else None


def _obey(word: str, arguments: list[str]) -> int:
    if word == "diagnose":
        from pipeline.diagnose import diagnose

        return diagnose(arguments)
    if word == "explain":
        from pipeline.catalogue import explain

        return explain(arguments)
    meant = did_you_mean(word, COMMANDS)
    raise UserError(f"there is no command {word!r}.{meant} Commands: {', '.join(COMMANDS)}; all else is key=value.")


def _job(config: DictConfig) -> None:
    """One run. Its verdict goes to `_exit_codes`, so that one failed job does not end a multirun."""
    from pipeline.runner import run_config

    job = HydraConfig.get()
    code = 1
    try:
        if job.mode == RunMode.MULTIRUN:
            _spare_test_split(config, job)
        directory = Path(job.runtime.output_dir)
        folders = [source.path for source in job.runtime.config_sources if source.provider == "command-line"]
        code = run_config(
            config,
            overrides=list(job.overrides.task),
            directory=directory,
            config_dir=next(iter(folders), None),
        ).exit_code
    except UserError as error:
        code = _complain(error)
    except Exception:
        if job.mode != RunMode.MULTIRUN:
            raise
        traceback.print_exc()
    _exit_codes.append(code)


def _spare_test_split(config: DictConfig, job: HydraConf) -> None:
    """Leave `evaluate` out of a sweep's jobs: whoever chooses by test scores has no test split left.

    A sweep over nothing but seeds chooses nothing.
    """
    typed = {key for key in os.environ.get("PIPELINE_SWEPT", "").split(",") if key}
    keys = typed | set(job.sweeper.get("params") or {})
    only_seeds = keys <= {"seed"} and str(job.sweeper._target_).endswith("BasicSweeper")
    if "evaluate" in config.stages and not only_seeds:
        if len(config.stages) == 1:
            raise UserError("a sweep does not touch the test split; evaluate the one that you choose.", field="stage")
        with open_dict(config):
            del config.stages["evaluate"]


def _complain(error: UserError) -> int:
    print(f"error: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
