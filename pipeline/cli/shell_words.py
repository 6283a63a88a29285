"""Split an unfinished command line into words as a shell does. shlex refuses a quote that is still open."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Token:
    """A word of the line without its quotes."""

    text: str
    is_quoted: bool = False
    """Whether a quote is still open at the end of the line."""


def split_line(line: str) -> list[Token]:
    """Return the words of `line`. The last one is unfinished, and empty behind a blank."""
    tokens, text, quote, has_begun = [], "", "", False
    characters = iter(line)
    for character in characters:
        if quote:
            if character == quote:
                quote = ""
            else:
                text += character
        elif character in "'\"":
            quote, has_begun = character, True
        elif character == "\\":
            text, has_begun = text + next(characters, ""), True
        elif character.isspace():
            if has_begun or text:
                tokens.append(Token(text))
            text, has_begun = "", False
        else:
            text += character
    return [*tokens, Token(text, is_quoted=bool(quote))]
