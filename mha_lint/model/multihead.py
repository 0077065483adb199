"""Calls of layers that are surely torch's own ``nn.MultiheadAttention``, told by all that the file says of them."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from msgspec import Struct, field

from mha_lint.syntax.names import ClassInfo, ModuleNames
from mha_lint.syntax.nodes import Function, dotted, last_name, walk

NAME = "MultiheadAttention"
_FULL = (f"torch.nn.{NAME}", f"torch.nn.modules.{NAME}", f"torch.nn.modules.activation.{NAME}")
_LISTS = ("torch.nn.ModuleList", "torch.nn.modules.container.ModuleList")
_BY_NAME = ("add_module", "register_module", "setattr", "__setattr__")


class MultiheadCall(Struct, frozen=True):
    """A call of such a layer, the function that makes it, and the calls by which the layer is made."""

    call: ast.Call
    function: Function
    symbol: str
    made: tuple[ast.Call, ...]


class _Attribute(Struct):
    """What the classes give an attribute: layers, lists of such, or something else."""

    layers: list[ast.Call] = field(default_factory=list)
    in_lists: list[ast.Call] = field(default_factory=list)
    another: bool = False

    @property
    def made(self) -> tuple[ast.Call, ...]:
        return () if self.another or self.in_lists else tuple(self.layers)

    @property
    def made_of_items(self) -> tuple[ast.Call, ...]:
        return () if self.another or self.layers else tuple(self.in_lists)


def calls(names: ModuleNames) -> Iterator[MultiheadCall]:
    """Yield the calls in the methods of a module's classes, and in its functions."""
    if NAME not in names.module.text:
        return
    elsewhere = _set_from_outside(names)
    for cls in names.every_class:
        attributes = _attributes(cls, names, elsewhere)
        for name, method in cls.methods.items():
            yield from _calls_in(method, f"{cls.name}.{name}", attributes, cls.home)
    for name, function in names.functions.items():
        yield from _calls_in(function, name, {}, names)


def _calls_in(
    function: Function, symbol: str, attributes: dict[str, _Attribute], home: ModuleNames
) -> Iterator[MultiheadCall]:
    variables: dict[str, tuple[ast.Call, ...]] = {}
    for node in walk(function):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id not in variables:
            variables[node.func.id] = _variable(node.func.id, function, attributes, home)
        made = _called(node.func, attributes, variables)
        if made:
            yield MultiheadCall(node, function, symbol, made)


def _called(
    callee: ast.expr, attributes: dict[str, _Attribute], variables: dict[str, tuple[ast.Call, ...]]
) -> tuple[ast.Call, ...]:
    """The calls that make the layer which is called; none where it may be something else."""
    match callee:
        case ast.Name(id=name):
            return variables[name]
        case ast.Attribute(value=ast.Name(id="self"), attr=name) if name in attributes:
            return attributes[name].made
        case ast.Subscript(value=ast.Attribute(value=ast.Name(id="self"), attr=name), slice=index) if (
            name in attributes
        ):
            return () if isinstance(index, ast.Slice) else attributes[name].made_of_items
        case _:
            return ()


def _variable(
    name: str, function: Function, attributes: dict[str, _Attribute], home: ModuleNames
) -> tuple[ast.Call, ...]:
    """The calls that make the layer which a variable holds, wherever the function gives it a value."""
    found: list[ast.Call] = []
    for node in walk(function):
        if isinstance(node, ast.arg) and node.arg == name:
            return ()
        if not isinstance(node, ast.Name) or node.id != name or isinstance(node.ctx, ast.Load):
            continue
        made = _given(node, function, attributes, home)
        if not made:
            return ()
        found += made
    return tuple(found)


def _given(
    target: ast.Name, function: Function, attributes: dict[str, _Attribute], home: ModuleNames
) -> tuple[ast.Call, ...]:
    """The layers that one statement gives a variable: one that it makes, or those of a list in turn."""
    for statement in walk(function):
        match statement:
            case ast.Assign(targets=[each], value=ast.Call() as made) if each is target and _is_made(made, home):
                return (made,)
            case ast.For(target=each, iter=listed) if each is target:
                return _items_of(listed, attributes)
            case ast.For(
                target=ast.Tuple(elts=[_, each]), iter=ast.Call(func=ast.Name("enumerate"), args=[listed])
            ) if each is target:
                return _items_of(listed, attributes)
    return ()


