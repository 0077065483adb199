"""Who calls the modules of a file, and whether what these give is mapped linearly there."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cached_property

from mha_lint.model.attention import ClassModel, FileModel, is_module
from mha_lint.model.values import Instance, Layer, Repeated, Sequence, Value, tensors
from mha_lint.syntax.names import ClassInfo, ModuleNames
from mha_lint.syntax.nodes import children, last_name, walk
from mha_lint.vocabulary import KEEPS_MEANING, MAPS_LINEARLY, is_said

MOST_CALLERS = 8  # of one class, in other files
_ASKING = frozenset({"isinstance", "issubclass", "super"})
_LISTS = frozenset({"ModuleList", "ModuleDict", "append", "extend", "insert"})  # they hold layers, and call none

Family = frozenset[ClassInfo]


class Callers:
    """Those who call the modules of a file. What each class says is read once, for all of them."""

    def __init__(self, file: FileModel) -> None:
        self.file = file

    def project(self, cls: ClassInfo) -> bool:
        """Tell whether those who call a class map its output linearly, or may do so.

        In the file each of them has to. If nobody calls it there, one in another file of the package is enough.
        """
        family = self._family(cls)
        names = frozenset(each.name for each in family)
        if names & self._handed_on:
            return True  # who calls it, and with what, is unknown
        tables = {table for table, entries in self._tables.items() if entries & names}
        said = {other: self._said[other] for other in self._said if other not in family}
        if any(words & tables for words in said.values()):
            return True  # what is taken from a table is not known
        callers = [other for other, words in said.items() if words & names]
        if callers:
            return all(_may_map(self.file.model_of(caller), family, self.file) for caller in callers)
        return any(self._is_mapped_by(module, family, tables) for module in self._users(names | tables))

    def _family(self, cls: ClassInfo) -> Family:
        """The class, and those built on it that run its ``forward`` as it is."""
        forward = cls.methods.get("forward")
        return frozenset(each for each in self.file.names.every_class if each.method("forward") is forward) | {cls}

    # --- in the file -----------------------------------------------------------------------------------------------

    @cached_property
    def _said(self) -> dict[ClassInfo, frozenset[str]]:
        """The names that each module of the file says where it may call them, or hand them on."""
        return {cls: frozenset(_said(cls.node)) for cls in self.file.names.every_class if is_module(cls)}

    @cached_property
    def _handed_on(self) -> frozenset[str]:
        """The names of the classes whose objects a constant of the file gives to other ones."""
        values = self.file.names.constants.values()
        return frozenset(name for value in values for name in _given_to_others(value))

    @cached_property
    def _tables(self) -> dict[str, frozenset[str]]:
        """The constants of the file that hold classes: a dict, a list, or another name of one."""
        return {name: frozenset(_classes_in(value)) for name, value in self.file.names.constants.items()}

    # --- in other files --------------------------------------------------------------------------------------------

    def _users(self, names: frozenset[str] | set[str]) -> list[ModuleNames]:
        found = (module for name in sorted(names) for module in self.file.names.users(name))
        return list(dict.fromkeys(found))

    def _is_mapped_by(self, module: ModuleNames, family: Family, tables: set[str]) -> bool:
        """A class of another module maps the output of what it imports, or hands it to code that is not known."""
        bound = _imported(module, family)
        imported = {full.rpartition(".")[2] for full in module.imports.values()}
        if tables & imported:
            return True
        for cls in module.every_class[: 4 * MOST_CALLERS]:
            is_heir = not family.isdisjoint(cls.lineage)
            if not is_heir and bound.isdisjoint(_said(cls.node)):
                continue
            model = self.file.model_of(cls)
            if is_heir and "forward" in cls.methods and _maps(model):
                return True
            if not is_heir and _is_known_to_map(model, family, bound, self.file):
                return True
        return False


def _imported(module: ModuleNames, family: Family) -> set[str]:
    """The names that another module gives the classes."""
    named = {each.name for each in family}
    bound = {name for name, full in module.imports.items() if full.rpartition(".")[2] in named}
    bound |= named if module.stars else set()
    called = bound | {each.name for each in family if _says_of_a_module(module, each.name)}
    return {name for name in called if name not in module.classes}


def _says_of_a_module(module: ModuleNames, name: str) -> bool:
    """The module says ``layers.Attention``, an attribute of a module that it imports."""
    return any(
        isinstance(node, ast.Attribute) and node.attr == name and isinstance(module.qualify(node), str)
        for node in walk(module.module.tree)
    )


# --- names in code ---------------------------------------------------------------------------------------------------


def _said(cls: ast.ClassDef) -> Iterator[str]:
    """The names that a class says where they stand for objects: not as bases, in annotations, or to ask for a type."""
    waiting: list[ast.AST] = [*cls.body, *cls.decorator_list]
    while waiting:
        node = waiting.pop()
        match node:
            case ast.ClassDef():
                waiting += [*node.body, *node.decorator_list]
            case ast.Name(id=name):
                yield name
            case ast.Attribute(value=ast.Name(id=owner), attr=name):
                yield name
                if not owner[:1].isupper():  # ``Attention.forward`` is a function
                    yield owner
            case ast.Attribute(value=value, attr=name):
                yield name
                waiting.append(value)
            case ast.arg():
                pass
            case ast.AnnAssign(target=target, value=value):
                waiting += [target] if value is None else [target, value]
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                waiting += [node.args, *node.body, *node.decorator_list]
            case ast.Call(func=ast.Name(id=name)) if name in _ASKING:
                waiting += node.args[:1] if name != "super" else []
            case _:
                waiting += children(node)


def _given_to_others(value: ast.expr) -> Iterator[str]:
    """The classes of which a constant holds an object inside of another: that one may call it.

    ``mha = Attention(64, 8)`` is an example of use, alone or in a list, and no caller.
    """
    waiting: list[tuple[ast.AST, bool]] = [(value, False)]
    while waiting:
        node, is_owned = waiting.pop()
        if isinstance(node, ast.Call):
            name = last_name(node.func)
            if is_owned:
                yield name
            makes = name[:1].isupper() and name not in _LISTS
            waiting += [(child, is_owned or makes) for child in (*node.args, *node.keywords)]
        elif is_owned and isinstance(node, (ast.Name, ast.Attribute)):
            yield last_name(node)
        else:
            waiting += [(child, is_owned) for child in children(node)]


def _classes_in(value: ast.expr) -> Iterator[str]:
    """The names in a constant that are not called there."""
    waiting: list[ast.AST] = [value]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Call):
            waiting += [*node.args, *node.keywords]
        elif isinstance(node, (ast.Name, ast.Attribute)):
            yield last_name(node)
        else:
            waiting += children(node)


# --- what a caller does with the output ------------------------------------------------------------------------------


def _may_map(caller: ClassModel, family: Family, file: FileModel) -> bool:
    """A caller maps the output of a class linearly, or nothing is known of what it does with it."""
    if family & caller.added:
        return False
    if not caller.complete or not caller.returns or not _holds(caller, family, file, set()):
        return not _only_lists(caller.cls, frozenset(each.name for each in family))
    return not any("merged" in tensor.roles for _, value in caller.returns for tensor in tensors(value))


def _is_known_to_map(caller: ClassModel, family: Family, bound: set[str], file: FileModel) -> bool:
    """A caller in another file maps the output of a class, or gives the object to one that is not followed."""
    if family & caller.added:
        return False
    if not caller.complete or not caller.returns or not _holds(caller, family, file, set()):
        return any(_is_given_on(group) for group in _groups(caller.cls, frozenset(bound)))
    return _maps(caller)


def _maps(caller: ClassModel) -> bool:
    """All that is returned was mapped: no merged heads come out as they are."""
    returned = [tensor for _, value in caller.returns for tensor in tensors(value)]
    mapped = any("projected" in tensor.roles for tensor in returned)
    return mapped and not any("merged" in tensor.roles and "projected" not in tensor.roles for tensor in returned)


def _holds(model: ClassModel, family: Family, file: FileModel, seen: set[ClassInfo]) -> bool:
    """Tell whether objects of one class hold an object of the others, if inside of what they hold."""
    seen.add(model.cls)
    held = {each for state in model.built for value in state.attributes.values() for each in _objects(value)}
    return bool(family & held) or any(_holds(file.model_of(each), family, file, seen) for each in held - seen)


def _objects(value: Value) -> Iterator[ClassInfo]:
    """The classes of the objects that a value is made of."""
    match value:
        case Instance(held):
            yield held
        case Sequence(items) | Layer(items=items):
            for item in items:
                yield from _objects(item)
        case Repeated(item, _):
            yield from _objects(item)


# --- the layers beside one -------------------------------------------------------------------------------------------


def _only_lists(caller: ClassInfo, names: frozenset[str]) -> bool:
    """A caller puts objects of the classes among other layers, none of which maps linearly, and does no more with them.

    Whatever applies these layers, one after the other, has nothing to project with.
    """
    groups = _groups(caller, names)
    return bool(groups) and all(group and not any(_is_linear(each) for each in group) for group in groups)


def _is_given_on(group: list[ast.expr] | None) -> bool:
    return group is not None and not group


def _is_linear(layer: ast.expr) -> bool:
    return is_said(MAPS_LINEARLY, last_name(layer.func if isinstance(layer, ast.Call) else layer))


def _groups(caller: ClassInfo, names: frozenset[str]) -> list[list[ast.expr] | None]:
    """For each object of the classes that a caller makes, the layers beside it in the list that it is put into.

    Empty where it is given to something else than a list; None where it is given to nothing.
    """
    found: list[list[ast.expr] | None] = []
    waiting: list[tuple[ast.AST, list[ast.expr] | None]] = [(caller.node, None)]
    while waiting:
        node, group = waiting.pop()
        match node:
            case ast.Call(func=function):
                name = last_name(function)
                if name in names:
                    found.append(group)
                inner = group if is_said(KEEPS_MEANING, name) or name in _LISTS else []
                waiting += [(child, inner) for child in (*node.args, *node.keywords)]
                waiting.append((function, group))
            case ast.List(elts=layers) | ast.Tuple(elts=layers) if len(layers) > 1:
                waiting += [(layer, [each for each in layers if each is not layer]) for layer in layers]
            case ast.expr() | ast.keyword():
                waiting += [(child, group) for child in children(node)]
            case _:
                waiting += [(child, None) for child in children(node)]
    return found
