"""Questions and answers as JSON: frozen structs become text and back, checked against their types.

msgspec checks and converts. The text itself is the standard encoder's: it keeps infinite differences, and names of
files that are not UTF-8, which msgspec's own encoder does not.
"""

from __future__ import annotations

import json
from typing import TypeVar

import msgspec

from mha_lint.validation.evidence.printable import all_printable

Kind = TypeVar("Kind")


class Malformed(Exception):
    """A text that is not the JSON of what was expected; the message says where it is not."""


def dumped(value: object, *, sort: bool = False) -> str:
    """The JSON of a struct, in one line. With ``sort``, equal values have equal texts."""
    return json.dumps(msgspec.to_builtins(value), sort_keys=sort)


def loaded(text: str | bytes, kind: type[Kind], *, to_show: bool = False) -> Kind:
    """The value of a text that :func:`dumped` wrote, perhaps in another version.

    Fields that the text lacks take their defaults, and fields that ``kind`` lacks are dropped. With ``to_show``, texts
    in it can be printed. Raise Malformed where the text is no JSON, or its values have other types than ``kind`` says.
    """
    try:
        plain = json.loads(text)
        value: Kind = msgspec.convert(all_printable(plain) if to_show else plain, kind)
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        raise Malformed(str(error)) from error
    return value
