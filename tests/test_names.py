"""No retired name and no word of a private language comes back as an identifier."""

from __future__ import annotations

from tests.names.scan import banned_identifiers, remaining_names


def test_no_retired_name_is_left() -> None:
    assert remaining_names() == []


def test_no_banned_word_is_an_identifier() -> None:
    assert banned_identifiers() == []
