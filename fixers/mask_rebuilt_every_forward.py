"""MHA204: register the mask as a buffer that is not part of the state_dict."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mha_lint.findings import Fix
from mha_lint.fixers.arguments import written_arguments
from mha_lint.model.values import Layer, Tensor, Value
from mha_lint.syntax.nodes import Function, dotted, last_name, receiver, walk
from mha_lint.syntax.usage import stored
from mha_lint.syntax.words import names_in

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.rules.base import Hit
    from mha_lint.rules.mask_rebuilt_every_forward import Rebuilt
    from mha_lint.syntax.exact import Exact
    from mha_lint.syntax.names import ClassInfo

_NAME = "_causal_mask"  # no public name is new


def fix(hit: Hit[Rebuilt], context: Context) -> Fix | str:
    """Two edits: the buffer at the end of the constructor, and its name where the mask was made."""
    found, places = hit.evidence, context.places
    cls = context.model.names.class_of(found.cls)
    if found.block:
        return "a BlockMask is no tensor: let a function with `functools.lru_cache` make it by its length and device"
    if not found.boolean:
        return "a buffer of floats is cast by `.half()`, and this mask is float32 whatever the module is"
    if cls is None or "__init__" not in cls.methods or found.function not in cls.methods.values():
        return "the constructor and the method are not both written in the class"
    init = cls.methods["__init__"]
    refusal = _refusal(found, cls, init, context)
    if refusal:
        return refusal
    name = _free_name(cls, found.earlier, context)
    owner = receiver(init)
    value = _value(found.made, places)
    line = f'{owner}.register_buffer("{name}", {value}, persistent=False)'
    last = init.body[-1]
    edits = (
        places.lines_after(last, [line]),
        places.replace(found.made, f"{receiver(found.function)}.{name}"),
    )
    message = f"Register the mask as the buffer `{name}`, which is not part of the state_dict"
    return Fix("unsafe", "equivalent", message, edits)


def _free_name(cls: ClassInfo, earlier: int, context: Context) -> str:
    """A name for the buffer that the class, its bases and its heirs do not say, nor the ``earlier`` buffers have."""
    akin = [other for other in context.model.names.every_class if cls in other.lineage or other in cls.lineage]
    taken = {name for other in akin for name in names_in(other.node)}
    numbered = (f"{_NAME}_{number}" for number in itertools.count(2))
    free = (name for name in itertools.chain([_NAME], numbered) if name not in taken)
    return next(itertools.islice(free, earlier, None))


def _refusal(found: Rebuilt, cls: ClassInfo, init: Function, context: Context) -> str:
    """Why the mask can't be made in the constructor; "" where it can."""
    places, made = context.places, found.made
    if receiver(init) != receiver(found.function):
        return "the constructor has another name for the object"
    if any(isinstance(node, ast.Return) for node in walk(*init.body)):
        return "the constructor may return before its end"
    if not any(isinstance(node, ast.Call) and last_name(node.func) == "__init__" for node in walk(*init.body)):
        return "the constructor does not call that of its base class"
    if any(isinstance(each, ast.Name) and each.id in _locals(found.function) for each in _read(made)):
        return "the expression names variables of the method"
    if not (_devices(made) or _is_moved(made, places)):
        return "the mask is made on the default device, and not on that of the module"
    if not any(
        _lives_with_it(value) for state in context.model.model_of(cls).built for value in state.attributes.values()
    ):
        return "the module has no parameters of its own: nobody may have moved it to where its inputs are"
    attributes = {node.attr for node in walk(made) if isinstance(node, ast.Attribute)}
    for other in context.model.names.every_class:
        changed = other is not cls and cls in other.lineage and attributes & _assigned(other)
        if changed:
            return f"`{other.name}` sets what the mask is made of after the constructor that would make it"
    if _is_written_to(made, found.function, places):
        return "the code writes into the mask"
    return ""


def _lives_with_it(value: Value) -> bool:
    """Tell whether an attribute holds parameters, which are moved to the device of the inputs."""
    match value:
        case Layer(width_out=width):
            return width is not None
        case Tensor(roles=roles):
            return "parameter" in roles
        case _:
            return False


def _read(made: ast.expr) -> Iterator[ast.AST]:
    """The nodes of an expression, but for the devices that it names."""
    away = {id(node) for device in _devices(made) for node in walk(device.value)}
    return (node for node in walk(made) if id(node) not in away)


def _devices(made: ast.expr) -> list[ast.keyword]:
    calls = [node for node in walk(made) if isinstance(node, ast.Call)]
    return [word for call in calls for word in call.keywords if word.arg == "device"]


def _is_moved(made: ast.expr, places: Exact) -> bool:
    """Tell whether the mask goes to another device right where it is made."""
    for parent in places.parents(made):
        if isinstance(parent, ast.stmt):
            return False
        if isinstance(parent, ast.Call) and last_name(parent.func) in ("to", "type_as", "cuda"):
            return True
    return False


def _locals(function: Function) -> set[str]:
    given = {node.arg for node in walk(function.args) if isinstance(node, ast.arg)}
    return (stored(function) | given) - {receiver(function)}


def _assigned(cls: ClassInfo) -> set[str]:
    nodes = walk(cls.node)
    return {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}


def _is_written_to(made: ast.expr, function: Function, places: Exact) -> bool:
    """Tell whether the method writes into the tensor, or into one of its views, by one of their names."""
    names = _named_with(made, function, places)
    for node in walk(function):
        match node:
            case ast.Call(func=ast.Attribute(value=owner, attr=method)) if method.endswith("_") and method[-2:] != "__":
                if made in walk(owner) or _root(owner) in names:
                    return True
            case ast.AugAssign(target=target) if _root(target) in names:
                return True
            case ast.Subscript(value=inner, ctx=ast.Store()) if _root(inner) in names:
                return True
            case ast.keyword(arg="out", value=value) if _root(value) in names:
                return True
    return False


def _named_with(made: ast.expr, function: Function, places: Exact) -> set[str]:
    """The names that hold the tensor, or what is made of it."""
    names: set[str] = set()
    before = -1
    while len(names) > before:
        before = len(names)
        for node in walk(function):
            match node:
                case ast.Assign(targets=targets, value=value):
                    inside = set(walk(value))
                    if made in inside or any(isinstance(each, ast.Name) and each.id in names for each in inside):
                        names |= {each.id for each in targets if isinstance(each, ast.Name)}
    return names


def _root(node: ast.expr) -> str:
    """The name that a chain of methods, attributes and subscripts begins with."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return dotted(node) or ""


def _value(made: ast.expr, places: Exact) -> str:
    """The text of the expression without the device: a buffer is on that of its module."""
    start, _ = places.span(made)
    text = places.source(made).encode()
    for word in sorted(_devices(made), key=lambda each: places.span(each)[0], reverse=True):
        call = next(node for node in walk(made) if isinstance(node, ast.Call) and word in node.keywords)
        arguments = written_arguments(call)
        at = arguments.index(word)
        begin, end = places.span(word)
        if at > 0:
            begin = places.span(arguments[at - 1])[1]
        elif len(arguments) > 1:
            end = places.span(arguments[1])[0]
        text = text[: begin - start] + text[end - start :]
    return text.decode()
