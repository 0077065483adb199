"""The definitions of a function's local names, and where their values go.

This is reaching definitions over structured statements: each way through branches and loops is taken into account, so
that a value which is said to go nowhere goes nowhere on any of them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

from msgspec import Struct, field

from mha_lint.syntax.nodes import FUNCTIONS, TRIES, Block, Function, children, every_parameter, walk

_ASKED_OF = frozenset({"shape", "size", "dim", "ndim", "dtype", "device", "numel", "element_size"})
_ASKS = frozenset({"len", "isinstance", "type", "callable"})
_NESTED = (*FUNCTIONS, ast.Lambda, ast.ClassDef)
_SEES_ALL = frozenset({"locals", "vars", "eval", "exec"})

Reached = dict[str, frozenset["Definition"]]


class Definition(Struct, eq=False):
    """One value that a name is given: a parameter, where ``statement`` is None, or an assignment.

    ``used`` says that the value is handed to something else than a name; ``feeds`` are the definitions that are
    computed from it.
    """

    name: str
    statement: ast.stmt | None = None
    value: ast.expr | None = None
    used: bool = False
    feeds: set[Definition] = field(default_factory=set)

    @property
    def is_parameter(self) -> bool:
        return self.statement is None


class Flow(Struct):
    """The definitions of one function, in the order of its code; ``certain`` is False where some can't be followed."""

    definitions: list[Definition]
    certain: bool = True

    def made_of(self, definition: Definition) -> set[Definition]:
        """The definitions that are computed from one, or from what is computed from it, and so on."""
        found: set[Definition] = set()
        pending = [definition]
        while pending:
            more = pending.pop().feeds - found
            found |= more
            pending += more
        return found

    def lost(self) -> set[Definition]:
        """The definitions whose values go nowhere: at most into others that go nowhere either, or into a question."""
        live = {definition for definition in self.definitions if definition.used}
        while True:
            more = {each for each in self.definitions if each not in live and each.feeds & live}
            if not more:
                return set(self.definitions) - live
            live |= more


def flow_of(function: Function) -> Flow:
    """Follow the values of a function's parameters and local names."""
    reader = _Reader()
    reached: Reached = {}
    for parameter in every_parameter(function):
        reached[parameter.arg] = frozenset({reader.defined(Definition(parameter.arg))})
    reader.block(function.body, reached)
    return Flow(reader.definitions, reader.certain)


