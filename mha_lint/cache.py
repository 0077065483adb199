"""The folder ``.mha_lint_cache``, and in it the findings of files that have not changed since they were linted."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import tempfile
import time
from dataclasses import asdict
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import mha_lint
from mha_lint.files import Source
from mha_lint.findings import Edit, Finding, Fix, Position
from mha_lint.settings import Settings

FOLDER = ".mha_lint_cache"
LIMIT = 64 * 1024 * 1024  # bytes
MOST_FILES = 50_000
SETTLED = 2_000_000_000  # nanoseconds after which a change of a file shows in its times, on any file system

_TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# This folder is a cache of mha-lint; it can be deleted.\n"


def prepare(root: Path) -> Path | None:
    """Make the cache folder at ``root``, hidden from git and from backups. None when it cannot be written."""
    folder = root / FOLDER
    try:
        folder.mkdir(exist_ok=True)
        for name, text in ((".gitignore", "*\n"), ("CACHEDIR.TAG", _TAG)):
            if not (folder / name).exists():
                (folder / name).write_text(text, encoding="ascii")
        if not os.access(folder, os.W_OK):
            return None
    except OSError:
        return None
    return folder


class LintCache:
    """Findings by content, path, settings, rules and version. Whatever is broken in it counts as absent."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._folder = folder / "lint"
        self._settings = settings

    @cached_property
    def _prefix(self) -> bytes:
        return repr((_tool(), self._settings)).encode(errors="surrogatepass")

    def _file(self, source: Source) -> Path:
        digest = blake2b(self._prefix, digest_size=20)
        for part in (os.fsencode(os.path.abspath(source.path)), source.data):
            digest.update(b"%d:" % len(part) + part)
        name = digest.hexdigest()
        return self._folder / name[:2] / f"{name[2:]}.json"

    def load(self, source: Source) -> tuple[Finding, ...] | None:
        """The findings of a run on the very same bytes, or None."""
        try:
            records = json.loads(self._file(source).read_bytes())
            if not isinstance(records, list):
                return None
            return tuple(_finding(record) for record in records)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def store(self, source: Source, findings: tuple[Finding, ...]) -> None:
        """Keep the findings; a cache that cannot be written is no error."""
        file = self._file(source)
        with contextlib.suppress(OSError):
            _write(file, [asdict(finding) for finding in findings])


class Index:
    """The findings of files whose size, times and inode have not changed: one file, read at the start of a run.

    Whoever writes last wins; what another run has learnt in the meantime is learnt again. A file that changed within
    the last moments is left out, since it may change again without its time telling.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        prefix = repr((_tool(), settings)).encode(errors="surrogatepass")
        self._file = folder / "lint" / f"index-{blake2b(prefix, digest_size=20).hexdigest()}.json"
        self._changed = False
        self._entries: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError):
            entries = json.loads(self._file.read_bytes())
            if isinstance(entries, dict):
                self._entries = entries

    def load(self, path: str, status: os.stat_result) -> tuple[Finding, ...] | None:
        """The findings of the file as it was when it had this status, or None."""
        try:
            stamp, records = self._entries[path]
            return tuple(_finding(record) for record in records) if stamp == _stamp(status) else None
        except (KeyError, ValueError, TypeError, AttributeError):
            return None

    def store(self, path: str, status: os.stat_result, findings: tuple[Finding, ...]) -> None:
        """Remember the findings; ``status`` was taken before the file was read."""
        if time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > SETTLED:
            self._entries[path] = [_stamp(status), [asdict(finding) for finding in findings]]
            self._changed = True

    def save(self) -> None:
        """Write the index, if it has changed; one that cannot be written is no error."""
        if self._changed:
            with contextlib.suppress(OSError):
                _write(self._file, dict(list(self._entries.items())[-MOST_FILES:]))


def _stamp(status: os.stat_result) -> list[int]:
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _write(file: Path, content: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=file.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as out:
            out.write(json.dumps(content))  # json.dump would not use the fast encoder
        os.replace(temporary, file)
    except BaseException:
        os.unlink(temporary)
        raise


def trim(folder: Path, limit: int = LIMIT) -> None:
    """Delete the oldest entries until the whole folder holds at most ``limit`` bytes."""
    entries = []
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            file = os.path.join(place, name)
            with contextlib.suppress(OSError):
                status = os.stat(file)
                total += status.st_size
                if place != str(folder):  # the tag and .gitignore stay
                    entries.append((status.st_mtime_ns, status.st_size, file))
    for _, size, file in sorted(entries):
        if total <= limit:
            return
        with contextlib.suppress(OSError):
            os.unlink(file)
            total -= size


def _tool() -> tuple[object, ...]:
    """What else findings depend on: the tool's version, its files (it may be installed editable), and all rules."""
    from importlib.metadata import entry_points  # slow to import, and only needed when a file is looked up

    package = Path(mha_lint.__file__).parent
    folders = [package, package.parent / "fixers"]
    stamps = [os.stat(file).st_mtime_ns for folder in folders for file in folder.rglob("*.py")]
    rules = sorted(
        (point.name, point.value, point.dist.version if point.dist else "")
        for point in entry_points(group="mha_lint.rules")
    )
    return mha_lint.__version__, platform.python_version(), len(stamps), max(stamps), rules


def _finding(record: dict[str, Any]) -> Finding:
    for key in ("location", "end_location"):
        record[key] = Position(**record[key])
    if record["fix"] is not None:
        record["fix"] = _fix(record["fix"])
    return Finding(**record)


def _fix(record: dict[str, Any]) -> Fix:
    edits = tuple(Edit(Position(**e["start"]), Position(**e["end"]), e["content"]) for e in record["edits"])
    tuples = {key: tuple(record[key]) for key in ("flagged", "added", "identity", "probes")}
    hints = tuple((name, tuple(shape)) for name, shape in record["hints"])
    return Fix(**{**record, **tuples, "edits": edits, "hints": hints})
