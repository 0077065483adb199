"""Changes a plan by which a class could not be built or called, by what the error says of it."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator, Sequence
from typing import Any

from msgspec.structs import replace

from mha_lint.validation.child.imports import Loaded
from mha_lint.validation.search import learning
from mha_lint.validation.search.parameters import Context, parameters_of, required_value
from mha_lint.validation.search.plan import SIZES, OpenConfig, Plan
from mha_lint.validation.search.reading import attributes_set, nodes_of
from mha_lint.validation.search.vocabulary import Sizing, role_of, value_of


def completed(plan: Plan, names: Sequence[str], error: BaseException, loaded: Loaded) -> Iterator[Plan]:
    """The plan with another answer of its configuration to one of ``names``, which an error is about."""
    is_sequence = re.search("subscriptable|iterable|unpack|has no len", str(error))
    key = error.args[0] if isinstance(error, KeyError) and error.args else None
    known = learning.keys_of_tables(error, loaded)
    lacking = learning.keys_asked_for(error, loaded.pseudo, loaded.tree) if "NoneType" in str(error) else []
    for parameter, config in plan.arguments.items():
        if not isinstance(config, OpenConfig):
            continue
        others: dict[str, list[Any]] = {}
        for name in names:
            current = config.answer(name)
            if known and (current == key or (isinstance(current, list) and key in current)):
                others[name] = [text if current == key else [text] * len(current) for text in known]
            elif isinstance(current, dict) and key is not None:
                others[name] = [{**current, key: value} for value in (1.0, plan.sizing.head_dim)]
            elif isinstance(current, dict) and lacking:
                others[name] = [{**current, **{asked: _entry(asked, plan.sizing) for asked in lacking}}]
            elif isinstance(current, (bool, int)) and is_sequence:
                others[name] = [[current or plan.sizing.width] * 4]
            elif current is False or (current is None and name in config.nullable):
                others[name] = [plan.sizing.head_dim, plan.sizing.width, 2, 1, None]
        for place in range(5):
            changes = {name: values[place] for name, values in others.items() if place < len(values)}
            together = [changes] if len(changes) > 1 else []
            for change in [*({name: value} for name, value in changes.items()), *together]:
                yield plan.with_argument(parameter, replace(config, overrides={**config.overrides, **change}))


def _entry(key: str, sizing: Sizing) -> Any:
    """The number that a table of settings conventionally has under this key."""
    role = role_of(key)
    return value_of(role, sizing) if role in (*SIZES, "theta", "count", "rank") else 1.0


_ABSENT_SIZES = frozenset(
    "space window length width head_dim ratio kernel heads kv_heads mlp rank count experts".split()
)
_FLIPPED = 6  # flags, and sizes that are absent, that one error of a constructor is worth


def mended(cls: type, plan: Plan, error: BaseException, loaded: Loaded) -> Iterator[Plan]:
    """The plan changed so that a constructor may not raise ``error`` again.

    Arguments that it passes on and that are lacking get values. Of the parameters that the statement is about which
    raised, each flag is the other way round, each size that is absent by default is given, and a sequence that is too
    short for what is asked of it is as long as several.
    """
    context = Context(loaded.module, loaded.tree, {})
    lacking = learning.lacking(error)
    if lacking and _passes_on(cls):
        items = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in lacking]
        values = {item.name: required_value(item, role_of(item.name), plan.sizing, context) for item in items}
        yield replace(plan, arguments={**plan.arguments, **values})
        return
    blamed = learning.blamed(error, loaded.pseudo, _constructor(cls, loaded.tree))
    if isinstance(error, IndexError):
        yield from _lengthened(cls, plan, blamed)
    yield from _changed(cls, plan, blamed)


def _lengthened(cls: type, plan: Plan, names: Sequence[str]) -> Iterator[Plan]:
    """The plan with each sequence of these names repeated: one setting for each head, or for each layer."""
    for item in parameters_of(cls):
        current = plan.arguments.get(item.name, item.default)
        if item.name in names and isinstance(current, (tuple, list)) and current:
            yield plan.with_argument(item.name, current * 4)


def _changed(cls: type, plan: Plan, names: Sequence[str]) -> Iterator[Plan]:
    """The plan with each flag of these names the other way round, and with each size or flag that is absent."""
    known = {item.name: item for item in parameters_of(cls)}
    absent: dict[str, Any] = {}
    changes: list[dict[str, Any]] = []
    for name in names:
        if name not in known:
            continue
        current = plan.arguments.get(name, known[name].default)
        role = role_of(name)
        if isinstance(current, bool):
            changes.append({name: not current})
        elif current is None and role in _ABSENT_SIZES:
            absent[name] = value_of(role, plan.sizing)
            changes.append({name: absent[name]})
            if role in ("space", "window"):
                changes.append({name: (absent[name], absent[name])})
        elif current is None and (not role or "bool" in str(known[name].annotation)):
            absent[name] = False
            changes += [{name: False}, {name: True}]
    together = [absent] if len(absent) > 1 else []
    for change in [*together, *changes[:_FLIPPED]]:
        yield replace(plan, arguments={**plan.arguments, **change})


def with_parts(cls: type, plan: Plan, error: BaseException, loaded: Loaded) -> Iterator[Plan]:
    """The plan changed so that the object has the parts that a call used in vain.

    A part is lacking where its attribute is None, or was never set. The conditions under which the class sets it name
    the arguments that decide it, or other parts that do.
    """
    parts = learning.parts_lacking(error, loaded.pseudo, loaded.tree)
    deciding: dict[str, None] = {}
    for _ in range(2):
        deciding |= dict.fromkeys(name for part in parts for name in _conditions_of(part, cls, loaded.tree))
        parts = set(deciding)
    yield from _changed(cls, plan, list(deciding))


def _conditions_of(part: str, cls: type, tree: ast.Module) -> Iterator[str]:
    """The names that the conditions read under which a class of the file sets an attribute."""
    bases = {base.__name__ for base in cls.__mro__}
    for body in [node for node in nodes_of(tree) if isinstance(node, ast.ClassDef) and node.name in bases]:
        for node in nodes_of(body):
            match node:
                case ast.If(test=test) | ast.Assign(value=ast.IfExp(test=test)) if part in attributes_set(node):
                    yield from _names_in(test)


def _names_in(test: ast.expr) -> Iterator[str]:
    """The names and the attributes that a condition reads, those that it asks for by ``getattr`` among them."""
    for node in nodes_of(test):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name):
                yield name
            case ast.Call(func=ast.Name("getattr" | "hasattr"), args=[_, ast.Constant(str(name)), *_]):
                yield name


def _passes_on(cls: type) -> bool:
    """Tell whether the constructor takes keywords that it does not name."""
    try:
        signature = inspect.signature(cls)
    except (ValueError, TypeError):
        return False
    return any(item.kind is inspect.Parameter.VAR_KEYWORD for item in signature.parameters.values())


def _constructor(cls: type, tree: ast.Module) -> ast.FunctionDef | None:
    """The source of the constructor, the class's own or one inherited within the file."""
    bodies = {node.name: node for node in nodes_of(tree) if isinstance(node, ast.ClassDef)}
    for base in cls.__mro__:
        for node in bodies[base.__name__].body if base.__name__ in bodies else ():
            if isinstance(node, ast.FunctionDef) and node.name == "__init__":
                return node
    return None
