"""Compare what a class or its file is without a call: bases, kinds of parts, special methods, constants."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from mha_lint.validation.trials import construction, trial

# Methods of torch's modules that a rewrite may write anew, since trials and their inventory compare what they do.
_OWN_BUSINESS = frozenset(("__init__", "forward", "extra_repr"))
# What Python itself puts into a class.
_OF_PYTHON = frozenset(
    "__module__ __doc__ __dict__ __weakref__ __annotations__ __annotate__ __annotate_func__ __annotations_cache__"
    " __qualname__ __firstlineno__ __static_attributes__ __type_params__ __parameters__ __orig_bases__"
    " __abstractmethods__ _abc_impl __slots__ __dataclass_fields__ __dataclass_params__ __match_args__".split()
)


_CONSTANTS = (*construction.PLAIN, tuple, list, dict, set, frozenset)


def changed(before: types.ModuleType, after: types.ModuleType) -> str:
    """In words, how the classes and constants that two texts of a file define differ; "" where they do not."""
    ours, theirs = (dict(_defined(module)) for module in (before, after))
    for name, value in ours.items():
        if name not in theirs:
            if not name.startswith("_"):
                return f"{name} is not defined any more"
            continue
        if isinstance(value, type) and isinstance(theirs[name], type):
            if found := _changed_class(value, theirs[name]):
                return found
        elif found := _changed_value(name, value, theirs[name]):
            return found
    return ""


def _defined(module: types.ModuleType) -> Iterator[tuple[str, Any]]:
    """The classes, functions and constants of a file that are its own."""
    for name, value in vars(module).items():
        if isinstance(value, (type, types.FunctionType)):
            if value.__module__ == module.__name__:
                yield name, value
        elif name == "__all__" or (not name.startswith("__") and isinstance(value, _CONSTANTS)):
            yield name, value


def _changed_value(name: str, left: Any, right: Any) -> str:
    """Describe how a constant differs. Return "" where it does not, or is a class or a function."""
    if isinstance(left, (type, types.FunctionType)):
        return ""
    ours, theirs = dict(construction.leaves(left, name)), dict(construction.leaves(right, name))
    for key in sorted(ours.keys() | theirs.keys()):
        if key not in ours or key not in theirs:
            return f"{name} has other content after"
        if problem := trial.differ(ours[key], theirs[key])[0]:
            return f"{key} {problem}"
    return ""


def _changed_class(before: type, after: type) -> str:
    """Describe how two classes of one name differ to code that does not call them."""
    name = before.__qualname__
    bases = [[base.__qualname__ for base in cls.__mro__] for cls in (before, after)]
    if bases[0] != bases[1]:
        gone = [base for base in bases[0] if base not in bases[1]]
        return f"{name} is no {gone[0]} any more" if gone else f"{name} has other bases"
    if written := sorted(_written_over(after) - _written_over(before)):
        return f"{name} has a {written[0]} of its own after"
    for key, value in vars(before).items():
        other = vars(after).get(key)
        if key in _OF_PYTHON or callable(value) or key not in vars(after):
            continue
        if found := _changed_value(f"{name}.{key}", value, other):
            return found
    return ""


def _written_over(cls: type) -> set[str]:
    """The methods of torch's modules, and those that Python calls by itself, that a class defines anew."""
    special = {name for name in vars(cls) if name.startswith("__") and name.endswith("__")}
    known = set(dir(torch.nn.Module)) if issubclass(cls, torch.nn.Module) else set()
    return (special | (known & vars(cls).keys())) - _OF_PYTHON - _OWN_BUSINESS


def changed_parts(before: Any, after: Any, own: tuple[str, str]) -> str:
    """In words, the first part of a module that is of another kind after; ``own`` are the names of the two texts."""
    parts = dict(after.named_modules(remove_duplicate=False))
    for path, part in before.named_modules(remove_duplicate=False):
        other = parts.get(path)
        if other is None:
            continue
        kinds = [(type(each).__module__, type(each).__qualname__) for each in (part, other)]
        kinds = [("", name) if module in own else (module, name) for module, name in kinds]
        if kinds[0] != kinds[1]:
            return f"{path or 'the module'} is a {kinds[0][1]} before and a {kinds[1][1]} after"
    return ""


def kept(module: types.ModuleType) -> Mapping[str, Any]:
    """The names of a file and of its classes, and how much their containers hold: all that outlives an instance."""
    found = dict(_contained(vars(module), ""))
    for name, cls in vars(module).items():
        if isinstance(cls, type) and cls.__module__ == module.__name__:
            found.update(_contained(vars(cls), f"{name}."))
    return found


def _contained(names: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in names.items():
        if name.startswith("__"):
            continue
        if isinstance(value, (list, dict, set)):
            yield f"{prefix}{name}", len(value)
        else:
            yield f"{prefix}{name}", value if isinstance(value, construction.PLAIN) else type(value).__qualname__


def kept_otherwise(start: tuple[Mapping[str, Any], Mapping[str, Any]], now: tuple[Any, Any]) -> str:
    """Describe what running one of two files alone has changed in what it keeps. Return "" where there is nothing."""
    ours, theirs = (
        {name for name in kept(module).keys() | earlier.keys() if kept(module).get(name) != earlier.get(name)}
        for module, earlier in zip(now, start, strict=True)
    )
    odd = sorted(ours ^ theirs)
    return f"calls change {odd[0]} {'before' if odd[0] in ours else 'after'} alone" if odd else ""
