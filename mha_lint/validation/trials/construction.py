"""Compare what constructors leave, before any parameter is drawn anew: values, modes, order, hooks, random states."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import math
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from msgspec import Struct, field
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

from mha_lint.validation.child import stubs
from mha_lint.validation.search import targets
from mha_lint.validation.search.plan import Answers
from mha_lint.validation.trials import numpy_state, trial

PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size, torch.layout)
_OWN = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set", "training")
_DEPTH = 4  # of containers and objects inside of an attribute


class Constructed(Struct, frozen=True):
    """Hold the state of one module. Keys are names as ``state_dict`` writes them; values are copies.

    ``parameters`` and ``saved`` are the two halves of the ``state_dict``; ``held`` are buffers outside of it and plain
    attributes, in one table, since a tensor may be either. ``form`` are modes, hooks and the order of registration.
    """

    parameters: dict[str, Any] = field(default_factory=dict)
    saved: dict[str, Any] = field(default_factory=dict)
    held: dict[str, Any] = field(default_factory=dict)
    form: dict[str, Any] = field(default_factory=dict)
    random: dict[str, Any] = field(default_factory=dict)


def inventory(module: Any, without: frozenset[tuple[str, str]] = frozenset()) -> Constructed:
    """Copy what the module and its parts hold now, and the states of random numbers.

    Attributes ``without``, each of a class, are left out.
    """
    found = Constructed()
    state = module.state_dict(keep_vars=True)
    tied: dict[int, str] = {}
    for name, value in module.named_parameters(remove_duplicate=False):
        found.parameters[name] = _copied(value)
        found.form[f"`{name}.requires_grad`"] = value.requires_grad
        found.form[f"the owner of `{name}`"] = tied.setdefault(id(value), name)
    for name, value in state.items():
        if name not in found.parameters:
            found.saved[name] = _copied(value)
    for path, part in module.named_modules(remove_duplicate=False):
        before = f"{path}." if path else ""
        left_out = _left_out(part, without)
        found.form[f"`{before}training`"] = part.training
        for name, value in part._buffers.items():
            if before + name not in found.saved:
                found.held[before + name] = _copied(value)
        for name, value in vars(part).items():
            if name.endswith("_hooks") and isinstance(value, dict):
                found.form[f"the number of `{before}{name}`"] = len(value)
            elif name not in _OWN and name not in left_out and "hooks" not in name:
                found.held.update(leaves(value, before + name))
    found.random["the random state of torch"] = torch.get_rng_state()
    found.random["the random state of Python"] = random.getstate()
    if (state := numpy_state.random_state()) is not None:
        found.random["the random state of numpy"] = state
    return found


def _copied(value: Any) -> Any:
    if is_lazy(value):
        return "not sized yet"
    return value.detach().clone() if isinstance(value, torch.Tensor) else value


def leaves(value: Any, key: str, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """The values inside of an attribute, each under a key of its own; of what is not known, only the kind."""
    if isinstance(value, torch.nn.Module):
        return
    if isinstance(value, torch.Tensor):
        yield key, _copied(value)
    elif isinstance(value, PLAIN):
        yield key, value
    elif isinstance(value, Mapping) and depth < _DEPTH:
        yield f"{key}: keys", [str(name) if isinstance(name, PLAIN) else type(name).__name__ for name in value]
        for place, item in enumerate(value.values()):
            yield from leaves(item, f"{key}[{place}]", depth + 1)
    elif isinstance(value, (tuple, list)) and depth < _DEPTH:
        yield f"{key}: length", (type(value).__qualname__, len(value))
        for place, item in enumerate(value):
            yield from leaves(item, f"{key}[{place}]", depth + 1)
    elif isinstance(value, (set, frozenset)) and all(isinstance(item, PLAIN) for item in value):
        yield key, sorted(map(repr, value))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type) and depth < _DEPTH:
        for each in dataclasses.fields(value):
            yield from leaves(getattr(value, each.name, None), f"{key}.{each.name}", depth + 1)
    else:
        yield f"{key}: kind", type(value).__qualname__


def differences(before: Constructed, after: Constructed, gained: frozenset[str]) -> dict[str, str]:
    """Describe the differences of two inventories, by key. What is ``gained``, and new attributes, are none."""
    found: dict[str, str] = {}
    for table in ("parameters", "saved", "held", "form", "random"):
        ours, theirs = getattr(before, table), getattr(after, table)
        for key, value in ours.items():
            problem = "is gone after"
            if key in theirs and not (table == "held" and _rounded(value, theirs[key])):
                problem = trial.differ(value, theirs[key])[0]
            elif key in theirs:
                problem = ""
            if problem and table == "random":
                found[key] = f"{key} differs once the module is constructed"
            elif problem:
                words = key if table == "form" else f"`{key}`"
                found[key] = f"{words} of the constructed module {problem}"
    order = [name for name in after.parameters if name not in gained]
    if list(before.parameters) != order and set(before.parameters) == set(order):
        found["the order of parameters"] = "the order of the constructed module's parameters differs"
    saved = [name for name in after.saved if name not in gained]
    if list(before.saved) != saved and set(before.saved) == set(saved):
        found["the order of buffers"] = "the order of the constructed module's buffers differs"
    return found


def changed_arguments(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Describe how one constructor alone changed its arguments. A name that one alone asked for is left out."""
    ours, theirs = ({name: dict(_inside(value, name)) for name, value in each.items()} for each in (before, after))
    for name in ours.keys() & theirs.keys():
        for key in sorted(ours[name].keys() & theirs[name].keys()):
            if problem := trial.differ(ours[name][key], theirs[name][key])[0]:
                return f"once the module is constructed, its argument `{key}` {problem}"
        if not isinstance(before[name], Answers) and ours[name].keys() != theirs[name].keys():
            return f"once the module is constructed, its argument `{name}` holds other names"
    return ""


