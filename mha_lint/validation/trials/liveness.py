"""Which local variables of a function may still be read after a statement: the classic backward analysis.

A name is live where some path reads it before it is bound anew. Whatever the analysis does not know keeps names alive.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

Function = ast.FunctionDef | ast.AsyncFunctionDef
Names = frozenset[str]

_NONE: Names = frozenset()
_SEES_ALL = frozenset("locals vars dir eval exec breakpoint _getframe currentframe stack".split())
_LATER = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.GeneratorExp)  # may run at any time
_TRIES = (ast.Try, getattr(ast, "TryStar", ast.Try))


def live_after(function: Function, block: Sequence[ast.stmt], end: int) -> Names:
    """The names that may be read once ``block[:end]`` has run. ``block`` is a list of statements of ``function``."""
    nodes = [node for statement in function.body for node in ast.walk(statement)]
    if any(_names_what_sees_all(node) for node in nodes):
        parameters = {node.arg for node in ast.walk(function.args) if isinstance(node, ast.arg)}
        return frozenset(parameters | {node.id for node in nodes if isinstance(node, ast.Name)})
    kept = {name for node in nodes if isinstance(node, (ast.Global, ast.Nonlocal)) for name in node.names}
    kept |= {name for node in nodes if isinstance(node, _LATER) for name in _reads(node)}
    walk = _Walk(block, end)
    walk.block(function.body, _NONE, _Exits())
    return frozenset(walk.found | kept)


class _Exits(Struct, frozen=True):
    """The names that are live where control may go instead of to the next statement."""

    raised: Names = _NONE
    broken: Names = _NONE
    continued: Names = _NONE
    returned: Names = _NONE


class _Walk(Struct):
    """Goes through a function from its end to its beginning."""

    wanted: Sequence[ast.stmt]
    end: int
    found: set[str] = field(default_factory=set)  # live at the wanted place

    def block(self, statements: Sequence[ast.stmt], after: Names, exits: _Exits) -> Names:
        """The names that are live before ``statements``, given those that are live after them."""
        live = after | exits.raised
        for place in range(len(statements), 0, -1):
            if statements is self.wanted and place == self.end:
                self.found |= live
            live = self.statement(statements[place - 1], live, exits) | exits.raised
        return live

    def statement(self, node: ast.stmt, after: Names, exits: _Exits) -> Names:
        match node:
            case ast.Return():
                return _reads(node) | exits.returned
            case ast.Raise():
                return _reads(node) | exits.raised
            case ast.Break():
                return exits.broken
            case ast.Continue():
                return exits.continued
            case ast.If():
                ways = self.block(node.body, after, exits) | self.block(node.orelse, after, exits)
                return _reads(node.test) | ways
            case ast.While() | ast.For() | ast.AsyncFor():
                return self._loop(node, after, exits)
            case ast.With() | ast.AsyncWith():
                caught = replace(exits, raised=exits.raised | after)  # the context may swallow what is raised
                return _reads(*node.items) | self.block(node.body, after, caught)
            case ast.Match():
                ways = after.union(*(self.block(case.body, after, exits) for case in node.cases))
                return (
                    _reads(node.subject, *(part for case in node.cases for part in (case.pattern, case.guard))) | ways
                )
            case ast.Assign(targets=targets):
                return (after - _bound(targets)) | _reads(node)
            case ast.AnnAssign(target=target, value=value) if value is not None:
                return (after - _bound([target])) | _reads(node)
            case ast.AugAssign(target=ast.Name(name)):
                return after | _reads(node) | {name}
            case ast.Delete(targets=targets):
                return after | _reads(node) | _bound(targets)
        if isinstance(node, _TRIES):
            return self._try(node, after, exits)
        return after | _reads(node)

    def _loop(self, node: ast.While | ast.For | ast.AsyncFor, after: Names, exits: _Exits) -> Names:
        """A variable that one turn hands to the next is live at its end: turns are repeated until nothing is added."""
        each = _reads(node.test) if isinstance(node, ast.While) else _NONE
        bound = _NONE if isinstance(node, ast.While) else _bound([node.target])
        over = self.block(node.orelse, after, exits)
        head = each | over
        while True:
            inner = replace(exits, broken=after, continued=head)
            grown = head | each | (self.block(node.body, head, inner) - bound)
            if grown == head:
                break
            head = grown
        return head if isinstance(node, ast.While) else head | _reads(node.iter, node.target)

    def _try(self, node: ast.stmt, after: Names, exits: _Exits) -> Names:
        assert isinstance(node, _TRIES)
        anywhere = after | exits.raised | exits.broken | exits.continued | exits.returned
        finally_ = self.block(node.finalbody, anywhere if node.finalbody else after, exits)
        inside = exits
        if node.finalbody:
            inside = _Exits(finally_, finally_, finally_, finally_)
        handled = _NONE.union(*(self.block(handler.body, finally_, inside) for handler in node.handlers))
        handled |= _reads(*(handler.type for handler in node.handlers))
        otherwise = self.block(node.orelse, finally_, inside)
        return self.block(node.body, otherwise, replace(inside, raised=inside.raised | handled))


def _reads(*parts: ast.AST | None) -> Names:
    found = (node for part in parts if part is not None for node in ast.walk(part))
    return frozenset(node.id for node in found if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load))


def _bound(targets: Iterable[ast.expr]) -> Names:
    """The names that an assignment to ``targets`` binds whatever happens."""
    return frozenset(name for target in targets for name in _names_in(target))


def _names_in(target: ast.expr) -> Iterator[str]:
    match target:
        case ast.Name(name):
            yield name
        case ast.Tuple(elts=items) | ast.List(elts=items):
            for item in items:
                yield from _names_in(item)
        case ast.Starred(value=value):
            yield from _names_in(value)


def _names_what_sees_all(node: ast.AST) -> bool:
    """Tell whether the node names what may read every local variable."""
    match node:
        case ast.Name(name) | ast.Attribute(attr=name):
            return name in _SEES_ALL and not isinstance(node.ctx, ast.Store)
    return False
