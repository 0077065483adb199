"""The lines that have changed since a revision of git, and the findings on them."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from difflib import SequenceMatcher
from pathlib import Path

from msgspec import Struct

from mha_lint import edits as editing
from mha_lint.files import Source, SourceError, decode
from mha_lint.findings import Finding
from mha_lint.noqa import last_row
from mha_lint.settings import SettingsError

_HUNK = re.compile(rb"@@ -\d+(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_ESCAPE = re.compile(rb"\\([0-7]{3}|.)")
_LETTERS = {b"a": b"\a", b"b": b"\b", b"t": b"\t", b"n": b"\n", b"v": b"\v", b"f": b"\f", b"r": b"\r"}


class Changed(Struct, frozen=True):
    """The changed ``rows`` of a text, and the rows behind which others were deleted; ``all`` says that it is new."""

    rows: frozenset[int] = frozenset()
    gaps: frozenset[int] = frozenset()
    all: bool = False

    def touches(self, finding: Finding) -> bool:
        """Tell whether a row of the finding, or the row of its comment, has changed."""
        first, last = finding.location.row, last_row(finding)
        return (
            self.all
            or finding.noqa_row in self.rows
            or any(first <= row <= last for row in self.rows)
            or any(first <= row < last for row in self.gaps)
        )

    def moved(self, before: str, after: str) -> Changed:
        """The changed rows of a text that edits have made of another one. What edits made of unchanged rows is not."""
        if self.all or before == after:
            return self
        rows: set[int] = set()
        at: dict[int, int] = {}
        matcher = SequenceMatcher(None, editing.rows(before), editing.rows(after), autojunk=False)
        for tag, first, last, start, end in matcher.get_opcodes():
            if tag == "equal":
                at.update(zip(range(first + 1, last + 1), range(start + 1, end + 1), strict=True))
            elif not self.rows.isdisjoint(range(first + 1, last + 1)):
                rows.update(range(start + 1, end + 1))
        rows.update(at[row] for row in self.rows if row in at)
        gaps = {at[row] for row in self.gaps if row in at and at.get(row + 1) == at[row] + 1}
        return Changed(frozenset(rows), frozenset(gaps))


EVERYTHING = Changed(all=True)


class ChangedLines:
    """Knows what has changed since a revision, in each repository that a file lies in."""

    def __init__(self, revision: str) -> None:
        self.revision = revision
        self._repositories: dict[str, _Repository] = {}
        self._tops: dict[str, str | None] = {}

    def check(self, folder: Path) -> None:
        """Read what has changed around a folder.

        Raises:
            SettingsError: the folder is in no repository of git, or the revision is not known there.
        """
        self._repository(os.path.realpath(folder))

    def of(self, source: Source) -> Changed:
        """The changed rows of a file as it was read. Raises as :meth:`check` does."""
        path = os.path.realpath(source.path)
        repository = self._repository(os.path.dirname(path))
        return repository.changed(os.path.relpath(path, repository.top), source)

    def _repository(self, folder: str) -> _Repository:
        top = self._top(folder)
        if top is None:
            raise SettingsError(f"--diff-base: {folder} is not in a git repository")
        if top not in self._repositories:
            self._repositories[top] = _Repository(top, self.revision)
        return self._repositories[top]

    def _top(self, folder: str) -> str | None:
        if folder not in self._tops:
            parent = os.path.dirname(folder)
            if os.path.lexists(os.path.join(folder, ".git")):
                self._tops[folder] = folder
            else:
                self._tops[folder] = self._top(parent) if parent != folder else None
        return self._tops[folder]


class _Repository:
    def __init__(self, top: str, revision: str) -> None:
        self.top = top
        found = self._git(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}", may_fail=True
        )
        if not found:
            self._git("rev-parse", "--git-dir")  # says what else is wrong
            shallow = " (this clone is shallow: fetch that revision first)" if self._is_shallow() else ""
            raise SettingsError(f"--diff-base: unknown revision {revision!r} in {top}{shallow}")
        self._commit = found.decode().strip()
        self._tracked = set(map(os.fsdecode, self._git("ls-files", "-z").split(b"\0")))
        options = (
            "--unified=0", "--inter-hunk-context=0", "--find-renames", "--text", "--no-color", "--no-ext-diff",
            "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/", "--submodule=short", "--no-relative",
        )  # fmt: skip
        diff = self._git("diff", *options, self._commit, "--")
        self._files = {new: (old, changed) for old, new, changed in _parsed(diff)}

    def changed(self, path: str, source: Source) -> Changed:
        """The changed rows of a file that lies at a ``path`` within the repository."""
        path = path.replace(os.sep, "/")
        if path not in self._tracked:
            return EVERYTHING
        old, changed = self._files.get(path, (path, Changed()))
        if path not in self._files:
            return changed
        if source.notebook is not None:
            return self._changed_cells(old, source)
        if "\r" in source.text.replace("\r\n", ""):  # git does not count rows that end so
            return EVERYTHING
        return changed

    def _changed_cells(self, old: str | None, source: Source) -> Changed:
        """The rows of the cells that the notebook did not have."""
        try:
            data = self._git("cat-file", "blob", f"{self._commit}:{old}") if old else b""
            before = decode(source.path, data).notebook if data else None
        except SourceError:
            before = None
        notebook = source.notebook
        if before is None or notebook is None:
            return EVERYTHING
        known = {cell.source for cell in before.cells}
        new = {cell.number for cell in notebook.cells if cell.source not in known}
        rows = (row for number, first, last in notebook.rows() if number in new for row in range(first, last + 1))
        return Changed(frozenset(rows))

    def _is_shallow(self) -> bool:
        return self._git("rev-parse", "--is-shallow-repository", may_fail=True).strip() == b"true"

    def _git(self, *arguments: str, may_fail: bool = False) -> bytes:
        environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
        command = ["git", "-c", "core.quotepath=off", *arguments]
        try:
            done = subprocess.run(command, cwd=self.top, env=environment, stdin=subprocess.DEVNULL, capture_output=True)
        except FileNotFoundError:
            raise SettingsError("--diff-base needs git, which is not installed") from None
        if done.returncode and not may_fail:
            told = done.stderr.decode(errors="replace").strip().splitlines() or [f"git ended with {done.returncode}"]
            raise SettingsError(f"--diff-base: git failed in {self.top}: {told[0]}")
        return b"" if done.returncode else done.stdout


def _parsed(diff: bytes) -> Iterator[tuple[str | None, str, Changed]]:
    """The old path, the new path and the changed rows of each file of a diff that still is there."""
    lines = iter(diff.split(b"\n"))
    old: str | None = None
    new: str | None = None
    rows: set[int] = set()
    gaps: set[int] = set()
    for line in lines:
        if line.startswith(b"diff --git "):
            if new is not None:
                yield old, new, Changed(frozenset(rows), frozenset(gaps))
            old, new, rows, gaps = None, None, set(), set()
        elif line.startswith(b"--- "):
            old = _path(line[4:])
        elif line.startswith(b"+++ "):
            new = _path(line[4:])
        elif match := _HUNK.match(line):
            removed, start, added = (int(each) if each is not None else 1 for each in match.groups())
            rows.update(range(start, start + added))
            if not added:
                gaps.add(start)
            _pass_by(lines, removed + added)
    if new is not None:
        yield old, new, Changed(frozenset(rows), frozenset(gaps))


def _pass_by(lines: Iterator[bytes], count: int) -> None:
    """Pass by the lines of a hunk, which may look like headers."""
    while count:
        count -= not next(lines).startswith(b"\\")


def _path(written: bytes) -> str | None:
    """A path of a header without its prefix; None for that of no file."""
    written = written.removesuffix(b"\t")
    if written == b"/dev/null":
        return None
    if written.startswith(b'"'):
        written = _ESCAPE.sub(_unescaped, written[1:-1])
    return os.fsdecode(written[2:])


def _unescaped(match: re.Match[bytes]) -> bytes:
    told = match[1]
    return bytes([int(told, 8)]) if len(told) == 3 else _LETTERS.get(told, told)
