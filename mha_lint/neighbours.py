"""The files around a file that may use what it defines: those of its package, or those beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from hashlib import blake2b

from mha_lint.files import digest_of

MOST_FILES = 200


def around(folder: str) -> list[str]:
    """The Python files of the outermost package that a folder lies in, the nearest first, up to so many.

    Of a folder that is no package, the files in it.
    """
    found: dict[str, None] = {}
    for path in _nearest_first(folder):
        found[path] = None
        if len(found) == MOST_FILES:
            break
    return list(found)


def _nearest_first(folder: str) -> Iterator[str]:
    yield from _files(folder)
    while _is_package(folder):
        yield from _below(folder)
        folder = os.path.dirname(folder)


def _below(folder: str) -> Iterator[str]:
    """The files of a package and of the packages in it."""
    yield from _files(folder)
    for name in _names(folder):
        inner = os.path.join(folder, name)
        if "." not in name and _is_package(inner):
            yield from _below(inner)


def _files(folder: str) -> Iterator[str]:
    for name in _names(folder):
        if name.endswith(".py"):
            yield os.path.join(folder, name)


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _is_package(folder: str) -> bool:
    return os.path.isfile(os.path.join(folder, "__init__.py"))


def texts(folder: str) -> dict[str, bytes]:
    """The bytes of the files around a folder, by their paths."""
    found: dict[str, bytes] = {}
    for path in around(folder):
        with suppress(OSError), open(path, "rb") as stream:
            found[path] = stream.read()
    return found


def listing(read: Mapping[str, bytes]) -> str:
    """A digest of files around: it changes when one comes, goes or is edited."""
    digest = blake2b(digest_size=16)
    for path, data in read.items():
        digest.update(f"{path}\0{digest_of(data)}\n".encode(errors="surrogatepass"))
    return digest.hexdigest()


def statuses(folder: str) -> Iterator[os.stat_result]:
    """The status of each file around a folder."""
    for path in around(folder):
        with suppress(OSError):
            yield os.stat(path)
