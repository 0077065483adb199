"""The file of findings that are known already: what is in it is not reported.

A finding is known by its rule, the symbol and the file that it is in, and a digest of its statement, never by its line:
so it stays known while code around it comes, goes, moves within the file, or is formatted anew.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from mha_lint.files import reason
from mha_lint.findings import SYNTAX_ERROR, Finding
from mha_lint.settings import SettingsError

VERSION = 1


class Key(msgspec.Struct, frozen=True, order=True):
    """What a finding is known by. ``path`` is relative to the folder of the baseline, with slashes."""

    path: str
    code: str
    symbol: str
    statement: str


class _Row(msgspec.Struct):
    path: str
    code: str
    symbol: str
    statement: str
    count: int


class _File(msgspec.Struct):
    version: int
    findings: list[_Row]


class Baseline:
    """The number of known findings of each key, as one ``file`` holds them."""

    def __init__(self, file: Path, counts: Mapping[Key, int]) -> None:
        self.file = file
        self.counts = dict(counts)
        self._folder = os.path.dirname(os.path.abspath(file))

    def keys(self, findings: Iterable[Finding]) -> list[Key]:
        """The key of each finding."""
        return [Key(self.relative(each.filename), each.code, each.symbol, each.statement) for each in findings]

    def relative(self, path: str) -> str:
        """A path as the file has it."""
        try:
            found = os.path.relpath(path, self._folder)
        except ValueError:  # on another drive
            found = os.path.abspath(path)
        return found.replace(os.sep, "/").encode("utf-8", "backslashreplace").decode("utf-8")

    def absolute(self, path: str) -> str:
        """Where a path of the file lies."""
        return os.path.normpath(os.path.join(self._folder, path))

    def split(self, findings: Sequence[Finding]) -> tuple[list[Finding], list[Finding]]:
        """The findings of one file that are new, and those that are known: of each key, the first ones."""
        left: dict[Key, int] = {}
        new: list[Finding] = []
        known: list[Finding] = []
        for finding, key in zip(findings, self.keys(findings), strict=True):
            left.setdefault(key, self.counts.get(key, 0))
            left[key] -= 1
            is_known = left[key] >= 0 and is_silenceable(finding)
            (known if is_known else new).append(finding)
        return new, known


def is_silenceable(finding: Finding) -> bool:
    """A syntax error is reported, whatever a baseline or a comment says."""
    return finding.code != SYNTAX_ERROR


def shown(file: Path) -> str:
    """A path as messages name it: relative to the working directory where it lies below it."""
    return str(file).removeprefix(os.path.join(os.getcwd(), ""))


def read_baseline(file: Path) -> Baseline:
    """The baseline that a file holds.

    Raises:
        SettingsError: the file can't be read, or is no baseline.
    """
    told = shown(file)
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise SettingsError(f"{told}: there is no such baseline; --write-baseline {told} writes it") from None
    except OSError as error:
        raise SettingsError(f"{told}: the baseline cannot be read: {reason(error)}") from error
    again = f"restore it, or delete it and write it anew with --write-baseline {told}"
    try:
        content = msgspec.json.decode(data, type=_File)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise SettingsError(f"{told}: is no baseline of mha-lint ({error}); {again}") from error
    if content.version != VERSION:
        raise SettingsError(
            f"{told}: is a baseline of version {content.version}, and this mha-lint reads version {VERSION}; "
            f"use the mha-lint that wrote it, or {again}"
        )
    counts: dict[Key, int] = {}
    for row in content.findings:
        key = Key(row.path, row.code, row.symbol, row.statement)
        counts[key] = max(row.count, counts.get(key, 0))  # a merge may leave a row twice
    return Baseline(file, counts)


def write_baseline(file: Path, findings: Iterable[Finding], kept: Mapping[Key, int]) -> Counter[Key]:
    """Write the findings, and what is ``kept`` of an earlier baseline: wholly or not at all. Return what was written.

    There is one row for each key, sorted, so that git merges two that were changed at different places.

    Raises:
        SettingsError: the file can't be written.
    """
    counts = Counter(Baseline(file, {}).keys(filter(is_silenceable, findings)))
    counts.update(kept)
    rows = [
        json.dumps({**msgspec.to_builtins(key), "count": count}, ensure_ascii=True)
        for key, count in sorted(counts.items())
    ]
    listed = "".join(f"\n    {row}," for row in rows).rstrip(",")
    text = f'{{\n  "version": {VERSION},\n  "findings": [{listed}\n  ]\n}}\n'
    target = os.path.realpath(file)
    temporary = f"{target}.{os.getpid()}.tmp"
    try:
        try:
            with open(temporary, "xb") as stream:
                stream.write(text.encode("ascii"))
            with contextlib.suppress(FileNotFoundError):
                os.chmod(temporary, os.stat(target).st_mode & 0o777)
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise SettingsError(f"{file}: the baseline cannot be written: {reason(error)}") from error
    return counts
