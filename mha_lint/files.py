"""Reads files, and writes them back without ever leaving half a file; matches globs with their names."""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import stat
from collections.abc import Sequence
from fnmatch import translate
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from mha_lint.findings import Failure

if TYPE_CHECKING:
    from mha_lint.notebook import Notebook

# Folders that hold no source of the user's; much the same list as ruff's.
DEFAULT_EXCLUDE = (
    ".bzr", ".direnv", ".eggs", ".git", ".git-rewrite", ".hg", ".ipynb_checkpoints", ".mha_lint_cache",
    ".mypy_cache", ".nox", ".pants.d", ".pytest_cache", ".pytype", ".ruff_cache", ".svn", ".tox",
    ".venv", ".vscode", "__pypackages__", "_build", "buck-out", "dist", "node_modules", "site-packages",
    "build", "venv",
)  # fmt: skip


class Source(Struct, frozen=True):
    """One file as read: ``text`` is decoded, without BOM, with the newlines of the file; ``data`` are its bytes.

    The text of a ``notebook`` is the program that its cells make together.
    """

    path: Path
    text: str
    encoding: str
    bom: bool
    data: bytes
    notebook: Notebook | None = None

    @property
    def code(self) -> bytes:
        """The bytes of the Python in the file."""
        return self.data if self.notebook is None else self.text.encode("utf-8", "surrogatepass")


class SourceError(Exception):
    """A file that cannot be linted or written: the ``path``, what is wrong in one line, and the row where known."""

    def __init__(self, path: Path, message: str, row: int | None = None) -> None:
        super().__init__(path, message, row)
        self.path = path
        self.message = message
        self.row = row

    @property
    def failure(self) -> Failure:
        """The same for a report."""
        return Failure(self.message, str(self.path), self.row)

    def __str__(self) -> str:
        return str(self.failure)


class SyntaxProblem(SourceError):
    """A text that is not Python, at ``row`` and ``column``, both counted from 1."""

    def __init__(self, path: Path, message: str, row: int, column: int) -> None:
        super().__init__(path, message, row)
        self.row: int = row
        self.column = column


# --- reading


def read_source(path: Path) -> Source:
    """Read and decode ``path`` as Python does. Raises :class:`SourceError`."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(path, f"cannot be read: {reason(error)}") from error
    return decode(path, data)


def decode(path: Path, data: bytes) -> Source:
    """Decode the bytes of a Python file by its BOM and coding line (PEP 263), or of a notebook.

    Raises :class:`SourceError`.
    """
    if path.suffix == ".ipynb":
        return _decoded_notebook(path, data)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise SourceError(path, "is UTF-16; Python source must be UTF-8 or name another encoding in a coding line")
    zero = data.find(b"\0")
    if zero >= 0:
        raise SourceError(path, "is a binary file, not Python (it holds a zero byte)", data.count(b"\n", 0, zero) + 1)
    # Python translates newlines before it looks for the coding line; detect_encoding only knows b"\n".
    first = re.split(rb"(?<=\n)|(?<=\r)(?!\n)", data[:4096], maxsplit=2)[:2]
    if not any(b"coding" in line for line in first):  # tokenize costs more to import than most files to look at
        return _decoded(path, data, "utf-8-sig" if data.startswith(codecs.BOM_UTF8) else "utf-8")
    import tokenize

    head = iter(first)
    try:
        encoding, _ = tokenize.detect_encoding(lambda: next(head))
    except SyntaxError as error:
        message = str(error.msg)
        if "unknown encoding" in message:
            raise SourceError(path, f"names an {message} in its coding line") from error
        raise _undecodable(path, data, "utf-8") from error
    return _decoded(path, data, encoding)


def _decoded(path: Path, data: bytes, encoding: str) -> Source:
    bom = encoding == "utf-8-sig"
    encoding = "utf-8" if bom else encoding
    if not _holds_source(encoding):
        raise SourceError(path, f"names {encoding!r} in its coding line, an encoding that can't hold Python source")
    try:
        text = data[len(codecs.BOM_UTF8) :].decode(encoding) if bom else data.decode(encoding)
    except UnicodeDecodeError as error:
        raise _undecodable(path, data, encoding, error.start) from error
    except (LookupError, ValueError) as error:
        raise SourceError(path, f"names {encoding!r} in its coding line, which is not a text encoding") from error
    return Source(path, text, encoding, bom, data)


def _decoded_notebook(path: Path, data: bytes) -> Source:
    from mha_lint.notebook import NotebookError, read

    bom = data.startswith(codecs.BOM_UTF8)
    try:
        text = data[len(codecs.BOM_UTF8) * bom :].decode("utf-8")
        notebook = read(text)
    except UnicodeDecodeError as error:
        start = error.start + len(codecs.BOM_UTF8) * bom
        row = data.count(b"\n", 0, start) + 1
        raise SourceError(path, f"is no notebook: it is not valid utf-8 (byte 0x{data[start]:02x})", row) from error
    except NotebookError as error:
        raise SourceError(path, error.message, error.row) from error
    return Source(path, notebook.program, "utf-8", bom, data, notebook)


def _holds_source(encoding: str) -> bool:
    """Tell whether the encoding reads a coding line as it was found: as ASCII. UTF-16 does not, nor does EBCDIC."""
    try:
        return b"# coding: ".decode(encoding) == "# coding: "
    except UnicodeError:
        return False
    except (LookupError, ValueError):  # "coding: hex" names a codec that isn't a text encoding
        return True  # whose refusal names it better


def _undecodable(path: Path, data: bytes, encoding: str, start: int | None = None) -> SourceError:
    if start is None:
        try:
            data.decode(encoding)
        except UnicodeDecodeError as error:
            start = error.start
        else:
            return SourceError(path, "has a coding line that contradicts its byte order mark", 1)
    row = data.count(b"\n", 0, start) + 1
    hint = "; name its encoding in a coding line" if encoding == "utf-8" else ""
    return SourceError(path, f"is not valid {encoding} (byte 0x{data[start]:02x}){hint}", row)


def reason(error: OSError) -> str:
    """Why the system refused, in its own words."""
    return (error.strerror or type(error).__name__).lower()


def digest_of(data: bytes) -> str:
    """The digest of a file's bytes, by which a later run tells that it is the same."""
    from hashlib import blake2b

    return blake2b(data, digest_size=16).hexdigest()


