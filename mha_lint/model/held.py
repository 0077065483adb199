"""The classes of the objects that an expression may stand for, as far as constructors and assignments tell."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cached_property

from msgspec import Struct, field

from mha_lint.syntax.names import ClassInfo, Definition, ModuleNames
from mha_lint.syntax.nodes import FUNCTIONS, Function, argument, every_parameter, is_static, last_name, receiver, walk

MOST_CLASSES = 16  # of the objects that one expression may stand for
_MOST_STEPS = 64  # expressions that are read for one question
_SETTER = "set_"  # ``self.set_processor(p)`` sets ``self.processor``
_LIST = frozenset({"append", "extend", "insert", "add_module", "register_module"})


class Place(Struct, eq=False, dict=True):
    """A function, the class whose objects it is a method of, if any, and the module that it belongs to."""

    node: Function
    cls: ClassInfo | None
    home: ModuleNames

    @cached_property
    def receiver(self) -> str:
        """The name of the object; empty in a function."""
        return "" if self.cls is None or is_static(self.node) else receiver(self.node)

    @cached_property
    def parameters(self) -> list[str]:
        return [each.arg for each in every_parameter(self.node)]

    @cached_property
    def bound(self) -> dict[str, list[ast.expr]]:
        """The expressions that local names are bound to, or to items of which."""
        found: dict[str, list[ast.expr]] = {}
        for target, value in _bindings(self.node):
            for name in names_bound(target):
                found.setdefault(name, []).append(value)
        return found


class Held(Struct, eq=False):
    """Keep what classes hold under their attributes; each constructor is read once."""

    _attributes: dict[ClassInfo, dict[str, list[tuple[ast.expr, Place]]]] = field(default_factory=dict)
    _built: dict[ModuleNames, dict[str, list[tuple[ast.Call, Place]]]] = field(default_factory=dict)
    _known: dict[ast.expr, list[ClassInfo]] = field(default_factory=dict)

    def attributes(self, cls: ClassInfo) -> dict[str, list[tuple[ast.expr, Place]]]:
        """The expressions that constructors, and bodies of classes, give attributes, and where these stand."""
        found = self._attributes.get(cls)
        if found is None:
            found = self._attributes[cls] = {}
            for info in reversed(cls.lineage):
                node = info.methods.get("__init__")
                if node is not None:
                    place = Place(node, cls, info.home)
                    for name, value in (*info.constants.items(), *_kept(place)):
                        found.setdefault(name, []).append((value, place))
        return found

    def classes(self, node: ast.expr, place: Place) -> list[ClassInfo]:
        """The classes of the objects that an expression may stand for, itself or in what it holds."""
        if node not in self._known:
            self._known[node] = []  # as long as it is being read: a name may be bound to what comes of itself
            self._known[node] = self._read(node, place)
        return self._known[node]

    def _read(self, node: ast.expr, place: Place) -> list[ClassInfo]:
        found: dict[ClassInfo, None] = {}
        waiting: list[tuple[ast.expr, Place]] = [(node, place)]
        seen: set[ast.expr] = set()
        while waiting and len(seen) < _MOST_STEPS:
            current, where = waiting.pop()
            if current in seen:
                continue
            seen.add(current)
            known = self._class(current, where)
            if known is not None:
                found[known] = None
            else:
                waiting += self._parts(current, where)
        return list(found) if len(found) <= MOST_CLASSES else []

    def _class(self, node: ast.expr, place: Place) -> ClassInfo | None:
        """The class that an expression names, calls, or is an object of."""
        if isinstance(node, ast.Call):
            node = node.func
        if isinstance(node, ast.Name):
            if node.id == place.receiver:
                return place.cls
            is_local = node.id in place.bound or node.id in place.parameters
            return None if is_local else class_named(place.home, node.id)
        if isinstance(node, ast.Attribute):
            full = place.home.qualify(node)
            found = None if full is None else place.home.definition(full)
            value = found.value if isinstance(found, Definition) else None
            return value if isinstance(value, ClassInfo) else None
        return None

    def _parts(self, node: ast.expr, place: Place) -> list[tuple[ast.expr, Place]]:
        """The expressions whose objects an expression may give."""
        match node:
            case ast.Name(id=name) if name in place.bound or name in place.parameters:
                return [*((value, place) for value in place.bound.get(name, ())), *self._built_with(name, place)]
            case ast.Name(id=name) if name in place.home.constants:
                return [(place.home.constants[name], place)]
            case ast.Attribute(value=value, attr=name):
                owners = self.classes(value, place)
                return [each for owner in owners for each in self.attributes(owner).get(name, ())]
            case ast.Subscript(value=value) | ast.Starred(value=value):
                return [(value, place)]
            case ast.Call(func=function, args=args, keywords=keywords):
                given = [*args, *(keyword.value for keyword in keywords)]
                of: list[ast.expr] = [function]
                if isinstance(function, ast.Attribute) and last_name(function.value) != place.receiver:
                    of.append(function.value)  # ``self.layers.values()``
                return [(each, place) for each in (*given, *of)]
            case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Dict(values=items) | ast.BoolOp(values=items):
                return [(item, place) for item in items]
            case ast.ListComp(elt=item) | ast.GeneratorExp(elt=item) | ast.DictComp(value=item):
                return [(item, place)]
            case ast.IfExp(body=body, orelse=orelse):
                return [(body, place), (orelse, place)]
            case _:
                return []

    def _built_with(self, name: str, place: Place) -> list[tuple[ast.expr, Place]]:
        """Return what constructors of the file give a parameter of another constructor."""
        if place.node.name != "__init__" or place.cls is None or name not in place.parameters:
            return []
        found = []
        index = place.parameters.index(name) - 1
        for call, where in self._constructions(place.home).get(place.cls.name, ()):
            given = argument(call, index, name)
            if given is not None:
                found.append((given, where))
        return found

    def _constructions(self, home: ModuleNames) -> dict[str, list[tuple[ast.Call, Place]]]:
        """The calls of classes in the constructors of a module, by the names of what they call."""
        found = self._built.get(home)
        if found is None:
            found = self._built[home] = {}
            for cls in home.every_class:
                node = cls.methods.get("__init__")
                place = None if node is None else Place(node, cls, home)
                for each in () if place is None else walk(place.node):
                    if place is not None and isinstance(each, ast.Call) and isinstance(each.func, ast.Name):
                        found.setdefault(each.func.id, []).append((each, place))
        return found

    def called(self, node: ast.expr, place: Place) -> list[tuple[Function, ClassInfo | None]]:
        """The functions of the project that a call of an expression may run, with the class of a method's object."""
        if isinstance(node, ast.Name) and node.id not in place.bound and node.id not in place.parameters:
            function = function_named(place.home, node.id)
            if function is not None:
                return [(function, None)]
            if class_named(place.home, node.id) is not None:
                return []  # its constructor
        found: list[tuple[Function, ClassInfo | None]] = []
        if isinstance(node, ast.Attribute):
            owners = self.classes(node.value, place)
            found = [(method, owner) for owner in owners if (method := _method(owner, node.attr)) is not None]
        if not found:
            owners = self.classes(node, place)
            methods = [(_method(owner, "__call__"), owner) for owner in owners]
            found = [(method, owner) for method, owner in methods if method is not None]
        return found