def _items_of(listed: ast.expr, attributes: dict[str, _Attribute]) -> tuple[ast.Call, ...]:
    match listed:
        case ast.Attribute(value=ast.Name(id="self"), attr=name) if name in attributes:
            return attributes[name].made_of_items
        case _:
            return ()


# --- what attributes are given ---------------------------------------------------------------------------------------


def _attributes(cls: ClassInfo, names: ModuleNames, elsewhere: set[str]) -> dict[str, _Attribute]:
    """What the class, its bases and the classes that are made of it give each attribute of an object."""
    akin = dict.fromkeys(cls.lineage)
    akin.update(dict.fromkeys(other for other in names.every_class if cls in other.lineage))
    found: dict[str, _Attribute] = {name: _Attribute(another=True) for name in elsewhere}
    for each in akin:
        for node in walk(each.node):
            for name, value in _settings(node):
                _note(found.setdefault(name, _Attribute()), value, each.home)
    return found


def _settings(node: ast.AST) -> Iterator[tuple[str, ast.expr | None]]:
    """The attributes of the object that a statement sets, each with its value, where that is plain."""
    match node:
        case ast.Assign(targets=[target], value=value) | ast.AnnAssign(target=target, value=ast.expr() as value):
            own = _own(target)
            if own is not None:
                yield own, value
                return
    targets: list[ast.expr] = []
    if isinstance(node, (ast.Assign, ast.Delete)):
        targets = list(node.targets)
    elif isinstance(node, (ast.AugAssign, ast.For, ast.NamedExpr)):
        targets = [node.target]
    for target in targets:
        for part in walk(target):
            own = _own(part)
            if own is not None:
                yield own, None
    if isinstance(node, ast.Call):
        yield from ((name, None) for name in _named_in(node))
        if isinstance(node.func, ast.Attribute) and node.func.attr in ("append", "extend", "insert"):
            own = _own(node.func.value)
            if own is not None:
                yield own, None


def _own(node: ast.AST) -> str | None:
    match node:
        case ast.Attribute(value=ast.Name(id="self"), attr=name):
            return name
        case _:
            return None


def _named_in(node: ast.Call) -> Iterator[str]:
    """The names that a call sets by a string: ``self.add_module("attend", layer)``."""
    if last_name(node.func) not in _BY_NAME:
        return
    for given in node.args:
        if isinstance(given, ast.Constant) and isinstance(given.value, str):
            yield given.value


def _note(attribute: _Attribute, value: ast.expr | None, home: ModuleNames) -> None:
    match value:
        case ast.Constant(None):
            return
        case ast.IfExp(body=first, orelse=second):
            _note(attribute, first, home)
            _note(attribute, second, home)
        case ast.Call() if _is_made(value, home):
            attribute.layers.append(value)
        case ast.Call(args=[listed], keywords=[]) if home.qualify(value.func) in _LISTS:
            made = list(_listed(listed, home))
            attribute.in_lists += made
            attribute.another = attribute.another or not made
        case _:
            attribute.another = True


def _listed(listed: ast.expr, home: ModuleNames) -> Iterator[ast.Call]:
    """The calls that make the items of a list, where each of them makes such a layer."""
    match listed:
        case ast.ListComp(elt=ast.Call() as made) | ast.GeneratorExp(elt=ast.Call() as made):
            items: list[ast.expr] = [made]
        case ast.List(elts=items) | ast.Tuple(elts=items):
            pass
        case _:
            return
    found = [item for item in items if isinstance(item, ast.Call) and _is_made(item, home)]
    if len(found) == len(items):
        yield from found


def _is_made(call: ast.Call, home: ModuleNames) -> bool:
    return home.qualify(call.func) in _FULL


def _set_from_outside(names: ModuleNames) -> set[str]:
    """The names of attributes that the module sets on objects other than ``self``."""
    found: set[str] = set()
    for node in walk(names.module.tree):
        if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load) and dotted(node.value) != "self":
            found.add(node.attr)
    return found
