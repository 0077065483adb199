"""Finds the settings of each file: those of the nearest settings file above it, under what the command line says."""

from __future__ import annotations

import os
from functools import reduce
from pathlib import Path

from mha_lint.project import with_targets
from mha_lint.settings import Settings, SettingsError
from mha_lint.settings_file import FILES, PYPROJECT, Layer, layered, parse_settings, table_of


class Configuration:
    """Knows the settings of each file. It can be sent to other processes."""

    def __init__(self, fixed: Settings | None = None, layers: tuple[Layer, ...] = ()) -> None:
        """``fixed`` settings, where given, hold for all files; ``layers`` lie on top of all settings, the last wins."""
        self._layers = layers
        self._fixed = self._under_layers(fixed) if fixed else None
        self._found: dict[Path, Settings] = {}

    def of(self, path: Path) -> Settings:
        """The settings that hold for a file. Raises :class:`SettingsError`."""
        return self.within(Path(os.path.abspath(path)).parent)

    def within(self, folder: Path) -> Settings:
        """The settings that hold for the files of a folder, given by its absolute path.

        A pyproject.toml counts where it has a ``[tool.mha-lint]`` table. Where no file counts, the root is the folder
        of the nearest pyproject.toml, or else the working directory. Raises :class:`SettingsError`.
        """
        if self._fixed:
            return self._fixed
        if folder not in self._found:
            self._found[folder] = self._find(folder)
        return self._found[folder]

    @property
    def files(self) -> list[Path]:
        """The settings files that have been read, in order."""
        fixed = [self._fixed] if self._fixed else []
        return sorted({settings.file for settings in (*fixed, *self._found.values()) if settings.file})

    def _find(self, folder: Path) -> Settings:
        for name in FILES:
            file = folder / name
            if file.is_file() and (table := table_of(file)) is not None:
                return self._under_layers(_targeted(parse_settings(table, file)))
        if folder == folder.parent:
            return self._under_layers(Settings())
        inherited = self.within(folder.parent)
        project = folder / PYPROJECT
        if inherited.file is not None or not project.is_file():
            return inherited
        return self._under_layers(with_targets(Settings(root=folder), project))

    def _under_layers(self, settings: Settings) -> Settings:
        return reduce(layered, self._layers, settings)


def read_settings(file: Path) -> Settings:
    """The settings in ``file``. Raises :class:`SettingsError`, also where a pyproject.toml has no table of ours."""
    table = table_of(file)
    if table is None:
        raise SettingsError(f"{file}: has no [tool.mha-lint] table")
    return _targeted(parse_settings(table, file.absolute()))


def _targeted(settings: Settings) -> Settings:
    """The settings with the targets of the nearest pyproject.toml, at the root or above it."""
    for folder in (settings.root, *settings.root.parents):
        project = folder / PYPROJECT
        if project.is_file():
            return with_targets(settings, project)
    return settings
