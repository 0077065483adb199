"""Harnesses that the user declares: how a class is built and called, in ``[tool.mha-lint.harness."pkg.mod:Class"]``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from mha_lint.parsing import parse_expression

LETTERS = ("b", "t", "s", "h", "d", "H", "W")

_DIM = re.compile(r"[btshdHW0-9+*/ ()-]+")
_NAME = re.compile(r"(?P<module>[^\W\d][\w.]*):(?P<target>[^\W\d][\w.]*)")


class DeclarationError(Exception):
    """A declaration that makes no sense; the message says what is wrong, to be put behind its place."""


class Declared(Struct, frozen=True):
    """The user's harness: it says how ``target``, a class or function of ``module``, is built and called.

    ``init`` are the constructor's arguments, by name or as they are written in a call (``"Config(64), heads=4"``);
    None leaves them to the search. ``inputs`` are the arguments of ``forward`` by name: a list is the shape of a
    float tensor, in numbers and letters; a string is Python, in which the letters are numbers; anything else is
    itself. None leaves them to the search. ``factory`` ("package.module:function") is called with the class, and with
    those letters that it names as parameters, and returns an instance, or that and the arguments of ``forward``.
    """

    module: str
    target: str
    init: str | Mapping[str, Any] | None = None
    inputs: Mapping[str, Any] | None = None
    factory: str = ""

    def belongs_to(self, path: str | Path) -> bool:
        """Tell whether the file may be ``module``: its path ends in the dotted name."""
        file = Path(path)
        parts = file.parent.parts if file.stem == "__init__" else (*file.parent.parts, file.stem)
        wanted = tuple(self.module.split("."))
        return parts[-len(wanted) :] == wanted


def parse(name: str, value: object) -> Declared:
    """One entry of the table. Raises :class:`DeclarationError`."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise DeclarationError(f'{name!r}: expected "package.module:Class"')
    if not isinstance(value, dict):
        raise DeclarationError(f"{name!r}: expected a table with init and inputs, or factory, not {value!r}")
    if unknown := sorted(value.keys() - {"init", "inputs", "factory"}):
        raise DeclarationError(f"{name!r}: unknown key {unknown[0]!r}; known: init, inputs, factory")
    init, inputs, factory = value.get("init"), value.get("inputs"), value.get("factory", "")
    if factory and init is not None:
        raise DeclarationError(f"{name!r}: factory takes the place of init")
    if not isinstance(factory, str) or (factory and not _NAME.fullmatch(factory)):
        raise DeclarationError(f'{name!r} factory: expected "package.module:function", not {factory!r}')
    if isinstance(init, str):
        _check(f"f({init})", f"{name!r} init: {init!r}")
    elif init is not None and not isinstance(init, dict):
        raise DeclarationError(f"{name!r} init: expected a table, or the arguments as a string, not {init!r}")
    if inputs is not None and not isinstance(inputs, dict):
        raise DeclarationError(f"{name!r} inputs: expected a table of parameters, not {inputs!r}")
    for parameter, given in (inputs or {}).items():
        place = f"{name!r} inputs: {parameter}"
        if isinstance(given, str):
            _check(given, f"{place}: {given!r}")
        elif isinstance(given, list):
            for dim in given:
                if isinstance(dim, bool) or not isinstance(dim, (int, str)) or not _DIM.fullmatch(str(dim)):
                    raise DeclarationError(
                        f"{place}: {dim!r} is no size: a number, or arithmetic on {' '.join(LETTERS)}"
                    )
                _check(str(dim), f"{place}: {dim!r}")
    return Declared(match["module"], match["target"], init, inputs, factory)


def _check(expression: str, place: str) -> None:
    try:
        parse_expression(expression)
    except (SyntaxError, ValueError) as error:
        raise DeclarationError(f"{place} is not valid Python: {getattr(error, 'msg', error)}") from None


def stub(module: str, target: str, init: str | None, inputs: Mapping[str, Any]) -> str:
    """The declaration as TOML, to be pasted into pyproject.toml and corrected."""
    lines = [f'[tool.mha-lint.harness."{module}:{target}"]']
    if init is not None:
        lines.append(f"init = {json.dumps(init)}")
    listed = ", ".join(f"{name} = {json.dumps(value)}" for name, value in inputs.items())
    return "\n".join([*lines, f"inputs = {{ {listed} }}" if listed else "inputs = {}", ""])
