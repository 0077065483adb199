"""Questions about nodes of Python's ``ast`` that need no more than the nodes."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from itertools import takewhile

Function = ast.FunctionDef | ast.AsyncFunctionDef
Block = Sequence[ast.stmt]

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
TRIES = (ast.Try, getattr(ast, "TryStar", ast.Try))  # ``except*`` came with Python 3.11
_COMPOUND = (
    *FUNCTIONS, *TRIES, ast.ClassDef, ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Match,
)  # fmt: skip
_SHARED = frozenset({"ctx", "op", "ops"})  # these nodes are the same objects all over the tree


_OF_TEXT = frozenset({"attr", "arg", "asname", "conversion", "id", "is_async", "level", "module", "simple"})
_NO_NODES: dict[type[ast.AST], frozenset[str]] = {ast.Constant: frozenset({"value", "kind"})}
_FIELDS = {
    kind: tuple(name for name in kind._fields if name not in _SHARED | _OF_TEXT | _NO_NODES.get(kind, frozenset()))
    for kind in vars(ast).values()
    if isinstance(kind, type) and issubclass(kind, ast.AST)
}  # those that may hold nodes


def children(node: ast.AST) -> list[ast.AST]:
    """The nodes right below a node, in the order of its fields; operators and contexts are left out."""
    found: list[ast.AST] = []
    for name in _FIELDS[type(node)]:
        value = getattr(node, name, None)
        if isinstance(value, list):
            for item in value:
                if isinstance(item, ast.AST):
                    found.append(item)
        elif isinstance(value, ast.AST):
            found.append(value)
    return found


def walk(*nodes: ast.AST) -> Iterator[ast.AST]:
    """The nodes and everything below them."""
    pending = list(nodes)
    while pending:
        current = pending.pop()
        yield current
        pending += children(current)


def is_simple(statement: ast.AST) -> bool:
    """A statement holds no other statements."""
    return isinstance(statement, ast.stmt) and not isinstance(statement, _COMPOUND)


def dotted(node: ast.AST | None) -> str | None:
    """``a.b.c`` as text, or None for any other expression."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=base, attr=name):
            prefix = dotted(base)
            return None if prefix is None else f"{prefix}.{name}"
        case _:
            return None


def last_name(node: ast.AST | None) -> str:
    """``c`` of ``a.b.c``, whatever stands before it; empty for what is no name and no attribute."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return str(name)
        case _:
            return ""


def text_of(node: ast.AST | None) -> str | None:
    """The text that a string literal spells; None for any other expression."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def is_number(node: ast.AST | None) -> bool:
    """An expression is a literal of a whole number or of a float."""
    return isinstance(node, ast.Constant) and type(node.value) in (int, float)


def parameters(function: Function | ast.Lambda) -> list[ast.arg]:
    """The parameters that take arguments by their position."""
    return [*function.args.posonlyargs, *function.args.args]


def every_parameter(function: Function | ast.Lambda) -> list[ast.arg]:
    """The parameters that take one argument each, by position or by name."""
    return [*parameters(function), *function.args.kwonlyargs]


def defaults(function: Function | ast.Lambda) -> dict[str, ast.expr]:
    """The defaults by the names of their parameters."""
    positional, given = parameters(function), function.args.defaults
    last = positional[len(positional) - len(given) :]
    found = {parameter.arg: default for parameter, default in zip(last, given, strict=True)}
    for parameter, default in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True):
        if default is not None:
            found[parameter.arg] = default
    return found


def receiver(function: Function) -> str:
    """Return a method's name for its object: its first parameter, or ``self`` where it has none."""
    first = parameters(function)
    return first[0].arg if first else "self"


def is_static(function: Function | ast.Lambda) -> bool:
    """A function is decorated with ``@staticmethod``."""
    decorators = function.decorator_list if isinstance(function, FUNCTIONS) else []
    return any(isinstance(each, ast.Name) and each.id == "staticmethod" for each in decorators)


def is_starred(call: ast.Call) -> bool:
    """A call hands over arguments with ``*`` or ``**``."""
    return any(isinstance(arg, ast.Starred) for arg in call.args) or any(each.arg is None for each in call.keywords)


def argument(call: ast.Call, index: int, *names: str) -> ast.expr | None:
    """The argument that a call writes at ``index``, or under one of ``names``; behind a star no index is known."""
    positional = list(takewhile(lambda arg: not isinstance(arg, ast.Starred), call.args))
    if index < len(positional):
        return positional[index]
    return next((each.value for each in call.keywords if each.arg in names), None)


def indices(subscript: ast.Subscript) -> list[ast.expr]:
    """Return the expressions between the brackets of a subscript, split at its commas."""
    return subscript.slice.elts if isinstance(subscript.slice, ast.Tuple) else [subscript.slice]


def first_index(subscript: ast.Subscript) -> ast.expr | None:
    """The first index of a subscript, if it is no slice."""
    first = indices(subscript)[:1]
    return first[0] if first and not isinstance(first[0], ast.Slice) else None
