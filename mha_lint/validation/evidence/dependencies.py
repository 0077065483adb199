"""The files that a child's code was made of: which it imported, read or missed, and whether they are still the same.

An audit hook sees them all: Python announces each file that it opens and each module's code that it executes, also
where the code comes from a ``.pyc``.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import sysconfig
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from msgspec import Struct

import mha_lint

_OWN = os.path.dirname(os.path.abspath(mha_lint.__file__))  # its digest is in the evidence's key
_SYSTEM = ("/proc", "/dev", "/sys")
_LARGEST = 16 << 20  # bytes; of a larger file, such as a checkpoint, size and time tell enough
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
ABSENT = -1  # the size of a file that was looked for and is not there


class Dependency(Struct, frozen=True):
    """A file as it was. ``digest`` is "" where size and time of change (in ns) decide: for what is installed."""

    path: str
    size: int
    modified: int = 0
    digest: str = ""


_found: dict[str, Dependency] = {}
_times: dict[str, tuple[int, int]] = {}  # sizes and times of the files that were found
_noted: set[str] = set()  # paths as the hook met them
_watched = False
_noting = False


def watch(folder: str) -> None:
    """Note from now on what this process, and what is forked from it, imports and reads outside of ``folder``."""
    global _watched
    if _watched:
        return
    _watched = True
    ignored = (*(_within(each) for each in (os.path.realpath(folder), _OWN, *_SYSTEM)),)

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            writes = isinstance(flags, int) and flags & _WRITES
            if isinstance(path, str) and not writes:
                _note(path, ignored)
        elif event == "exec" and isinstance(arguments[0], types.CodeType):
            _note(arguments[0].co_filename, ignored)

    sys.addaudithook(note)


def found() -> tuple[Dependency, ...]:
    """Return the dependencies that were noted so far."""
    return tuple(_found.values())


def note_absent(folders: Iterable[str], name: str) -> None:
    """Note that the module ``name`` is in none of the folders: where it appears, the code may do something else."""
    for folder in folders:
        for path in (os.path.join(folder, f"{name}.py"), os.path.join(folder, name, "__init__.py")):
            if os.path.isabs(path) and not os.path.exists(path):
                _keep(Dependency(path, ABSENT))


def are_unchanged(dependencies: Iterable[Dependency]) -> bool:
    """Tell whether every file still has the bytes that it had, and what was absent still is."""
    return all(each == _as_it_is(each.path) for each in dependencies)


def seem_unchanged() -> bool:
    """Tell, by sizes and times alone, whether what this process has imported is what a fresh one would import."""
    return all(_size_and_time(path) == known for path, known in _times.items())


def digest(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal digits; "" where there is no file."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return ""


def _within(folder: str) -> str:
    return folder.rstrip(os.sep) + os.sep


_LIBRARIES = ("stdlib", "platstdlib", "purelib", "platlib")
_INSTALLED = tuple({_within(os.path.realpath(sysconfig.get_path(name))) for name in _LIBRARIES})


def _is_installed(path: str) -> bool:
    return path.startswith(_INSTALLED) or f"{os.sep}site-packages{os.sep}" in path


def _note(path: str, ignored: tuple[str, ...]) -> None:
    global _noting
    if _noting or path in _noted or path.startswith("<"):
        return
    _noting = True  # what follows opens files too
    try:
        _noted.add(path)
        real = os.path.realpath(path)
        if real.startswith(ignored) or real.endswith(".pyc") or real in _found:
            return
        dependency = _as_it_is(real)
        if dependency.size != ABSENT:
            _keep(dependency)
    except (OSError, ValueError):
        return
    finally:
        _noting = False


def _keep(dependency: Dependency) -> None:
    _found.setdefault(dependency.path, dependency)
    _times.setdefault(dependency.path, _size_and_time(dependency.path))


def _as_it_is(path: str) -> Dependency:
    size, modified = _size_and_time(path)
    if size == ABSENT:
        return Dependency(path, ABSENT)
    if _is_installed(path) or size > _LARGEST:
        return Dependency(path, size, modified)
    try:
        with open(path, "rb") as stream:
            digest = hashlib.sha256(stream.read()).hexdigest()
    except OSError:
        return Dependency(path, ABSENT)
    return Dependency(path, size, 0, digest)


def _size_and_time(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return ABSENT, 0
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else (ABSENT, 0)
