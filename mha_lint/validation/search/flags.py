"""Truth values that are set for a trial, in both texts alike: of a module's globals, or of attributes."""

from __future__ import annotations

import contextlib
import types
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from msgspec import Struct


class Flag(Struct, frozen=True):
    """A truth value that is set for a trial: of a global name, of what a global function answers, of an attribute."""

    kind: Literal["global", "answer", "attribute"]
    name: str
    value: bool

    def describe(self) -> str:
        written = {"global": self.name, "answer": f"{self.name}()", "attribute": f"self.{self.name}"}[self.kind]
        return f"{written} set to {self.value}"


class _Always:
    """A function that answers the same whatever it is asked."""

    def __init__(self, value: bool) -> None:
        self._value = value

    def __call__(self, *args: object, **kwargs: object) -> bool:
        return self._value


class _Hooks:
    """Sets global flags before a call of a module, and puts back afterwards what was there.

    Copies of the module share it, as they share the globals.
    """

    def __init__(self, flags: Sequence[Flag], module: types.ModuleType) -> None:
        self._flags, self._module = flags, module
        self._open: list[contextlib.AbstractContextManager[None]] = []

    def __deepcopy__(self, memo: object) -> _Hooks:
        return self

    def before(self, subject: object, arguments: object) -> None:
        entered = globals_set(self._flags, self._module)
        entered.__enter__()
        self._open.append(entered)

    def after(self, subject: object, arguments: object, result: object) -> None:
        if self._open:
            self._open.pop().__exit__(None, None, None)


@contextlib.contextmanager
def globals_set(flags: Sequence[Flag], module: types.ModuleType) -> Iterator[None]:
    """Within, the global flags have the values that are set for a trial."""
    names = vars(module)
    kept = {flag.name: names[flag.name] for flag in flags if flag.kind != "attribute" and flag.name in names}
    for flag in flags:
        if flag.name in kept:
            names[flag.name] = flag.value if flag.kind == "global" else _Always(flag.value)
    try:
        yield
    finally:
        names.update(kept)


def put_on(subject: torch.nn.Module, flags: Sequence[Flag], module: types.ModuleType) -> None:
    """Set the flags for every call of ``subject``, which the text that is loaded as ``module`` built."""
    for flag in flags:
        for part in subject.modules() if flag.kind == "attribute" else ():
            is_own = type(part).__module__ == module.__name__
            if is_own and isinstance(vars(part).get(flag.name), bool):
                setattr(part, flag.name, flag.value)
    if any(flag.kind != "attribute" for flag in flags):
        hooks = _Hooks(flags, module)
        subject.register_forward_pre_hook(hooks.before)
        subject.register_forward_hook(hooks.after, always_call=True)