def _method(cls: ClassInfo, name: str) -> Function | None:
    """The method that is run under a name; to call an object of torch is to run its ``forward``."""
    return (cls.method("forward") if name == "__call__" else None) or cls.method(name)


def class_named(home: ModuleNames, name: str) -> ClassInfo | None:
    """The class of the project that a name of a module stands for."""
    if name in home.classes:
        return home.classes[name]
    found = _imported(home, name)
    return found if isinstance(found, ClassInfo) else None


def function_named(home: ModuleNames, name: str) -> Function | None:
    """The function of the project that a name of a module stands for."""
    if name in home.functions:
        return home.functions[name]
    found = _imported(home, name)
    return found if isinstance(found, FUNCTIONS) else None


def _imported(home: ModuleNames, name: str) -> object:
    found = home.definition(home.imports[name]) if name in home.imports else None
    return found.value if isinstance(found, Definition) else None


def _kept(constructor: Place) -> Iterator[tuple[str, ast.expr]]:
    """The attributes of the object that a constructor sets, with what it sets them to, or puts into them."""
    owner = constructor.receiver
    for node in walk(constructor.node):
        match node:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    yield from _set(target, value, owner)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                yield from _set(target, value, owner)
            case ast.Call(
                func=ast.Attribute(value=ast.Attribute(value=ast.Name(id=name), attr=attribute), attr=method)
            ):
                if name == owner and method in _LIST:
                    for value in node.args:
                        yield attribute, value
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=method), args=[first, *more]) if (
                name == owner
            ):
                match first, more:
                    case ast.Constant(value=str(attribute)), [value, *_] if method == "register_buffer":
                        yield attribute, value
                    case value, [] if method.startswith(_SETTER):
                        yield method.removeprefix(_SETTER), value


def _set(target: ast.expr, value: ast.expr, owner: str) -> Iterator[tuple[str, ast.expr]]:
    match target:
        case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name == owner:
            yield attribute, value
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            for element, part in zip(elements, _parts_of(value, len(elements)), strict=True):
                yield from _set(element, part, owner)


def _parts_of(value: ast.expr, count: int) -> list[ast.expr]:
    """Return what each of so many targets is given: an item, or else something of the whole."""
    if isinstance(value, (ast.Tuple, ast.List)) and len(value.elts) == count:
        return value.elts
    return [value] * count


def _bindings(function: Function) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Targets, and what they are bound to; a list, and what is put into it."""
    for node in walk(*function.body):
        match node:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    yield target, value
            case ast.AnnAssign(target=target, value=ast.expr() as value) | ast.NamedExpr(target=target, value=value):
                yield target, value
            case ast.For(target=target, iter=value) | ast.comprehension(target=target, iter=value):
                yield target, value
            case ast.Call(func=ast.Attribute(value=ast.Name() as target, attr=method)) if method in _LIST:
                for value in node.args:
                    yield target, value


def names_bound(target: ast.expr) -> Iterator[str]:
    """The names that an assignment to a target binds, or changes."""
    match target:
        case ast.Name(id=name):
            yield name
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            for element in elements:
                yield from names_bound(element)
        case ast.Starred(value=value) | ast.Subscript(value=value):
            yield from names_bound(value)
