"""Reads settings files and the files that they extend, checks each key, and lays one over another."""

from __future__ import annotations

import glob
import os
import re
import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

from msgspec import Struct
from msgspec.structs import asdict, replace

import mha_lint
from mha_lint import declared
from mha_lint.declared import Declared
from mha_lint.settings import Selection, Settings, SettingsError, close_match, keys, resolved

OURS = (".mha-lint.toml", "mha-lint.toml")
PYPROJECT = "pyproject.toml"  # holds the keys in a table; every other file has them at its top
FILES = (*OURS, PYPROJECT)  # the first of a folder that is there counts
INLINE = "--config"
_TABLE = "[tool.mha-lint]"
_OF_RULES = frozenset(Selection.__struct_fields__)
_CODES = _OF_RULES | {"extend_safe_fixes", "extend_unsafe_fixes"}
_GLOBS = ("exclude", "extend_exclude")
_IGNORES = ("per_file_ignores", "extend_per_file_ignores")
_ADDED = ("extend_exclude", "extend_per_file_ignores", "extend_safe_fixes", "extend_unsafe_fixes")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")
_TORCH = re.compile(r"[0-9]+\.[0-9]+")


class Layer(Struct, frozen=True):
    """What one file, or the command line, says: values by the names of :class:`Settings`, and the ``origin`` of all."""

    values: Mapping[str, Any]
    origin: str


def layered(settings: Settings, layer: Layer) -> Settings:
    """The settings under a stronger layer: its keys win; what *extends* a list is added to it, as in ruff."""
    values = dict(layer.values)
    chosen = {name: values.pop(name) for name in _OF_RULES & values.keys()}
    for name in _ADDED:
        if name in values:
            values[name] = _together(getattr(settings, name), values[name])
    if chosen:
        under = tuple(each for each in settings.selections if each != Selection())
        values |= asdict(Selection()) | chosen | {"under": under}
    origins = {**settings.origins, **dict.fromkeys(layer.values, layer.origin)}
    return replace(settings, **values, origins=origins)


def _together(weaker: Any, stronger: Any) -> Any:
    if not isinstance(weaker, Mapping):
        return (*weaker, *stronger)
    return {key: (*weaker.get(key, ()), *stronger.get(key, ())) for key in (*weaker, *stronger)}


def parse_settings(table: Mapping[str, Any], file: Path) -> Settings:
    """Check each key and value of the settings in a file, and of the files that it extends.

    Raises:
        SettingsError: the message names the file and the key.
    """
    settings = Settings(root=file.parent, file=file)
    for each, values in reversed(_chain(table, file)):
        settings = layered(settings, _layer(values, each, is_extended=each != file))
    return settings


def _chain(table: Mapping[str, Any], file: Path) -> list[tuple[Path, Mapping[str, Any]]]:
    """The tables of a file and of those that it extends, the strongest first."""
    chain = [(file, table)]
    is_checked = False
    while True:
        place = _place(file)
        if not is_checked and "required-version" in table:
            check_version(table["required-version"], f"{place} required-version")
            is_checked = True  # the strongest file that names versions decides
        if "extend" not in table:
            return chain
        extended = file.parent / _expanded(table["extend"], f"{place} extend")
        file = Path(os.path.normpath(extended))
        seen = [each for each, _ in chain]
        if file in seen:
            names = " extends ".join(map(str, (*seen, file)))
            raise SettingsError(f"{place} extend: the files extend one another in a circle: {names}")
        try:
            found = table_of(file)
        except SettingsError as error:
            raise SettingsError(f"{error}; it is what {seen[-1]} extends") from None
        if found is None:
            raise SettingsError(f"{file}: has no {_TABLE} table; it is what {seen[-1]} extends")
        table = found
        chain.append((file, table))


def _layer(table: Mapping[str, Any], file: Path, *, is_extended: bool) -> Layer:
    """The layer of one file. Globs of another file than the nearest are relative to their own folder."""
    values = parse_values(table, _place(file), file.parent)
    return Layer(rooted(values, file.parent) if is_extended else values, str(file))


