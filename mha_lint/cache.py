"""The folder ``.mha_lint_cache``, and in it the findings of files that have not changed since they were linted."""

from __future__ import annotations

import contextlib
import os
import platform
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

import mha_lint
from mha_lint.files import Source, digest_of
from mha_lint.findings import PRESENT, Finding, Found
from mha_lint.installed import Group, package, points
from mha_lint.neighbours import listing, statuses, texts
from mha_lint.report import RulePage
from mha_lint.settings import Settings

FOLDER = ".mha_lint_cache"
LIMIT = 64 * 1024 * 1024  # bytes
MOST_FILES = 50_000
SETTLED = 2_000_000_000  # nanoseconds after which a change of a file shows in its times, on any file system

_GROUPS: tuple[Group, ...] = ("mha_lint.rules", "mha_lint.fixers")
_TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# This folder is a cache of mha-lint; it can be deleted.\n"


def prepare(settings: Settings) -> Path | None:
    """Make the cache folder of the settings, hidden from git and from backups. None when it cannot be written.

    It has a name of its own wherever it lies: the oldest files in it are deleted when it grows too large.
    """
    folder = (Path(settings.cache_dir) if settings.cache_dir else settings.root) / FOLDER
    try:
        folder.mkdir(parents=bool(settings.cache_dir), exist_ok=True)
        for name, text in ((".gitignore", "*\n"), ("CACHEDIR.TAG", _TAG)):
            if not (folder / name).exists():
                (folder / name).write_text(text, encoding="ascii")
        if not os.access(folder, os.W_OK):
            return None
    except OSError:
        return None
    return folder


class LintCache:
    """Findings by content, path, settings, rules and version. An entry that cannot be read counts as absent.

    So does one that depends on another file of the project which has changed, has come, or is gone.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "lint"

    def _file(self, source: Source, settings: Settings) -> Path:
        digest = blake2b(_prefix(settings), digest_size=20)
        for part in (os.fsencode(os.path.abspath(source.path)), source.data):
            digest.update(b"%d:" % len(part) + part)
        name = digest.hexdigest()
        return self._folder / name[:2] / f"{name[2:]}.json"

    def load(self, source: Source, settings: Settings) -> Found | None:
        """Return what an earlier run found in the same bytes; None where there is none that still holds."""
        found = _read(self._file(source, settings), Found)
        return found if found is not None and all(map(_holds, found.dependencies.items())) else None

    def store(self, source: Source, settings: Settings, found: Found) -> None:
        """Keep the findings; a cache that cannot be written is no error, nor are names that are not Unicode."""
        with contextlib.suppress(OSError, UnicodeEncodeError):
            _write(self._file(source, settings), found)


def _holds(dependency: tuple[str, str | None]) -> bool:
    """Tell whether a path still holds what it held: a file of this digest, files around of this one, or nothing."""
    path, digest = dependency
    stamp = _stamp(path)
    if stamp is None or digest is None:
        return (stamp is None) == (digest is None)
    return digest == PRESENT or _digest(path, stamp) == digest


@lru_cache(maxsize=4096)
def _digest(path: str, stamp: Stamp) -> str | None:
    """The digest of a file, or of the files around a folder; while the ``stamp`` is the same it is read once."""
    if os.path.isdir(path):
        return listing(texts(path))
    try:
        with open(path, "rb") as stream:
            return digest_of(stream.read())
    except OSError:
        return None


class Stamp(Struct, frozen=True):
    """The size, the times and the inode of a file: while none of them changes, the file is taken to be the same."""

    size: int
    modified: int
    changed: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """The stamp of a file of this status."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)

    @classmethod
    def around(cls, folder: str) -> Stamp:
        """The stamp of the files around a folder: their size together, the latest times, and how many they are."""
        files = [cls.of(status) for status in statuses(folder)]
        latest = max((each.modified for each in files), default=0), max((each.changed for each in files), default=0)
        return cls(sum(each.size for each in files), *latest, len(files))


