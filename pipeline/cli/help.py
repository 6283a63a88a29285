"""The page of `--help`: what can be chosen, each option in the words of its own file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pipeline.cli import COMMANDS
from pipeline.cli.flags import FLAGS
from pipeline.config.options import CONF, Group, groups, key
from pipeline.errors import UserError
from pipeline.report.console import console

SECTIONS = {
    "What is learned from": ("data", "preprocessing", "augmentation"),
    "The network": ("model", "activation", "init", "batchnorm"),
    "What is minimized, and how": ("loss", "regularization", "optimizer", "schedule"),
    "The workflow": ("stage", "checks", "signals", "search", "trainer", "logger"),
}
"""Groups in the order in which one thinks of them; those of no room come last."""
COMMON_KEYS = (
    *("seed", "name", "tags", "resume", "fix", "verbose", "data.path", "data.batch_size", "data.limit"),
    *("model.depth", "model.width", "init.bias", "init.output_scale", "optimizer.lr", "optimizer.momentum"),
    *("regularization.l2", "regularization.dropout", "stages.train.epochs", "stages.overfit.examples"),
    *("stages.overfit.steps", "trainer.precision", "trainer.devices", "compile", "search.trials", "search.space"),
    *("search.workers", "search.storage", "search.dry_run", "outputs"),
)
"""Keys that people type most; what each means stands where its default does."""
EXAMPLES = {
    "pipeline": "sanity, overfit, train, evaluate on the data set that ships with it",
    "pipeline stage=sanity init=xavier activation=tanh": "one stage",
    "pipeline data=digits optimizer=adam optimizer.lr=0.003": "options and keys",
    "pipeline data=image_folder data.path=photos data.size=32": "your own images",
    "pipeline fix=true init=zeros": "let the run mend itself",
    "pipeline -m seed=0,1,2": "several runs",
    "pipeline 'search=[coarse,fine]' 'optimizer.lr=tag(log,interval(1e-5,1))'": "search for a rate",
}
EXIT_CODES = {
    "0": "every stage passed",
    "1": "a crash",
    "2": "the configuration or the data is wrong",
    "3": "a stage failed its checks",
    "130, 143": "ended by Ctrl-C, SIGTERM; go on with resume=auto",
}


def print_help(arguments: Sequence[str] = ()) -> int:
    """Print the page; with `--config-dir FOLDER` among the arguments also what that folder adds."""
    out = console()
    menu = groups([*_folders(arguments), CONF])
    out.print(Text.assemble(("pipeline", "bold"), " [group=option ...] [key=value ...] [--flag ...]"))
    out.print(Text.assemble(("pipeline", "bold"), " command ..."))
    out.print("`python -m pipeline` is the same program. The first option is the default.", style="dim")
    placed = {name for names in SECTIONS.values() for name in names}
    rooms = SECTIONS | {"More": tuple(name for name in menu if name not in placed)}
    for title, names in rooms.items():
        if any(name in menu for name in names):
            _title(out, title)
            for name in names:
                if name in menu:
                    _group(out, menu[name])
    _title(out, "Keys typed most")
    _rows(out, ((f"{name}={found.value}", found.says) for name in COMMON_KEYS if (found := key(name))))
    _title(out, "Commands")
    _rows(out, ((f"{name} {command.usage}".strip(), command.summary) for name, command in COMMANDS.items()))
    _title(out, "Flags")
    _rows(out, FLAGS.items())
    _title(out, "Examples")
    _rows(out, EXAMPLES.items())
    _title(out, "Exit codes")
    _rows(out, EXIT_CODES.items())
    return 0


def _title(out: Console, title: str) -> None:
    out.print()
    out.print(Text(title, "bold"))


def _group(out: Console, group: Group) -> None:
    several = (
        group.chosen if len(group.chosen) > 1 else [option.name for option in group.options if option.name != "none"]
    )
    more = f"  one, or a list: '{group.name}=[{','.join(several)}]'" if group.is_list else ""
    more += "" if group.chosen else "  none unless you choose"
    out.print(Text.assemble("  ", (f"{group.name}=", "bold cyan"), (more, "dim")))
    _rows(out, ((option.name, _sentence(option.says)) for option in group.options), indent=4)


def _rows(out: Console, rows: Iterable[tuple[str, str]], *, indent: int = 2) -> None:
    """Two columns where there is room for the second, else the second below the first."""
    pairs = list(rows)
    longest = 80 if out.soft_wrap else min(50, out.width // 2)
    width = max((len(name) for name, _ in pairs if len(name) <= longest), default=0)
    for name, says in pairs:
        if out.soft_wrap:
            out.print(Text(f"{' ' * indent}{name:<{width}}  {says}".rstrip()))
        elif len(name) > width or out.width < indent + width + 32:
            out.print(Padding(Text(name, "cyan"), (0, 0, 0, indent)))
            out.print(Padding(Text(says), (0, 0, 0, indent + 4)))
        else:
            table = Table.grid(padding=(0, 2, 0, 0))
            table.add_column(width=width, no_wrap=True)
            table.add_column(overflow="fold")
            table.add_row(Text(name, "cyan"), Text(says))
            out.print(Padding(table, (0, 0, 0, indent)))


def _sentence(says: str) -> str:
    """Without the command that a recipe's header ends with."""
    return re.sub(r"\s+", " ", says).removesuffix(".")


def _folders(arguments: Sequence[str]) -> list[Path]:
    """The folder behind `--config-dir`, which argparse lets one write in four ways."""
    for place, word in enumerate(arguments):
        flag, equals, value = word.partition("=")
        if flag in ("--config-dir", "-cd"):
            folder = Path(value if equals else next(iter(arguments[place + 1 :]), ""))
            if not folder.is_dir():
                raise UserError(f"there is no folder {str(folder)!r}.", field="--config-dir")
            return [folder]
    return []
