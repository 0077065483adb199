"""Finds the settings of each file: those of the nearest settings file above it, under the command line's options."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from mha_lint import declared
from mha_lint.declared import Declared
from mha_lint.findings import Severity
from mha_lint.settings import Also, Settings, SettingsError, close_match, resolved

OURS = (".mha-lint.toml", "mha-lint.toml")  # hold the settings themselves; pyproject.toml holds them in a table
FILES = (*OURS, "pyproject.toml")  # the first of a folder that is there counts
_TABLE = "[tool.mha-lint]"
_CODES = frozenset(
    ("select", "extend-select", "ignore", "fixable", "extend-fixable", "unfixable", "extend-safe-fixes",
     "extend-unsafe-fixes")
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Overrides:
    """The settings that the command line gives. They are stronger than any file; None leaves what the file has."""

    select: tuple[str, ...] | None = None
    extend_select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    fixable: tuple[str, ...] | None = None
    extend_fixable: tuple[str, ...] = ()
    unfixable: tuple[str, ...] | None = None
    unsafe_fixes: bool | None = None
    also: tuple[Also, ...] | None = None
    exit_severity: Severity | None = None
    baseline: str | None = None

    def applied(self, settings: Settings) -> Settings:
        """The settings under these options."""
        settings = settings.with_selection(self.select, self.extend_select, self.ignore)
        stronger = {
            "fixable": self.fixable,
            "unfixable": self.unfixable,
            "unsafe_fixes": self.unsafe_fixes,
            "also": self.also,
            "exit_severity": self.exit_severity,
            "baseline": self.baseline,
        }
        given: dict[str, Any] = {name: value for name, value in stronger.items() if value is not None}
        return replace(settings, extend_fixable=(*settings.extend_fixable, *self.extend_fixable), **given)


class Configuration:
    """Knows the settings of each file. It can be sent to other processes."""

    def __init__(self, fixed: Settings | None = None, overrides: Overrides | None = None) -> None:
        """``fixed`` settings, where given, hold for all files; ``overrides`` hold on top of all settings."""
        self._overrides = overrides or Overrides()
        self._fixed = self._overrides.applied(fixed) if fixed else None
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
            if file.is_file() and (table := _table(file)) is not None:
                return self._overrides.applied(parse_settings(table, file))
        if folder == folder.parent:
            return self._overrides.applied(Settings())
        inherited = self.within(folder.parent)
        is_root = inherited.file is None and (folder / "pyproject.toml").is_file()
        return replace(inherited, root=folder) if is_root else inherited


def read_settings(file: Path) -> Settings:
    """The settings in ``file``. Raises :class:`SettingsError`, also where a pyproject.toml has no table of ours."""
    table = _table(file)
    if table is None:
        raise SettingsError(f"{file}: has no {_TABLE} table")
    return parse_settings(table, file.absolute())


def _table(file: Path) -> dict[str, Any] | None:
    """The settings in a file as TOML has them; None where it is a pyproject.toml without a table of ours."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {(error.strerror or str(error)).lower()}") from error
    is_ours = file.name in OURS
    if not is_ours and b"mha-lint" not in data:  # parsing TOML costs more than linting most files
        return None
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        tables: dict[str, Any] = tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: is not valid TOML: {error}") from error
    if is_ours:
        return tables
    tool = tables.get("tool", {})
    table = tool.get("mha-lint") if isinstance(tool, dict) else None
    if table is not None and not isinstance(table, dict):
        raise SettingsError(f"{file}: {_TABLE} must be a table, not {_kind(table)}")
    return table


def parse_settings(table: Mapping[str, Any], file: Path) -> Settings:
    """Check each key and value of the settings in a file. Raises :class:`SettingsError` naming file and key."""
    place = f"{file}:" if file.name in OURS else f"{file}: {_TABLE}"
    hints = get_type_hints(Settings)
    keys = {f.name.replace("_", "-"): f.name for f in fields(Settings) if f.name not in ("root", "file")}
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in keys:
            raise SettingsError(f"{place.removesuffix(':')}: unknown key {key!r}{close_match(key, keys)}")
        if key == "harness":
            values["harness"] = _harnesses(value, f"{place} harness")
            continue
        values[keys[key]] = _checked(value, hints[keys[key]], f"{place} {key}")
        if key in _CODES:
            values[keys[key]] = resolved(values[keys[key]], f"{place} {key}")
        elif key == "per-file-ignores":
            values[keys[key]] = {glob: resolved(codes, f"{place} {key}: {glob!r}") for glob, codes in value.items()}
    return Settings(**values, root=file.parent, file=file)


def _harnesses(value: object, place: str) -> tuple[Declared, ...]:
    if not isinstance(value, dict):
        raise SettingsError(f"{place}: expected a table, not {_kind(value)}")
    try:
        return tuple(declared.parse(name, entry) for name, entry in value.items())
    except declared.DeclarationError as error:
        raise SettingsError(f"{place}: {error}") from None


def _checked(value: object, hint: Any, place: str) -> object:
    if choices := _choices(hint):
        _check_choice(value, choices, place)
        return value
    if hint is str:
        if not isinstance(value, str):
            raise SettingsError(f"{place}: expected a string, not {_kind(value)}")
        return value
    if hint is bool:
        if not isinstance(value, bool):
            raise SettingsError(f"{place}: expected true or false, not {_kind(value)}")
        return value
    if hint == Mapping[str, tuple[str, ...]]:
        if not isinstance(value, dict):
            raise SettingsError(f"{place}: expected a table of globs and codes, not {_kind(value)}")
        return {pattern: _strings(codes, f"{place}: {pattern!r}") for pattern, codes in value.items()}
    strings = _strings(value, place)
    if choices := _choices(get_args(hint)[0]):
        for each in strings:
            _check_choice(each, choices, place)
    return strings


def _choices(hint: Any) -> tuple[str, ...]:
    """Return the strings that a ``Literal`` allows; nothing for another type."""
    return tuple(choice for choice in get_args(hint) if isinstance(choice, str))


def _check_choice(value: object, choices: tuple[str, ...], place: str) -> None:
    if value not in choices:
        expected = " or ".join(f'"{choice}"' for choice in choices)
        raise SettingsError(f"{place}: expected {expected}, not {value!r}")


def _strings(value: object, place: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        wrong = next((item for item in value if not isinstance(item, str)), None) if isinstance(value, list) else value
        within = "a list that holds " if isinstance(value, list) else ""
        raise SettingsError(f"{place}: expected a list of strings, not {within}{_kind(wrong)}")
    return tuple(value)


def _kind(value: object) -> str:
    names: dict[type, str] = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list"}
    return f"{names.get(type(value), 'a table')} ({value!r})"
