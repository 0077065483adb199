"""Finds the files to lint: those given by name, and the Python files and notebooks of the folders that are walked."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mha_lint.configuration import Configuration
from mha_lint.files import SourceError, compiled, fits_any, matches, reason

if TYPE_CHECKING:
    import pathspec

SUFFIXES = (".py", ".pyi", ".ipynb")

# Folders that no settings open: what is installed there is not the user's.
_NEVER_ENTERED = (".git", "site-packages")
_VIRTUAL_ENVIRONMENT = "pyvenv.cfg"


def discover(
    paths: Sequence[Path],
    configuration: Configuration,
    *,
    force_exclude: bool = False,
    respect_gitignore: bool = True,
) -> list[Path | SourceError]:
    """The files to lint, each once, in a stable order; a :class:`SourceError` for a path that cannot be walked.

    Files given by name are always taken, and folders given by name always walked, for ``*.py``, ``*.pyi`` and
    ``*.ipynb``. A walk follows no links to folders, and passes by what the settings that hold in a folder exclude, what
    a ``.gitignore`` names (with ``respect_gitignore``), virtual environments, and ``site-packages``. With
    ``force_exclude``, the settings exclude what is given by name as well. Of several names of one file the first with
    the fewest symbolic links is taken.

    Raises:
        SettingsError: a settings file on the way has a mistake.
    """
    found: dict[str, Path | SourceError] = {}
    for given in paths:
        if force_exclude and excludes(given, configuration):
            continue
        walking = given.is_dir()
        real: dict[str, str] = {}  # folder to the folder that it is
        for item in _walk(given, configuration, respect_gitignore) if walking else _named(given):
            identity = _identity(item, real) if isinstance(item, Path) else f"error {item}"
            known = found.get(identity)
            if isinstance(item, Path) and isinstance(known, Path) and _links(item) < _links(known):
                del found[identity]  # so that the file takes its place under its own name
            found.setdefault(identity, item)
    return list(found.values())


def excludes(path: Path, configuration: Configuration) -> bool:
    """Tell whether the settings exclude ``path``, or a folder that it lies in. Raises :class:`SettingsError`."""
    settings = configuration.of(path)
    return matches(Path(os.path.abspath(path)), settings.excluded, settings.root)


def _identity(path: Path, real: dict[str, str]) -> str:
    """The path without symbolic links."""
    if path.is_symlink():
        return os.path.realpath(path)
    folder, name = os.path.split(path)
    if folder not in real:
        real[folder] = os.path.realpath(folder)
    return os.path.join(real[folder], name)


def _links(path: Path) -> int:
    """Count the symbolic links that a path goes through."""
    return sum(place.is_symlink() for place in (path, *path.parents))


def _named(path: Path) -> Iterator[Path | SourceError]:
    try:
        path.stat()
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        message = "broken symbolic link" if missing and path.is_symlink() else reason(error)
        yield SourceError(path, message)
    else:
        yield path


def _walk(folder: Path, configuration: Configuration, respect_gitignore: bool) -> Iterator[Path | SourceError]:
    ignored = Gitignore(folder) if respect_gitignore else None
    pending = [folder]
    while pending:
        here = pending.pop()
        try:
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError as error:
            yield SourceError(here, f"cannot be read: {reason(error)}")
            continue
        names = {entry.name for entry in entries}
        if _VIRTUAL_ENVIRONMENT in names and here != folder:
            continue
        if ignored is not None:
            ignored.enter(here, ".gitignore" in names)
        absolute = Path(os.path.abspath(here))
        settings = configuration.within(absolute)
        excluding = compiled(settings.excluded) if settings.excluded else None
        root = f"{settings.root.as_posix().rstrip('/')}/"
        prefix = absolute.as_posix().rstrip("/")
        folders = []
        for entry in entries:
            is_folder = entry.is_dir(follow_symlinks=False)
            if not is_folder and not entry.name.endswith(SUFFIXES):
                continue
            if is_folder and entry.name in _NEVER_ENTERED:
                continue
            if excluding and fits_any(entry.name, f"{prefix}/{entry.name}", excluding, root):
                continue
            path = here / entry.name
            if ignored is not None and ignored.covers(path, is_folder):
                continue
            if is_folder:
                folders.append(path)
            elif (
                path.is_file() if entry.is_symlink() else entry.is_file()
            ):  # not a broken link (an editor's lock file, say), a link to a folder, or a pipe
                yield path
        pending.extend(reversed(folders))


class Gitignore:
    """The ``.gitignore`` files from the repository's root down to the folders being walked."""

    def __init__(self, folder: Path) -> None:
        self._specs: dict[str, pathspec.GitIgnoreSpec] = {}
        top = os.path.abspath(folder)
        above = [top, *map(str, Path(top).parents)]
        repository = next((place for place in above if os.path.exists(os.path.join(place, ".git"))), None)
        if repository is not None:
            self._read(repository, os.path.join(repository, ".git", "info", "exclude"))
            for place in reversed(above[1 : above.index(repository) + 1]):
                self._read(place, os.path.join(place, ".gitignore"))
            if self.covers(folder, is_folder=True):  # named on purpose, so what ignores it does not count
                self._specs.clear()

    def enter(self, folder: Path, has_gitignore: bool) -> None:
        """Read the ``.gitignore`` of a folder on the way down."""
        if has_gitignore:
            place = os.path.abspath(folder)
            self._read(place, os.path.join(place, ".gitignore"))

    def _read(self, place: str, file: str) -> None:
        try:
            with open(file, encoding="utf-8", errors="surrogateescape") as lines:
                patterns = lines.read().splitlines()
        except OSError:
            return
        import pathspec

        try:
            spec = pathspec.GitIgnoreSpec.from_lines(patterns)
        except ValueError:  # git skips patterns that make no sense; so do we, with the whole file
            return
        self._specs[place] = self._specs[place] + spec if place in self._specs else spec

    def covers(self, path: Path, is_folder: bool) -> bool:
        """Tell whether Git ignores ``path``: the nearest ``.gitignore`` with a pattern for it decides."""
        if not self._specs:
            return False
        full = os.path.abspath(path)
        place = os.path.dirname(full)
        while True:
            spec = self._specs.get(place)
            if spec is not None:
                relative = os.path.relpath(full, place).replace(os.sep, "/") + ("/" if is_folder else "")
                verdict = spec.check_file(relative).include
                if verdict is not None:
                    return verdict
            parent = os.path.dirname(place)
            if parent == place:
                return False
            place = parent
