"""Reads which names of a module, and which attributes of its objects, get a value at more than one place."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict

from msgspec import Struct, field

from mha_lint.syntax.nodes import FUNCTIONS, TRIES, Block, Function, last_name, parameters, text_of, walk

MUTATING = frozenset("append extend insert remove pop clear add discard update setdefault".split())
ANY = "*"  # in place of a name: the code computes which attribute it sets


class Change(Struct, frozen=True):
    """An attribute that is set outside of constructors.

    ``owner`` is the class whose method sets it on its own object, None where the object may be of any class.
    ``value`` is None where it is not an expression that the code spells out.
    """

    name: str
    owner: ast.ClassDef | None
    value: ast.expr | None


class Changes(Struct):
    """Names that a module binds more than once, and attributes that it changes in its objects."""

    rebound: frozenset[str] = frozenset()  # names of the module, of which no one value is known
    rebound_in: dict[ast.ClassDef | None, frozenset[str]] = field(default_factory=dict)  # names of a class's body
    attributes: dict[str, list[Change]] = field(default_factory=dict)


def read(tree: ast.Module) -> Changes:
    """Read the changes of a whole module."""
    reader = _Reader()
    reader.block(tree.body)
    twice = {name for name, count in reader.bound[None].items() if count > 1}
    return Changes(
        frozenset(twice | reader.rebound),
        {cls: frozenset(name for name, count in bound.items() if count > 1) for cls, bound in reader.bound.items()},
        reader.attributes,
    )


def rebound(tree: ast.Module) -> frozenset[str]:
    """The names that a module binds more than once, of a module that says neither ``global`` nor ``globals()``."""
    reader = _Reader(deep=False)
    reader.block(tree.body)
    twice = {name for name, count in reader.bound[None].items() if count > 1}
    return frozenset(twice | reader.rebound)


class _Reader:
    """Counts the bindings of the module and of each class, and collects the changes of attributes.

    It goes from statement to statement, and looks into those expressions alone that may bind or call.
    """

    def __init__(self, *, deep: bool = True) -> None:
        self._deep = deep  # what functions and classes hold is read too
        self.bound: defaultdict[ast.ClassDef | None, Counter[str]] = defaultdict(Counter)
        self.rebound: set[str] = set()
        self.attributes: dict[str, list[Change]] = {}
        self._around: list[ast.ClassDef | Function] = []

    # --- where the code stands -----------------------------------------------------------------------------------

    def block(self, body: Block) -> None:
        for statement in body:
            self._statement(statement)

    def _statement(self, statement: ast.stmt) -> None:
        match statement:
            case ast.ClassDef():
                self._binds(statement.name)
                self._within(statement)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                if not any(last_name(each) == "overload" for each in statement.decorator_list):
                    self._binds(statement.name)
                self._within(statement)
            case ast.For() | ast.AsyncFor():
                self._target(statement.target, None)
                self.block(statement.body)
                self.block(statement.orelse)
            case ast.If(test=test) | ast.While(test=test):
                self._expression(test)
                self.block(statement.body)
                self.block(statement.orelse)
            case ast.With(items=items) | ast.AsyncWith(items=items):
                for item in items:
                    if item.optional_vars is not None:
                        self._target(item.optional_vars, None)
                self.block(statement.body)
            case ast.Match(cases=cases):
                for case in cases:
                    self._pattern(case.pattern)
                    self.block(case.body)
            case _ if isinstance(statement, TRIES):
                self._try(statement)
            case _:
                self._small(statement)

    def _try(self, statement: ast.Try) -> None:
        self.block(statement.body)
        for handler in statement.handlers:
            if handler.name is not None:
                self._binds(handler.name)
            self.block(handler.body)
        self.block(statement.orelse)
        self.block(statement.finalbody)

    def _within(self, statement: ast.ClassDef | Function) -> None:
        if not self._deep:
            return
        self._around.append(statement)
        self.block(statement.body)
        self._around.pop()

    def _method(self) -> tuple[ast.ClassDef, Function] | None:
        """The method around, and its class."""
        around = self._around
        if len(around) > 2 and isinstance(around[-1], FUNCTIONS) and isinstance(around[-2], FUNCTIONS):
            around = around[:-1]  # a function made in it
        owner, method = around[-2:] if len(around) > 1 else (None, None)
        return (owner, method) if isinstance(owner, ast.ClassDef) and isinstance(method, FUNCTIONS) else None

    def _constructs(self) -> bool:
        """Return True right inside of a constructor, which the interpreter runs."""
        match self._around:
            case [*_, ast.ClassDef(), ast.FunctionDef(name="__init__")]:
                return True
            case _:
                return False

    # --- bindings ------------------------------------------------------------------------------------------------

    def _binds(self, name: str) -> None:
        match self._around:
            case []:
                self.bound[None][name] += 1
            case [*_, ast.ClassDef() as cls]:
                self.bound[cls][name] += 1

    def _small(self, statement: ast.stmt) -> None:
        match statement:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    self._target(target, value)
                if not self._around:
                    self._expression(value)
            case ast.AnnAssign(target=only, value=value) if value is not None:
                self._target(only, value)
            case ast.AugAssign(target=only):
                self._target(only, None)
                self._target(only, None)  # it had a value before
            case ast.Delete(targets=targets):
                for target in targets:
                    self._target(target, None)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                self._imports(aliases)
            case ast.Global(names=names):
                self.rebound |= set(names)
            case ast.Expr(value=value):
                self._expression(value)

    def _imports(self, aliases: list[ast.alias]) -> None:
        for alias in aliases:
            name = alias.asname or alias.name
            if name != "*" and "." not in name:
                self._binds(name)
            elif name == "*" and not self._around:
                self.rebound |= self.bound[None].keys()  # it may hold any of the names that were bound before

    def _expression(self, node: ast.expr) -> None:
        """Read the calls and bindings that an expression, which is not assigned, may be there for."""
        for current in walk(node):
            match current:
                case ast.Call():
                    self._call(current)
                case ast.NamedExpr(target=target, value=value):
                    self._target(target, value)

    def _pattern(self, node: ast.pattern) -> None:
        """``case {"name": value}`` binds what it names."""
        for current in walk(node):
            match current:
                case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                    self._binds(name)

    def _target(self, node: ast.expr, value: ast.expr | None) -> None:
        match node:
            case ast.Name(id=name):
                self._binds(name)
            case ast.Attribute(value=of, attr=name):
                self._changes(of, name, value)
            case ast.Tuple(elts=elements) | ast.List(elts=elements):
                for element in elements:
                    self._target(element, None)
            case ast.Starred(value=inner):
                self._target(inner, None)
            case ast.Subscript(value=ast.Attribute(value=of, attr=name)):
                self._changes(of, name, None)
            case ast.Subscript(value=ast.Call(func=ast.Name(id="globals")), slice=index):
                name_set = text_of(index)  # ``globals()["NAME"] = value``
                if name_set is not None:
                    self.rebound.add(name_set)

    # --- changes of attributes -----------------------------------------------------------------------------------

    def _changes(self, of: ast.expr, name: str, value: ast.expr | None) -> None:
        method = self._method()
        own = method is not None and _is_first_parameter(of, method[1])
        if own and self._constructs() and name != ANY:
            return
        owner = method[0] if own and method is not None else None
        self.attributes.setdefault(name, []).append(Change(name, owner, value))

    def _call(self, node: ast.Call) -> None:
        match node.func:
            case ast.Name(id="setattr") | ast.Attribute(attr="__setattr__"):
                self._sets(node)
            case ast.Attribute(value=ast.Attribute(value=of, attr="__dict__"), attr="update"):
                self._sets_any(of)
            case ast.Attribute(value=ast.Attribute(value=of, attr=name), attr=method):
                if method in MUTATING and not self._constructs():
                    self._changes(of, name, None)

    def _sets(self, node: ast.Call) -> None:
        """``setattr(module, "name", value)``, in a constructor as well: the interpreter does not follow it."""
        match [*node.args, *(each.value for each in node.keywords)]:
            case [_, ast.Constant(value=str(name)), value]:
                self.attributes.setdefault(name, []).append(Change(name, None, value))
            case [of, _, _]:
                self._sets_any(of)

    def _sets_any(self, of: ast.expr) -> None:
        """An attribute is set whose name is computed: of the method's own object, as nothing else is known."""
        method = self._method()
        if method is not None and _is_first_parameter(of, method[1]):
            self._changes(of, ANY, None)


def _is_first_parameter(node: ast.expr, method: Function) -> bool:
    first = parameters(method)
    return bool(first) and isinstance(node, ast.Name) and node.id == first[0].arg
