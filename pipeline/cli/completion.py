"""Tab completion: `pipeline completion bash` prints what the shell needs to ask us, and we answer from conf/.

The shell hands over the line as it stands; what comes back are whole words. Only keys need Hydra, since the options
that were typed before decide which there are.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.cli.flags import FLAGS
from pipeline.config.options import Group, groups, key
from pipeline.errors import UserError, did_you_mean

BASH = r"""# Tab completion of `pipeline` in bash. Once: put this line into ~/.bashrc
#   eval "$(pipeline completion bash)"
_pipeline_complete() {
  local IFS=$'\n'
  COMPREPLY=($("${COMP_WORDS[0]}" completion --answer "${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" 2>/dev/null))
  if [[ ${#COMPREPLY[@]} -gt 0 && ${COMPREPLY[0]} == *[=.,[/] ]]; then compopt -o nospace; fi
}
complete -o default -F _pipeline_complete pipeline
"""
ZSH = r"""# Tab completion of `pipeline` in zsh. Once: put this line into ~/.zshrc, after compinit
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
SHELLS = {"bash": BASH, "zsh": ZSH}


def print_completion(arguments: Sequence[str]) -> int:
    """Print a shell's script; `--answer LINE [BREAKS]`, which the scripts ask, prints the words for the end of LINE."""
    if arguments[:1] == ["--answer"]:
        line, breaks = [*arguments[1:], "", ""][:2]
        for word in complete_line(line, breaks):
            print(word)
        return 0
    shell = arguments[0] if arguments else Path(os.environ.get("SHELL", "")).name
    if len(arguments) > 1 or shell not in SHELLS:
        meant = did_you_mean(shell, SHELLS)
        raise UserError(f"give a shell: {' or '.join(SHELLS)}, not {shell!r}.{meant}")
    print(SHELLS[shell], end="")
    if sys.stdout.isatty():
        print(f'# to use it now: eval "$(pipeline completion {shell})"', file=sys.stderr)
    return 0


@dataclass(frozen=True)
class Token:
    """A word of the line without its quotes; `quoted` where a quote is still open at the end of the line."""

    text: str
    quoted: bool = False


def complete_line(line: str, breaks: str = "") -> list[str]:
    """What can stand at the end of `line`, each as the shell wants it.

    bash replaces only what stands behind the last of its `breaks` (`=` and `:`), unless the word is quoted.
    """
    words = _split(line)
    last = words.pop()
    found = [word for word in _candidates([word.text for word in words[1:]], last.text) if word.startswith(last.text)]
    if breaks and not last.quoted:
        cut = max((last.text.rfind(sign) for sign in "=:" if sign in breaks), default=-1) + 1
        found = [word[cut:] for word in found]
    return found


def _split(line: str) -> list[Token]:
    """Words as a shell cuts them, the last one unfinished; shlex refuses an open quote."""
    words, text, quote, begun = [], "", "", False
    signs = iter(line)
    for sign in signs:
        if quote:
            if sign == quote:
                quote = ""
            else:
                text += sign
        elif sign in "'\"":
            quote, begun = sign, True
        elif sign == "\\":
            text, begun = text + next(signs, ""), True
        elif sign.isspace():
            if begun or text:
                words.append(Token(text))
            text, begun = "", False
        else:
            text += sign
    return [*words, Token(text, quoted=bool(quote))]


def _candidates(before: Sequence[str], word: str) -> Iterator[str]:
    from pipeline.cli import COMMANDS, command_name

    command = command_name(before)
    if command in COMMANDS:
        yield from COMMANDS[command].complete(before[1:], word)
    elif before[-1:] == ["--cfg"]:
        yield "job"
    elif before[-1:] == ["--config-dir"]:
        yield from complete_folders(word)
    elif word.startswith("-"):
        yield from FLAGS
    elif "=" in word:
        yield from _values(word)
    else:
        yield from () if before else COMMANDS
        yield from _keys(before, word)


def _values(word: str) -> Iterator[str]:
    """Options of a group, also inside a list and after a comma; words that a key can take."""
    name, _, value = word.partition("=")
    stem = value[: max(value.rfind(","), value.rfind("[")) + 1]
    taken = stem.strip("[,").split(",")
    group = groups().get(name.lstrip("+"))
    if group:
        choices = [option.name for option in group.options]
    else:
        found = key(name.lstrip("+"))
        choices = list(found.choices) if found else []
    if group and group.is_list and not value:
        yield f"{name}=["
    fits = [f"{name}={stem}{choice}" for choice in choices if choice not in taken]
    fits = [choice for choice in fits if choice.startswith(word)]
    # the only option that fits ends the word, unless a list may go on
    yield from [f"{fits[0]},", f"{fits[0]}]"] if len(fits) == 1 and stem.startswith("[") else fits


def _keys(before: Sequence[str], word: str) -> Iterator[str]:
    """Groups and keys, one level of dots at a time."""
    sign = word[: len(word) - len(word.lstrip("+"))]
    typed = word.lstrip("+")
    menu: dict[str, Group] = groups()
    level = typed.rpartition(".")[0]
    if not level:
        yield from (f"{sign}{name}=" for name in menu)
    for name, is_node in _children(before, level):
        dotted = f"{level}.{name}" if level else name
        yield f"{sign}{dotted}{'.' if is_node else '='}"


def _children(before: Sequence[str], level: str) -> list[tuple[str, bool]]:
    """Names below a node of what the options typed so far compose to, and whether there is more below each."""
    from omegaconf import DictConfig, OmegaConf

    from pipeline.config.compose import compose_config

    try:
        config = compose_config([word for word in before if "=" in word])
    except UserError:  # something before is mistyped: what can still be said
        config = compose_config([])
    node = OmegaConf.select(config, level) if level else config
    if not isinstance(node, DictConfig):
        return []
    names = [str(name) for name in node if not str(name).startswith("_")]
    return [(name, isinstance(node._get_node(name), DictConfig)) for name in names]


def complete_folders(word: str) -> list[str]:
    """Folders that go on from the path typed so far."""
    parent = Path(word).parent if word and not word.endswith("/") else Path(word or ".")
    start = "" if not word.rpartition("/")[1] else word.rpartition("/")[0] + "/"
    if not parent.is_dir():
        return []
    return sorted(f"{start}{path.name}/" for path in parent.iterdir() if path.is_dir() and path.name[0] != ".")
