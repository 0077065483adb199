"""Differences between what two versions found in one file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Found = Mapping[str, Any]  # a finding, as plain data
_PLACE = ("row", "column")
_OF_THE_FIX = ("fix", "no_fix_reason")


@dataclass(frozen=True, slots=True)
class Report:
    """All that one version said of one file; ``error`` is why it said nothing."""

    findings: tuple[Found, ...]
    error: str = ""
    seconds: float = 0.0  # of CPU time


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference: the place as "row:column", the code, and what differs in words.

    ``kind`` is "lost" for what the other version alone has, "new" for what this one alone has, else the name of the
    field that differs, such as "message" or "fix.edits".
    """

    place: str
    code: str
    kind: str
    detail: str

    def __str__(self) -> str:
        return f"{self.place}: {self.code} {self.kind}: {self.detail}"


def differences(this: Report, other: Report, *, fixes: bool = True) -> list[Difference]:
    """What differs between two reports on the same bytes; ``fixes=False`` leaves the fixes aside."""
    if this.error != other.error:
        return [Difference("1:1", "error", "changed", f"{other.error or 'none'} → {this.error or 'none'}")]
    ours, theirs = _by_place(this), _by_place(other)
    told: list[Difference] = []
    for key in sorted(ours.keys() | theirs.keys()):
        (row, column), code = key
        place = f"{row}:{column}"
        mine, yours = list(ours.get(key, ())), list(theirs.get(key, ()))
        same = [each for each in mine if each in yours]
        for each in same:
            mine.remove(each)
            yours.remove(each)
        for left, right in zip(mine, yours, strict=False):
            told += [Difference(place, code, *each) for each in _changes(left, right, fixes=fixes)]
        pairs = min(len(mine), len(yours))
        told += [Difference(place, code, "lost", each["message"]) for each in yours[pairs:]]
        told += [Difference(place, code, "new", each["message"]) for each in mine[pairs:]]
    return told


def _by_place(report: Report) -> dict[tuple[tuple[int, int], str], list[Found]]:
    found: dict[tuple[tuple[int, int], str], list[Found]] = defaultdict(list)
    for finding in report.findings:
        row, column = (finding["location"][name] for name in _PLACE)
        found[(row, column), finding["code"]].append(finding)
    return found


def _changes(mine: Found, yours: Found, *, fixes: bool) -> Iterator[tuple[str, str]]:
    """The fields that differ, of those that both versions know."""
    for name in sorted(mine.keys() & yours.keys()):
        if name in _OF_THE_FIX and not fixes:
            continue
        left, right = mine[name], yours[name]
        if name == "fix" and left and right:
            for part in sorted(left.keys() & right.keys()):
                if left[part] != right[part]:
                    yield f"{name}.{part}", f"{_told(right[part])} → {_told(left[part])}"
        elif left != right:
            yield name, f"{_told(right)} → {_told(left)}"


def _told(value: object) -> str:
    """A value in words; of edits, where each writes what."""
    if isinstance(value, list) and value and isinstance(value[0], Mapping) and "content" in value[0]:
        return "; ".join(f"{_span(edit)} {edit['content']!r}" for edit in value)
    if isinstance(value, Mapping) and "message" in value:
        return str(value["message"])
    return repr(value)


def _span(edit: Found) -> str:
    start, end = ("{row}:{column}".format(**edit[name]) for name in ("start", "end"))
    return f"{start}–{end}"