def _stamp(path: str) -> Stamp | None:
    """The stamp of a path, None where there is nothing; of a folder, that of the files around."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return Stamp.around(path) if stat.S_ISDIR(status.st_mode) else Stamp.of(status)


class Known(Struct, frozen=True):
    """The findings of a file when it had this stamp, and the files that they depend on had theirs."""

    stamp: Stamp
    findings: tuple[Finding, ...]
    depends: dict[str, Stamp | None]


class Index:
    """The findings of files whose stamp has not changed: one file for each settings, read at the start of a run.

    Whoever writes last wins; what another run has learnt in the meantime is learnt again. A file that changed within
    the last moments is left out, since it may change again without its time telling.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        name = blake2b(_prefix(settings), digest_size=20).hexdigest()
        self._file = folder / "lint" / f"index-{name}.json"
        self._entries = _read(self._file, dict[str, Known]) or {}
        self._changed = False
        self._stamps: dict[str, Stamp | None] = {}  # of what was asked for in this run

    def load(self, path: str, status: os.stat_result) -> tuple[Finding, ...] | None:
        """The findings of the file as it was when it had this status, or None."""
        known = self._entries.get(path)
        if known is None or known.stamp != Stamp.of(status):
            return None
        return known.findings if all(self._at(each) == stamp for each, stamp in known.depends.items()) else None

    def _at(self, path: str) -> Stamp | None:
        """The stamp of a path; most files of a project depend on the same ones, so each is asked for once a run."""
        if path not in self._stamps:
            self._stamps[path] = _stamp(path)
        return self._stamps[path]

    def store(
        self, path: str, status: os.stat_result, findings: tuple[Finding, ...], dependencies: Iterable[str] = ()
    ) -> None:
        """Remember the findings; ``status`` was taken before the file was read."""
        depends = {each: _stamp(each) for each in dependencies}
        stamps = [Stamp.of(status), *(stamp for stamp in depends.values() if stamp is not None)]
        if time.time_ns() - max(max(stamp.modified, stamp.changed) for stamp in stamps) <= SETTLED:
            return
        known = Known(stamps[0], findings, depends)
        try:
            msgspec.json.encode({path: known})
        except UnicodeEncodeError:  # a name that is not Unicode; JSON has no room for it
            return
        self._entries[path] = known
        self._changed = True

    def forget(self, path: str) -> None:
        """Drop what is known of a file, so that its bytes are looked at again."""
        if self._entries.pop(path, None):
            self._changed = True

    def save(self) -> None:
        """Write the index, if it has changed; one that cannot be written is no error."""
        if self._changed:
            with contextlib.suppress(OSError):
                _write(self._file, dict(list(self._entries.items())[-MOST_FILES:]))
            self._changed = False


class Memory:
    """Keeps what earlier runs found, in one cache folder: by content, and by the stamps of files for each settings."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.by_content = LintCache(folder)
        self._indexes: dict[str, Index] = {}

    def index(self, settings: Settings) -> Index:
        """The findings of unchanged files under these settings."""
        if settings.told not in self._indexes:
            self._indexes[settings.told] = Index(self._folder, settings)
        return self._indexes[settings.told]

    def save(self) -> None:
        """Write the indexes that have changed."""
        for index in self._indexes.values():
            index.save()

    def trim(self) -> None:
        """Keep the folder below its limit."""
        trim(self._folder)


def pages_of(folder: Path | None, codes: Iterable[str]) -> list[RulePage]:
    """The pages of rules, in the order of codes. A rule is imported only where no earlier run has kept its page.

    Raises:
        SettingsError: a rule can't be imported.
    """
    digest = blake2b(f"{mha_lint.__version__}{_tool()}".encode(), digest_size=20).hexdigest()
    file = folder / "pages" / f"{digest}.json" if folder else None
    kept = (_read(file, dict[str, RulePage]) if file else None) or {}
    wanted = sorted(set(codes))
    missing = [code for code in wanted if code not in kept]
    if missing:
        from mha_lint.rules.page import page_of

        kept.update((code, page_of(code)) for code in missing)
        if file:
            with contextlib.suppress(OSError, UnicodeEncodeError):
                _write(file, kept)
    return [kept[code] for code in wanted]


Content = TypeVar("Content")


def _read(file: Path, kind: type[Content]) -> Content | None:
    """Return what the file holds, or None where it is missing or holds something else."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _write(file: Path, content: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(msgspec.json.encode(content))
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


def _prefix(settings: Settings) -> bytes:
    """Return what findings depend on besides the file, to be hashed."""
    return f"{mha_lint.__version__}{_tool()}{settings.told}".encode(errors="surrogatepass")


@lru_cache(maxsize=1)
def _tool() -> str:
    """A digest of the interpreter, of all rules and fixers that are installed, and of the files that hold them.

    A package that is installed editable changes without its version.
    """
    found = [(group, point) for group in _GROUPS for point in points(group).values()]
    installed = [(group, point.name, point.value, package(point)) for group, point in found]
    packages = {"mha_lint", "mha_lint.fixers", *(point.module.partition(".")[0] for _, point in found)}
    files = sorted({stamp for name in packages for stamp in _stamps(name)})
    told = repr((platform.python_version(), installed, files))
    return blake2b(told.encode(errors="surrogatepass"), digest_size=20).hexdigest()


def _stamps(package: str) -> Iterator[tuple[str, int, int]]:
    """The path, the size and the time of each file of a package that is there. Nothing of it is imported."""
    from importlib.util import find_spec

    spec = find_spec(package)
    if spec is None:
        return
    files = [spec.origin] if spec.origin else []
    for folder in spec.submodule_search_locations or ():
        for place, _, names in os.walk(folder):
            files += [os.path.join(place, name) for name in names if name.endswith(".py")]
    for file in files:
        with contextlib.suppress(OSError):
            status = os.stat(file)
            yield file, status.st_size, status.st_mtime_ns
