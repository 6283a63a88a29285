"""Tab completion. `pipeline completion bash` prints a script for the shell, which asks this program for completions.

The shell passes the line as it is typed, and the answer is whole words. Only keys need Hydra, since they depend on the
options that were typed before.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pipeline.cli.command import Command, command_name
from pipeline.cli.shell_words import split_line
from pipeline.config.options import groups, key
from pipeline.errors import PASSED, UserError, did_you_mean

BASH = r"""# Tab completion of `pipeline` in bash. Put this line into ~/.bashrc:
#   eval "$(pipeline completion bash)"
_pipeline_complete() {
  local IFS=$'\n'
  COMPREPLY=($("${COMP_WORDS[0]}" completion --answer "${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" 2>/dev/null))
  if [[ ${#COMPREPLY[@]} -gt 0 && ${COMPREPLY[0]} == *[=.,[/] ]]; then compopt -o nospace; fi
}
complete -o default -F _pipeline_complete pipeline
"""
ZSH = r"""# Tab completion of `pipeline` in zsh. Put this line into ~/.zshrc, after compinit:
#   eval "$(pipeline completion zsh)"
_pipeline_complete() {
  local -a found open closed
  found=("${(@f)$("${words[1]}" completion --answer "${(j: :)words[1,CURRENT-1]} ${PREFIX}" 2>/dev/null)}")
  open=(${(M)found:#*[=.,\[/]})
  closed=(${found:#*[=.,\[/]})
  if (( ! ${#${found:#}} )); then compset -P '*='; _files; return; fi
  (( ${#open} )) && compadd -S '' -- $open
  (( ${#closed} )) && compadd -- $closed
}
compdef _pipeline_complete pipeline
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH}


def print_completion(args: Sequence[str], commands: Mapping[str, Command]) -> int:
    """Print the script of the shell `args[0]`; by default of the user's shell.

    The scripts call it with `--answer LINE [WORDBREAKS]`, which prints the completions of the end of LINE.
    """
    if args[:1] == ["--answer"]:
        line, wordbreaks = [*args[1:], "", ""][:2]
        for completion in complete_line(line, commands, wordbreaks=wordbreaks):
            print(completion)
        return PASSED
    shell = args[0] if args else Path(os.environ.get("SHELL", "")).name
    if len(args) > 1 or shell not in SCRIPTS:
        closest = did_you_mean(shell, SCRIPTS)
        raise UserError(f"give a shell: {' or '.join(SCRIPTS)}, not {shell!r}.{closest}")
    print(SCRIPTS[shell], end="")
    if sys.stdout.isatty():
        print(f'# to use it now: eval "$(pipeline completion {shell})"', file=sys.stderr)
    return PASSED


def complete_line(line: str, commands: Mapping[str, Command], *, wordbreaks: str = "") -> list[str]:
    """Return the completions of the last word of `line`, as the shell inserts them.

    bash replaces only the part of a word behind the last of its `wordbreaks` (`=` and `:`), unless the word is quoted.
    """
    *previous, last = split_line(line)
    candidates = _candidates([token.text for token in previous[1:]], last.text, commands)
    completions = [candidate for candidate in candidates if candidate.startswith(last.text)]
    if wordbreaks and not last.is_quoted:
        start = max((last.text.rfind(sign) for sign in "=:" if sign in wordbreaks), default=-1) + 1
        completions = [completion[start:] for completion in completions]
    return completions


def complete_folders(prefix: str) -> list[str]:
    """Return the folders whose path begins with `prefix`."""
    parent = Path(prefix).parent if prefix and not prefix.endswith("/") else Path(prefix or ".")
    start = "" if not prefix.rpartition("/")[1] else prefix.rpartition("/")[0] + "/"
    if not parent.is_dir():
        return []
    return sorted(f"{start}{path.name}/" for path in parent.iterdir() if path.is_dir() and path.name[0] != ".")


def _candidates(previous: Sequence[str], prefix: str, commands: Mapping[str, Command]) -> Iterator[str]:
    """Yield completions of `prefix`; some may not begin with it."""
    command = command_name(previous)
    if command and command in commands:
        yield from commands[command].complete(previous[1:], prefix)
    elif previous[-1:] == ["--cfg"]:
        yield "job"
    elif previous[-1:] == ["--config-dir"]:
        yield from complete_folders(prefix)
    elif prefix.startswith("-"):
        from pipeline.cli.help import FLAGS

        yield from FLAGS
    elif "=" in prefix:
        yield from _complete_value(prefix)
    else:
        yield from () if previous else commands
        yield from _complete_key(previous, prefix)


def _complete_value(prefix: str) -> Iterator[str]:
    """Yield the options of a group, also inside a list and behind a comma, or the choices of a key."""
    name, _, value = prefix.partition("=")
    stem = value[: max(value.rfind(","), value.rfind("[")) + 1]
    taken = stem.strip("[,").split(",")
    group = groups().get(name.lstrip("+"))
    if group:
        choices = [option.name for option in group.options]
    else:
        known = key(name.lstrip("+"))
        choices = list(known.choices) if known else []
    if group and group.is_list and not value:
        yield f"{name}=["
    matches = [f"{name}={stem}{choice}" for choice in choices if choice not in taken]
    matches = [match for match in matches if match.startswith(prefix)]
    # a single match ends the word, unless it is in a list, which may go on
    yield from [f"{matches[0]},", f"{matches[0]}]"] if len(matches) == 1 and stem.startswith("[") else matches


def _complete_key(previous: Sequence[str], prefix: str) -> Iterator[str]:
    """Yield groups and keys, one level of dots at a time."""
    sign = prefix[: len(prefix) - len(prefix.lstrip("+"))]
    parent = prefix.lstrip("+").rpartition(".")[0]
    if not parent:
        yield from (f"{sign}{name}=" for name in groups())
    for name, is_node in _keys_below(previous, parent):
        key_name = f"{parent}.{name}" if parent else name
        yield f"{sign}{key_name}{'.' if is_node else '='}"


def _keys_below(previous: Sequence[str], parent: str) -> list[tuple[str, bool]]:
    """Return the keys below a node of the configuration of the overrides `previous`, and whether each is a node."""
    from omegaconf import DictConfig, OmegaConf

    from pipeline.config.compose import compose_config

    try:
        config = compose_config([word for word in previous if "=" in word])
    except UserError:  # one of them is mistyped
        config = compose_config([])
    node = OmegaConf.select(config, parent) if parent else config
    if not isinstance(node, DictConfig):
        return []
    plain = OmegaConf.to_container(node, resolve=False)
    assert isinstance(plain, dict)
    return [(str(name), isinstance(value, dict)) for name, value in plain.items() if not str(name).startswith("_")]
