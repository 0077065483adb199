"""Harnesses written as functions: ``make(cls, b, t)`` gives an instance, or that and the arguments of one call."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

SIZES: Mapping[str, int] = {"b": 3, "t": 5, "s": 7, "h": 4, "d": 8, "H": 4, "W": 6}  # where none are given


def made(factory: str, target: Any, sizes: Mapping[str, int]) -> tuple[Any, dict[str, Any] | None]:
    """Make an instance of ``target`` by ``factory`` ("package.module:function"), with the sizes that it names.

    Return it, and the arguments by name, which are None where it gives an instance alone. Raise TypeError where it
    gives something else; what the function itself raises passes through.
    """
    module, _, name = factory.partition(":")
    function = getattr(importlib.import_module(module), name)
    named = inspect.signature(function).parameters
    result = function(target, **{size: value for size, value in {**SIZES, **sizes}.items() if size in named})
    if not isinstance(result, tuple):
        return result, None
    if len(result) != 2 or not isinstance(result[1], dict):
        raise TypeError(f"{factory} must return an instance, or an instance and a dict of arguments")
    return result
