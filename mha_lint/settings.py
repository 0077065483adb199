"""What a run is asked to do: ``[tool.mha-lint]`` in pyproject.toml, merged with the options of the command line."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from mha_lint import declared
from mha_lint.declared import Declared
from mha_lint.files import DEFAULT_EXCLUDE, matches

ViewFix = Literal["contiguous", "reshape"]
QkvSplit = Literal["auto", "index"]
OutProjInit = Literal["identity", "default"]
Also = Literal["compile", "export"]


class SettingsError(Exception):
    """A setting that makes no sense; the message names the file, the key and what to write instead."""


@dataclass(frozen=True)
class Settings:
    """Every choice that can change a finding or a fix. Codes may be prefixes (``MHA0``) or ``ALL``.

    ``select`` of None means the rules that are on by default. Globs are relative to ``root``, the folder of the
    pyproject.toml in use, or the working directory.
    """

    select: tuple[str, ...] | None = None
    extend_select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    exclude: tuple[str, ...] = DEFAULT_EXCLUDE
    extend_exclude: tuple[str, ...] = ()
    per_file_ignores: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    view_fix: ViewFix = "contiguous"
    qkv_split: QkvSplit = "auto"
    out_proj_init: OutProjInit = "identity"
    unsafe_fixes: bool = False
    also: tuple[Also, ...] = ()  # what a fix must not break
    harness: tuple[Declared, ...] = ()
    root: Path = field(default_factory=Path.cwd)
    file: Path | None = None  # the pyproject.toml that was read

    def enabled(self, path: Path) -> frozenset[str]:
        """The codes of the rules to run on ``path``.

        The longest matching prefix decides, as in ruff: ``select = ["MHA0"], ignore = ["MHA003"]`` leaves out
        MHA003, ``select = ["MHA003"], ignore = ["MHA0"]`` runs MHA003 alone. Per-file ignores always win.
        """
        chosen = _enabled(self.select, self.extend_select, self.ignore)
        for pattern, prefixes in self.per_file_ignores.items():
            if matches(path.absolute(), (pattern,), self.root):
                chosen = frozenset(code for code in chosen if _strength(code, prefixes) < 0)
        return chosen

    @property
    def excluded(self) -> tuple[str, ...]:
        """The globs of files and folders that a walk passes by."""
        return (*self.exclude, *self.extend_exclude)

    def with_selection(
        self, select: tuple[str, ...] | None, extend_select: tuple[str, ...], ignore: tuple[str, ...]
    ) -> Settings:
        """These settings under the command line's selection, which is the stronger.

        ``--select`` puts the file's whole selection aside; the other two add to it.
        """
        for option, codes in (("--select", select or ()), ("--extend-select", extend_select), ("--ignore", ignore)):
            check_codes(codes, option)
        if select is not None:
            return replace(self, select=select, extend_select=extend_select, ignore=ignore)
        kept = tuple(code for code in self.ignore if code not in extend_select)
        return replace(self, extend_select=(*self.extend_select, *extend_select), ignore=(*kept, *ignore))


def _strength(code: str, prefixes: Iterable[str]) -> int:
    """Length of the longest of ``prefixes`` that ``code`` starts with; 0 for ALL; -1 for none."""
    return max((0 if p == "ALL" else len(p) for p in prefixes if p == "ALL" or code.startswith(p)), default=-1)


@lru_cache(maxsize=256)
def _enabled(select: tuple[str, ...] | None, extend: tuple[str, ...], ignore: tuple[str, ...]) -> frozenset[str]:
    from mha_lint.rules import defaults

    chosen = set()
    for code, default in defaults().items():
        base = (0 if default else -1) if select is None else _strength(code, select)
        if max(base, _strength(code, extend)) > _strength(code, ignore):
            chosen.add(code)
    return frozenset(chosen)


@lru_cache(maxsize=1)
def known_codes() -> tuple[str, ...]:
    """The codes of all installed rules, from their entry points: no rule is imported for this."""
    from importlib.metadata import entry_points

    return tuple(sorted({point.name for point in entry_points(group="mha_lint.rules")}))


def check_codes(codes: Iterable[str], place: str) -> None:
    """Raise :class:`SettingsError` for a code that is no rule's and no prefix of one."""
    for code in codes:
        if code != "ALL" and not (code and any(known.startswith(code) for known in known_codes())):
            raise SettingsError(f"{place}: unknown rule code {code!r}{close_match(code.upper(), known_codes())}")


def close_match(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'X'?`` when a known word is near, else what can be chosen from."""
    from difflib import get_close_matches

    known = tuple(known)
    near = get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"


# --- reading pyproject.toml


def find_settings(start: Path) -> Settings:
    """The settings of the nearest pyproject.toml with a ``[tool.mha-lint]`` table, from ``start`` upwards.

    One file serves the whole run: the CLI starts at the folder that all its paths share. Without such a table, the
    root is the folder of the nearest pyproject.toml, or else the working directory.
    Raises :class:`SettingsError`.
    """
    start = start.absolute()
    nearest = None
    for folder in (start, *start.parents):
        file = folder / "pyproject.toml"
        if file.is_file():
            nearest = nearest or folder
            table = _table(file)
            if table is not None:
                return parse_settings(table, file)
    return Settings(root=nearest or Path.cwd())


def read_settings(file: Path) -> Settings:
    """The settings in ``file``. Raises :class:`SettingsError`, also when it has no ``[tool.mha-lint]``."""
    table = _table(file)
    if table is None:
        raise SettingsError(f"{file}: has no [tool.mha-lint] table")
    return parse_settings(table, file.absolute())


def _table(file: Path) -> dict[str, Any] | None:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {(error.strerror or str(error)).lower()}") from error
    if b"mha-lint" not in data:  # parsing TOML costs more than linting most files
        return None
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        tables = tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: is not valid TOML: {error}") from error
    tool = tables.get("tool", {})
    table = tool.get("mha-lint") if isinstance(tool, dict) else None
    if table is not None and not isinstance(table, dict):
        raise SettingsError(f"{file}: [tool.mha-lint] must be a table, not {_kind(table)}")
    return table


def parse_settings(table: Mapping[str, Any], file: Path) -> Settings:
    """Check each key and value of ``[tool.mha-lint]``. Raises :class:`SettingsError` naming file and key."""
    hints = get_type_hints(Settings)
    keys = {f.name.replace("_", "-"): f.name for f in fields(Settings) if f.name not in ("root", "file")}
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in keys:
            raise SettingsError(f"{file}: [tool.mha-lint]: unknown key {key!r}{close_match(key, keys)}")
        if key == "harness":
            values["harness"] = _harnesses(value, f"{file}: [tool.mha-lint.harness]")
            continue
        values[keys[key]] = _checked(value, hints[keys[key]], f"{file}: [tool.mha-lint] {key}")
        if key in ("select", "extend-select", "ignore"):
            check_codes(values[keys[key]], f"{file}: [tool.mha-lint] {key}")
        elif key == "per-file-ignores":
            for pattern, codes in value.items():
                check_codes(codes, f"{file}: [tool.mha-lint] {key}: {pattern!r}")
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
    """What a ``Literal`` of strings allows; nothing for another type."""
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