def _inside(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """The leaves of an argument; of an object, those of its attributes."""
    if hasattr(value, "__dict__") and not isinstance(value, (torch.nn.Module, type, torch.Tensor)):
        for name, item in vars(value).items():
            yield from leaves(item, f"{key}.{name}")
    else:
        yield from leaves(value, key)


def _rounded(left: Any, right: Any) -> bool:
    """Tell whether both are plain floats that few roundings put apart: what they do to the results, the trials tell."""
    return type(left) is type(right) is float and math.isclose(left, right, rel_tol=4 * sys.float_info.epsilon)


def given_up(before: ast.Module, after: ast.Module) -> frozenset[tuple[str, str]]:
    """Classes and the attributes that they read before, and that nothing mentions after which could mean theirs.

    Nothing but this file can have needed what it keeps for its own use: who ends the use may end the keeping.
    """
    remaining = {node.name: node for node in ast.walk(after) if isinstance(node, ast.ClassDef)}
    elsewhere = {name for name, is_own in _mentioned(after) if not is_own}
    found: set[tuple[str, str]] = set()
    for cls in ast.walk(before):
        if not isinstance(cls, ast.ClassDef) or cls.name not in remaining:
            continue
        read = {
            node.attr for node in ast.walk(cls) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
        }
        related = [node for node in remaining.values() if node.name == cls.name or _names(node.bases, cls.name)]
        kept = elsewhere.union(*({name for name, _ in _mentioned(node)} for node in related))
        found.update((cls.name, name) for name in read - kept)
    return frozenset(found)


def _mentioned(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """The attributes and strings in some code; the second is true for attributes of ``self``."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name("self"), attr=name):
                yield name, True
            case ast.Attribute(attr=name) | ast.Constant(value=str(name)):
                yield name, False


def _names(nodes: list[ast.expr], name: str) -> bool:
    return any(isinstance(node, ast.Name) and node.id == name for each in nodes for node in ast.walk(each))


def _left_out(part: Any, without: frozenset[tuple[str, str]]) -> frozenset[str]:
    classes = {cls.__name__ for cls in type(part).__mro__}
    return frozenset(name for owner, name in without if owner in classes)


def changed_form(
    before: Any, after: Any, own: tuple[str, str], without: frozenset[tuple[str, str]], *, keeps_names: bool
) -> str:
    """In words, what code that uses the class could tell apart by name; "" where there is nothing.

    These are the signatures of public methods, public names but those ``without``, and a ``repr`` that works. ``own``
    are the names of the two texts' modules: of what other files define, both texts have the same. With
    ``keeps_names``, after may have no public names of its own either.
    """
    parts = dict(after.named_modules(remove_duplicate=False))
    known: set[type] = set()
    for path, part in before.named_modules(remove_duplicate=False):
        cls = type(part)
        other = parts.get(path)
        if isinstance(part, targets.FunctionModule) and isinstance(other, targets.FunctionModule):
            if _signature(part.function) != _signature(other.function):
                return f"the signature of {part.function.__name__} differs"
            continue
        if other is None or cls in known or cls.__module__ != own[0]:
            continue
        known.add(cls)
        told = type(other)
        if (told.__qualname__, told.__module__) != (cls.__qualname__, own[1]):
            return f"{path or 'the module'} is a {cls.__qualname__} before and a {type(other).__qualname__} after"
        names = set(dir(part)) - set(dir(other)) - _left_out(part, without)
        lost = sorted(name for name in names if not name.startswith("_"))
        more = sorted(name for name in set(dir(other)) - set(dir(part)) if not name.startswith("_"))
        if more and keeps_names:
            return f"{cls.__qualname__} has {more[0]} besides"
        if lost:
            return f"{cls.__qualname__} has no {lost[0]} any more"
        for name in ("__init__", *(name for name in dir(cls) if not name.startswith("_"))):
            ours, theirs = (inspect.getattr_static(each, name, None) for each in (cls, type(other)))
            if ours is theirs:  # both inherit it
                continue
            if type(ours) is not type(theirs):
                return (
                    f"{cls.__qualname__}.{name} is a {type(ours).__name__} before and a {type(theirs).__name__} after"
                )
            if _signature(ours) != _signature(theirs):
                return f"the signature of {cls.__qualname__}.{name} differs"
    if (why := _unprintable(after)) and not _unprintable(before):
        return f"only after, the module's repr raises {why}"
    return ""


def _signature(thing: Any) -> list[tuple[Any, ...]]:
    """Names, kinds and defaults of the parameters; nothing for what has none."""
    function = thing.__func__ if isinstance(thing, (staticmethod, classmethod)) else thing
    if not inspect.isfunction(function):
        return []
    try:
        parameters = inspect.signature(function).parameters.values()
    except (ValueError, TypeError):
        return []
    return [(each.name, each.kind, _default(each.default)) for each in parameters]


def _default(value: Any) -> Any:
    if isinstance(value, PLAIN):
        return type(value).__name__, repr(value)
    if isinstance(value, (tuple, list)):
        return type(value).__name__, [_default(item) for item in value]
    return getattr(value, "__qualname__", type(value).__qualname__)


def _unprintable(module: Any) -> str:
    try:
        repr(module)
    except (Exception, stubs.StubTouched) as error:  # whatever extra_repr raises
        return type(error).__name__
    return ""


class _Drawing(TorchFunctionMode):
    """Notes the results of random draws. Draws whose place is in ``apart`` leave the random state alone."""

    def __init__(self, apart: frozenset[int]) -> None:
        super().__init__()
        self.apart = apart
        self.drawn: list[Any] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        state = torch.get_rng_state()
        result = func(*args, **(kwargs or {}))
        if not torch.equal(state, torch.get_rng_state()):
            if len(self.drawn) in self.apart:
                torch.set_rng_state(state)
            self.drawn.append(result)
        return result


def built_without_draws(make: Callable[[], Any], names: frozenset[str]) -> tuple[Constructed, bool]:
    """The inventory of a module that ``make`` builds as if the parameters of these names drew no random numbers.

    The second is true where each draw fills a parameter, so that it is known for which one it was made.
    """
    with _Drawing(frozenset()) as drawing:
        module = make()
    places = {value.data_ptr(): name for name, value in module.named_parameters() if not is_lazy(value)}
    owners = [places.get(made.data_ptr(), "") if isinstance(made, torch.Tensor) else "" for made in drawing.drawn]
    apart = frozenset(place for place, owner in enumerate(owners) if owner in names)
    with _Drawing(apart):
        return inventory(make()), all(owners)
