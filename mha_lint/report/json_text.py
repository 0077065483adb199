"""Plain values as JSON, for the formats that are made of it."""

from __future__ import annotations

import json
import re

import msgspec

_SURROGATE = re.compile("[\ud800-\udfff]")


def dumped(value: object, *, exact: bool = False) -> str:
    """Indented JSON in ASCII, so that it survives any terminal.

    What is not Unicode, as the name of a file may be, becomes U+FFFD, which all readers take; where the text has to be
    ``exact``, it stays. Raises ValueError for a number that JSON lacks.
    """
    text = json.dumps(value, allow_nan=False)
    try:
        return msgspec.json.format(text, indent=2)  # many times faster than the standard encoder with an indent
    except msgspec.DecodeError:  # something is not Unicode
        return json.dumps(value if exact else _unicode(value), indent=2)


def _unicode(value: object) -> object:
    if isinstance(value, str):
        return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, dict):
        return {key: _unicode(each) for key, each in value.items()}
    return [_unicode(each) for each in value] if isinstance(value, list) else value
