"""Modules that are handed an object of a class that is no module by itself, such as a processor of attention."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator
from typing import Any

import torch

from mha_lint.validation.search.vocabulary import parts_of

_SHORTEST = 5  # letters of a word that tells which parameter takes the object


def parents_of(name: str, cls: type, module: types.ModuleType) -> list[tuple[str, str]]:
    """Module classes by name, each with the parameter of its constructor that takes an object of ``cls``.

    They are the classes that the methods of ``cls`` are annotated with, then, where it is no module by itself, those of
    the same file.
    """
    if "." in name:
        return []
    words = {word for word in parts_of(name) if len(word) >= _SHORTEST}
    annotated = list(_annotated(cls, module))
    is_module = issubclass(cls, torch.nn.Module)
    own = (
        []
        if is_module
        else [key for key, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
    )
    found: list[tuple[str, str]] = []
    for candidate in dict.fromkeys([*annotated, *own]):
        value = getattr(module, candidate, None)
        if value is cls or not (isinstance(value, type) and issubclass(value, torch.nn.Module)):
            continue
        for parameter in _parameters(value):
            if parameter.name in words or name in str(parameter.annotation):
                found.append((candidate, parameter.name))
                break
    return found


def _annotated(cls: type, module: types.ModuleType) -> Iterator[str]:
    """The names of the module's classes that parameters of the class's methods are annotated with."""
    for method in vars(cls).values():
        if not isinstance(method, types.FunctionType):
            continue
        for annotation in method.__annotations__.values():
            name = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
            name = name.strip("'\"")
            if isinstance(getattr(module, name, None), type):
                yield name


def _parameters(cls: Any) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(cls).parameters.values())
    except (ValueError, TypeError):
        return []
