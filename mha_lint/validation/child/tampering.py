"""Tell if the code under trial replaced what its own trial relies on: parts of torch, of Python, or of this package."""

from __future__ import annotations

import builtins
import json
import os
import random
import sys
import types
from typing import Any

import torch
import torch.overrides
import torch.utils._python_dispatch

_OWNERS: tuple[tuple[str, Any], ...] = (
    ("builtins", builtins),
    ("json", json),
    ("os", os),
    ("random", random),
    ("torch", torch),
    ("torch._C", torch._C),
    ("torch.Tensor", torch.Tensor),
    ("torch.Generator", torch.Generator),
    ("torch.autograd", torch.autograd),
    ("torch.cuda", torch.cuda),
    ("torch.nn", torch.nn),
    ("torch.nn.functional", torch.nn.functional),
    ("torch.nn.Module", torch.nn.Module),
    ("torch.nn.Parameter", torch.nn.Parameter),
    ("torch.nn.parameter", torch.nn.parameter),
    ("torch.overrides", torch.overrides),
    ("torch.random", torch.random),
)
_UNUSED = frozenset({("torch", "compile")})  # by trials; code that wants none of it replaces it
_COMPILER = tuple(os.path.join(os.path.dirname(torch.__file__), name) for name in ("_compile.py", "_dynamo" + os.sep))
Snapshot = list[tuple[str, Any, dict[str, Any]]]


def snapshot() -> Snapshot:
    """Every function, class and module that trials and comparisons look up by name, as it is now."""
    own = [(name, module) for name, module in list(sys.modules.items()) if name.partition(".")[0] == "mha_lint"]
    kept = [
        (
            title,
            owner,
            {name: value for name, value in list(_attributes(owner).items()) if _is_relied_on(title, name, value)},
        )
        for title, owner in [*_OWNERS, *own]
    ]
    modules = {title: owner for title, owner in _OWNERS if isinstance(owner, types.ModuleType)}
    return [*kept, ("sys.modules", None, modules)]


_remembered: Snapshot | None = None


def remember() -> None:
    """Take the snapshot that :func:`earliest` gives from now on, also in processes forked from this one."""
    global _remembered
    _remembered = snapshot()


def earliest() -> Snapshot:
    return _remembered if _remembered is not None else snapshot()


def replaced(earlier: Snapshot) -> str:
    """Name the first thing changed since ``earlier``, such as "torch.equal"; else return "". Additions are harmless."""
    for title, owner, names in earlier:
        now = sys.modules if title == "sys.modules" else _attributes(owner)
        for name, value in names.items():
            if now.get(name) is not value and not _is_wrapped_by_compiler(value, now.get(name)):
                return f"{title}.{name}"
    overrides: Any = torch.overrides
    modes = [
        *overrides._get_current_function_mode_stack(),
        *torch.utils._python_dispatch._get_current_dispatch_mode_stack(),
    ]
    foreign = [type(mode).__qualname__ for mode in modes if type(mode).__module__.partition(".")[0] != "torch"]
    return f"every operation of torch, by the mode {foreign[0]}" if foreign else ""


def _is_relied_on(title: str, name: str, value: Any) -> bool:
    """Functions, classes, properties, modules, dtypes; settings and lists of devices change in the course of things."""
    if (title, name) in _UNUSED:
        return False
    return callable(value) or hasattr(type(value), "__get__") or isinstance(value, (types.ModuleType, torch.dtype))


def _attributes(owner: Any) -> dict[str, Any]:
    """Return what looking up a name finds: for a class, what it inherits too, which an addition would hide."""
    if not isinstance(owner, type):
        own: dict[str, Any] = vars(owner)
        return own
    return {name: value for cls in reversed(owner.__mro__) for name, value in vars(cls).items()}


def _is_wrapped_by_compiler(original: Any, value: Any) -> bool:
    """Tell whether ``value`` is a function of torch's compiler that calls ``original``.

    Importing and using it wraps ``torch.manual_seed`` and ``torch.nn.Module.__init__`` like that.
    """
    if not isinstance(value, types.FunctionType):
        return False
    file = value.__code__.co_filename
    held = [getattr(value, "__wrapped__", None), *(cell.cell_contents for cell in value.__closure__ or ())]
    return file.startswith(_COMPILER) and any(each is original for each in held)
