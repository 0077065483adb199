"""Text of the user's code, made fit for a terminal: what would move its cursor or colour it is spelled out."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""The text with every character that is not printed, but for ends of lines, as Python writes it: ``\x1b``."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each == "\n" else _spelled(each) for each in text)


def all_printable(value: object) -> object:
    """The same for each text of what a JSON text says, the keys too."""
    match value:
        case str():
            return printable(value)
        case list():
            return [all_printable(each) for each in value]
        case dict():
            return {printable(str(key)): all_printable(each) for key, each in value.items()}
    return value


def _spelled(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