class _Reader:
    """Goes through statements, and notes each read at the definitions that reach it."""

    def __init__(self) -> None:
        self.definitions: list[Definition] = []
        self.certain = True
        self._known: dict[tuple[str, ast.AST | None], Definition] = {}

    def defined(self, definition: Definition) -> Definition:
        """The one definition of that name by that statement, however often the statement is gone through."""
        known = self._known.setdefault((definition.name, definition.statement), definition)
        if known is definition:
            self.definitions.append(definition)
        return known

    def block(self, block: Block, reached: Reached) -> Reached:
        for statement in block:
            reached = self._statement(statement, reached)
            if isinstance(statement, ast.Raise):
                self._use_made_by(block)  # nothing comes after it
        return reached

    def _statement(self, statement: ast.stmt, reached: Reached) -> Reached:
        match statement:
            case ast.Assign(targets=[target], value=value):
                return self._assigned(statement, target, value, reached)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                return self._assigned(statement, target, value, reached)
            case ast.If(test=test, body=body, orelse=otherwise):
                self._use(test, reached)
                return _joined(self.block(body, dict(reached)), self.block(otherwise, dict(reached)))
            case ast.For() | ast.AsyncFor() | ast.While():
                return self._loop(statement, reached)
            case ast.With(items=items, body=body) | ast.AsyncWith(items=items, body=body):
                for item in items:
                    self._use(item, reached)
                    reached = self._bound(item.optional_vars, statement, reached)
                return self.block(body, reached)
            case ast.Assert(test=test):
                self._use(test, reached)
                return reached
            case ast.Delete():
                self._use(statement, reached)  # who deletes a value knows that it goes nowhere
                return reached
            case _ if isinstance(statement, TRIES):
                return self._tried(statement, reached)
            case ast.Match() | ast.Global() | ast.Nonlocal():
                self.certain = False
                return reached
            case _:
                self._use(statement, reached)
                return self._rebound(statement, reached)

    def _assigned(self, statement: ast.stmt, target: ast.expr, value: ast.expr, reached: Reached) -> Reached:
        match target, value:
            case ast.Name(id=name), _:
                made = self.defined(Definition(name, statement, value))
                self._feed(value, made, reached)
                return {**reached, name: frozenset({made})}
            case (ast.Tuple(elts=targets), ast.Tuple(elts=values)) if len(targets) == len(values):
                after = reached
                for each, given in zip(targets, values, strict=True):
                    bound = self._assigned(statement, each, given, reached)
                    after = {**after, **{name: bound[name] for name in bound if bound[name] is not reached.get(name)}}
                return after
            case ast.Tuple(elts=targets) | ast.List(elts=targets), _:
                if not all(isinstance(each, ast.Name) for each in targets):
                    self._use(value, reached)
                    return self._rebound(statement, reached)
                after = dict(reached)
                for each in targets:
                    assert isinstance(each, ast.Name)
                    made_of = self.defined(Definition(each.id, statement, value))
                    self._feed(value, made_of, reached)
                    after[each.id] = frozenset({made_of})
                return after
            case _:
                self._use(statement, reached)
                return reached

    def _loop(self, statement: ast.For | ast.AsyncFor | ast.While, reached: Reached) -> Reached:
        if isinstance(statement, ast.While):
            self._use(statement.test, reached)
        else:
            self._use(statement.iter, reached)
        for _ in range(2):  # what the first turn defines reaches the second
            inside = reached
            if not isinstance(statement, ast.While):
                inside = self._bound(statement.target, statement, reached)
            reached = _joined(reached, self.block(statement.body, dict(inside)))
            if isinstance(statement, ast.While):
                self._use(statement.test, reached)
        if any(isinstance(node, (ast.Break, ast.Continue)) for node in walk(*statement.body)):
            self._use_all_of(statement)  # a turn may end before its last statement
        return _joined(reached, self.block(statement.orelse, dict(reached)))

    def _tried(self, statement: ast.stmt, reached: Reached) -> Reached:
        """Any of the statements may be the last that runs before a handler does."""
        after = reached
        for block in _blocks(statement):
            after = _joined(after, self.block(block, dict(after)))
        self._use_all_of(statement)
        return after

    def _use_all_of(self, statement: ast.stmt) -> None:
        """Take every definition inside of a statement for used: in which order its parts run is not known."""
        self._use_made_by(walk(statement))

    def _use_made_by(self, nodes: Iterable[ast.AST]) -> None:
        inside = set(nodes)
        for definition in self.definitions:
            definition.used |= definition.statement in inside

    def _rebound(self, statement: ast.stmt, reached: Reached) -> Reached:
        """What else a statement binds: functions, imports, several targets."""
        for node in walk(statement):
            for name in _stored(node):
                reached = {**reached, name: frozenset({self.defined(Definition(name, statement, None, used=True))})}
        return reached

    def _bound(self, target: ast.expr | None, statement: ast.stmt, reached: Reached) -> Reached:
        for node in () if target is None else walk(target):
            for name in _stored(node):
                reached = {**reached, name: frozenset({self.defined(Definition(name, statement, None, used=True))})}
        return reached

    # --- reads ------------------------------------------------------------------------------------------------------

    def _feed(self, value: ast.expr, into: Definition, reached: Reached) -> None:
        for name, nested in self._reads(value):
            for each in reached.get(name, ()):
                each.used |= nested
                if each is not into:
                    each.feeds.add(into)

    def _use(self, node: ast.AST, reached: Reached) -> None:
        for name, _ in self._reads(node):
            for each in reached.get(name, ()):
                each.used = True

    def _reads(self, node: ast.AST) -> list[tuple[str, bool]]:
        """The names whose values an expression reads, not only their sizes, and whether a nested function does."""
        found: list[tuple[str, bool]] = []
        pending: list[tuple[ast.AST, bool]] = [(node, False)]
        while pending:
            current, nested = pending.pop()
            if isinstance(current, ast.Name):
                found.append((current.id, nested))
                self.certain &= current.id not in _SEES_ALL
                continue
            if _is_question(current):
                pending += [(child, nested) for child in _asked_beside(current)]
                continue
            nested = nested or isinstance(current, _NESTED)
            pending += [(child, nested) for child in children(current)]
        return found


def _joined(one: Reached, other: Reached) -> Reached:
    return {name: one.get(name, frozenset()) | other.get(name, frozenset()) for name in {**one, **other}}


def _blocks(statement: ast.stmt) -> list[Block]:
    handlers = [handler.body for handler in getattr(statement, "handlers", [])]
    return [
        getattr(statement, "body", []),
        *handlers,
        getattr(statement, "orelse", []),
        getattr(statement, "finalbody", []),
    ]


def _stored(node: ast.AST) -> tuple[str, ...]:
    match node:
        case ast.Name(id=name, ctx=ast.Store()):
            return (name,)
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return (name,)
        case ast.alias(name=name, asname=bound):
            return (bound or name.partition(".")[0],)
        case _:
            return ()


def _is_question(node: ast.AST) -> bool:
    """An expression asks of a name how large it is, or whether it is there."""
    match node:
        case ast.Attribute(value=ast.Name(), attr=name):
            return name in _ASKED_OF
        case ast.Call(func=ast.Name(id=name), args=[ast.Name(), *_]):
            return name in _ASKS
        case ast.Compare(left=ast.Name(), ops=[ast.Is() | ast.IsNot()], comparators=[ast.Constant()]):
            return True
        case _:
            return False


def _asked_beside(node: ast.AST) -> list[ast.AST]:
    """What else a question reads: the classes of ``isinstance``."""
    return list(node.args[1:]) if isinstance(node, ast.Call) else []