def inline_layer(text: str) -> Layer:
    """The layer of ``--config 'KEY = VALUE'``, relative to the working directory. Raises :class:`SettingsError`."""
    loads, not_toml = _toml()
    try:
        table: dict[str, Any] = loads(text)
    except not_toml as error:
        raise SettingsError(f"{INLINE}: {text!r} is neither a settings file nor TOML (KEY = VALUE): {error}") from error
    if "extend" in table:
        raise SettingsError(f"{INLINE}: 'extend' is for settings files alone; name the file itself: {INLINE} FILE")
    if "required-version" in table:
        check_version(table["required-version"], f"{INLINE}: required-version")
    here = Path.cwd()
    return Layer(rooted(parse_values(table, f"{INLINE}:", here), here), INLINE)


def rooted(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The same values, their globs no more relative to a folder."""
    found = dict(values)
    for name in _GLOBS:
        if name in found:
            found[name] = tuple(_rooted(pattern, folder) for pattern in found[name])
    for name in _IGNORES:
        if name in found:
            found[name] = {_rooted(pattern, folder): codes for pattern, codes in found[name].items()}
    return found


def _rooted(pattern: str, folder: Path) -> str:
    """The glob from the root of the file system; one without a slash fits a name anywhere."""
    bare = pattern.removeprefix("!")
    negation = pattern[: len(pattern) - len(bare)]
    bare = bare.removeprefix("./")
    if "/" not in bare.rstrip("/") or bare.startswith("/"):
        return f"{negation}{bare}"
    return f"{negation}{glob.escape(folder.as_posix().rstrip('/'))}/{bare}"


# --- one file


def table_of(file: Path) -> dict[str, Any] | None:
    """The settings in a file as TOML has them; None where it is a pyproject.toml without a table of ours."""
    data = _read(file)
    if file.name != PYPROJECT:
        return _loaded(file, data)
    if b"mha-lint" not in data:  # parsing TOML costs more than linting most files
        return None
    tool = _loaded(file, data).get("tool", {})
    table = tool.get("mha-lint") if isinstance(tool, dict) else None
    if table is not None and not isinstance(table, dict):
        raise SettingsError(f"{file}: {_TABLE} must be a table, not {_kind(table)}")
    return table


def project_of(file: Path) -> dict[str, Any]:
    """The ``[project]`` table of a pyproject.toml; empty where there is none, or it cannot be read."""
    try:
        data = _read(file)
        if b"requires-python" not in data and b"torch" not in data:
            return {}
        project = _loaded(file, data).get("project")
    except SettingsError:
        return {}
    return project if isinstance(project, dict) else {}


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {(error.strerror or str(error)).lower()}") from error


@lru_cache(maxsize=4)
def _loaded(file: Path, data: bytes) -> dict[str, Any]:
    loads, not_toml = _toml()
    try:
        tables: dict[str, Any] = loads(data.decode("utf-8"))
    except (not_toml, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: is not valid TOML: {error}") from error
    return tables


def _toml() -> tuple[Any, type[Exception]]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads, tomllib.TOMLDecodeError


def _place(file: Path) -> str:
    return f"{file}: {_TABLE}" if file.name == PYPROJECT else f"{file}:"


def _expanded(value: object, place: str) -> str:
    """A path with ``~`` and environment variables, as ruff reads them."""
    path = _text(value, place)

    def variable(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in os.environ:
            raise SettingsError(f"{place}: {path!r} names the environment variable {name}, which is not set")
        return os.environ[name]

    return os.path.expanduser(_VARIABLE.sub(variable, path))


def check_version(value: object, place: str) -> None:
    """Raise :class:`SettingsError` where ``required-version`` makes no sense, or another version is running."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet
    from packaging.version import InvalidVersion, Version

    text = _text(value, place).strip()
    try:
        try:
            specifier = SpecifierSet(f"=={Version(text)}")  # "0.1" alone is that version, as in ruff
        except InvalidVersion:
            specifier = SpecifierSet(text)
    except InvalidSpecifier:
        raise SettingsError(f'{place}: {text!r} is no version specifier; expected one as ">=0.1,<1"') from None
    if not specifier.contains(mha_lint.__version__, prereleases=True):
        raise SettingsError(f"{place}: {text!r} does not fit mha-lint {mha_lint.__version__}, which is running")


# --- values


def parse_values(table: Mapping[str, Any], place: str, folder: Path) -> dict[str, Any]:
    """The values of a table by the names of :class:`Settings`. Raises :class:`SettingsError`.

    ``place`` ends in a colon where nothing stands between it and a key.
    """
    known = keys()
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in known:
            raise SettingsError(f"{_ended(place)} unknown key {key!r}{close_match(key, known)}{_misplaced(key)}")
        name, where = known[key].attribute, f"{place} {key}"
        if key == "harness":
            values[name] = _harnesses(value, where)
        elif key in ("cache-dir", "baseline"):
            values[name] = os.path.normpath(folder / _expanded(value, where))
        else:
            values[name] = _checked(value, known[key].kind, where)
        if name in _CODES:
            values[name] = resolved(values[name], where)
        elif name in _IGNORES:
            values[name] = {pattern: resolved(codes, f"{where}: {pattern!r}") for pattern, codes in value.items()}
        elif key == "target-torch" and not _TORCH.fullmatch(values[name]):
            raise SettingsError(f'{where}: expected two numbers as "2.1", not {value!r}')
    return values


def _ended(place: str) -> str:
    return place if place.endswith(":") else f"{place}:"


def _misplaced(key: str) -> str:
    return f"; only a {PYPROJECT} has the keys in {_TABLE}" if key == "tool" else ""


def _harnesses(value: object, place: str) -> tuple[Declared, ...]:
    if not isinstance(value, dict):
        raise SettingsError(f"{place}: expected a table, not {_kind(value)}")
    try:
        return tuple(declared.parse(name, entry) for name, entry in value.items())
    except declared.DeclarationError as error:
        raise SettingsError(f"{place}: {error}") from None


def _checked(value: object, hint: Any, place: str) -> object:
    kind = without_none(hint)
    if choices := choices_of(kind):
        _check_choice(value, choices, place)
        return value
    if kind is bool:
        if not isinstance(value, bool):
            raise SettingsError(f"{place}: expected true or false, not {_kind(value)}")
        return value
    if kind is str:
        return _text(value, place)
    if kind == Mapping[str, tuple[str, ...]]:
        if not isinstance(value, dict):
            raise SettingsError(f"{place}: expected a table of globs and codes, not {_kind(value)}")
        return {pattern: _strings(codes, f"{place}: {pattern!r}") for pattern, codes in value.items()}
    strings = _strings(value, place)
    if choices := choices_of(get_args(kind)[0]):
        for each in strings:
            _check_choice(each, choices, place)
    return strings


def without_none(hint: Any) -> Any:
    """The type itself, of one that may be None."""
    return get_args(hint)[0] if type(None) in get_args(hint) else hint


def choices_of(hint: Any) -> tuple[str, ...]:
    """The strings that a ``Literal`` allows; nothing for another type."""
    return tuple(choice for choice in get_args(hint) if isinstance(choice, str))


def _check_choice(value: object, choices: tuple[str, ...], place: str) -> None:
    if value not in choices:
        expected = " or ".join(f'"{choice}"' for choice in choices)
        raise SettingsError(f"{place}: expected {expected}, not {value!r}")


def _text(value: object, place: str) -> str:
    if not isinstance(value, str):
        raise SettingsError(f"{place}: expected a string, not {_kind(value)}")
    return value


def _strings(value: object, place: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        wrong = next((item for item in value if not isinstance(item, str)), None) if isinstance(value, list) else value
        within = "a list that holds " if isinstance(value, list) else ""
        raise SettingsError(f"{place}: expected a list of strings, not {within}{_kind(wrong)}")
    return tuple(value)


def _kind(value: object) -> str:
    names: dict[type, str] = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list"}
    return f"{names.get(type(value), 'a table')} ({value!r})"