# --- writing


def encode(source: Source, text: str) -> bytes:
    """``text`` in the encoding of ``source``, BOM included, or in its notebook. Raises :class:`SourceError`."""
    bom = codecs.BOM_UTF8 if source.bom else b""
    if source.notebook is not None:
        from mha_lint.notebook import NotebookError
        from mha_lint.notebook_writing import rewritten

        try:
            return bom + rewritten(source.notebook, text).encode("utf-8")
        except NotebookError as error:
            raise SourceError(source.path, error.message) from error
    try:
        if bom + source.text.encode(source.encoding) != source.data:
            # Stateful encodings (UTF-7, ISO-2022) spell the same text in several ways: bytes that no edit
            # touches would change.
            raise SourceError(source.path, f"cannot be rewritten byte for byte in {source.encoding}; left alone")
        return bom + text.encode(source.encoding)
    except UnicodeEncodeError as error:
        raise SourceError(source.path, f"cannot hold the fix in its encoding {source.encoding}; left alone") from error


def write_source(source: Source, text: str) -> None:
    """Replace the file by ``text``, wholly or not at all, in its own encoding and with its own permissions.

    The new bytes go to a temporary file in the same folder, reach the disk, and take the name in one step
    (``os.replace``). A symbolic link stays a link; its target is rewritten. A file with several hard links keeps them
    all, which leaves no such step: once the new bytes are on the disk beside it they are copied over the old ones, and
    the old ones put back where that fails. Only there can a crash of the machine leave half a file.
    Raises :class:`SourceError` when the file changed since it was read, is read-only, or cannot be written.
    """
    import tempfile

    data = encode(source, text)
    target = Path(os.path.realpath(source.path))
    try:
        status = target.stat()
        if not stat.S_ISREG(status.st_mode):
            raise SourceError(source.path, "is not a regular file; left alone")
        if not status.st_mode & 0o222 or not os.access(target, os.W_OK):
            raise SourceError(source.path, "is read-only; left alone")
        descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name[:100]}.", suffix=".tmp", dir=target.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.chmod(temporary, stat.S_IMODE(status.st_mode))
                _keep_owner(temporary, status)
                os.fsync(file.fileno())
            if target.read_bytes() != source.data:
                raise SourceError(source.path, "changed on disk while it was being fixed; left alone")
            if status.st_nlink > 1:
                _overwrite(target, data, source.data)
                os.unlink(temporary)
            else:
                os.replace(temporary, target)
        except BaseException:  # Ctrl-C too: no temporary file stays behind
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise SourceError(source.path, f"cannot be written: {reason(error)}; left alone") from error


def _overwrite(target: Path, new: bytes, old: bytes) -> None:
    try:
        _refill(target, new)
    except BaseException:
        _refill(target, old)
        raise


def _refill(target: Path, data: bytes) -> None:
    with open(target, "r+b", buffering=0) as file:
        left = memoryview(data)
        while left:
            left = left[file.write(left) :]
        file.truncate()
        os.fsync(file.fileno())


def _keep_owner(temporary: str, status: os.stat_result) -> None:
    if hasattr(os, "chown"):
        made = os.stat(temporary)
        if (made.st_uid, made.st_gid) != (status.st_uid, status.st_gid):
            with contextlib.suppress(OSError):  # only root may give files away
                os.chown(temporary, status.st_uid, status.st_gid)
                os.chmod(temporary, stat.S_IMODE(status.st_mode))


# --- globs


def matches(path: Path, patterns: Sequence[str], root: Path) -> bool:
    """Tell whether a glob fits ``path`` or a folder it lies in, up to ``root``. See :func:`fits`."""
    return any(fits(place, patterns, root) for place in (path, *path.parents) if place == path or root in place.parents)


def fits(path: Path, patterns: Sequence[str], root: Path) -> bool:
    """Tell whether a glob fits the name of ``path``, its path relative to ``root``, or its absolute path.

    As in ruff: ``foo_*.py`` fits by name anywhere, ``docs/*.py`` is relative to the project, ``*`` crosses slashes.
    """
    if not patterns:
        return False
    return fits_any(path.name, path.as_posix(), compiled(tuple(patterns)), f"{root.as_posix().rstrip('/')}/")


def fits_any(name: str, absolute: str, globs: re.Pattern[str], root: str) -> bool:
    """:func:`fits` without the price of paths; ``root`` ends in a slash."""
    match = globs.match
    return bool(match(name) or match(absolute) or (absolute.startswith(root) and match(absolute[len(root) :])))


@lru_cache(maxsize=64)
def compiled(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """One expression for globs, for :func:`fits_any`."""
    cleaned = (pattern.removeprefix("./").rstrip("/") for pattern in patterns)
    return re.compile("|".join(f"(?:{translate(pattern)})" for pattern in cleaned))
