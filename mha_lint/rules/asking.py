"""Several rules share these questions about what was seen, and the way to write numbers."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from mha_lint.model.order import Scramble, keeps_order
from mha_lint.syntax.nodes import Function, is_number, receiver, walk
from mha_lint.vocabulary import ATTENDS, is_said

if TYPE_CHECKING:
    from mha_lint.model.attention import FileModel
    from mha_lint.model.events import OperationSeen, ViewSeen
    from mha_lint.model.keys import Key
    from mha_lint.syntax.names import ClassInfo, ModuleNames
    from mha_lint.syntax.places import Places


Node = TypeVar("Node", bound=ast.AST)
Seen = TypeVar("Seen")


def in_order(table: Mapping[Node, Seen]) -> list[tuple[Node, Seen]]:
    """Return what was seen in the order of the text: which function was run first does not matter."""
    return sorted(table.items(), key=lambda entry: _place(entry[0]))


def _place(node: ast.AST) -> tuple[int, int]:
    return getattr(node, "lineno", 0), getattr(node, "col_offset", 0)


def agreed(found: list[Scramble | None], seen: list[ViewSeen]) -> Scramble | None:
    """Return what all paths agree on, of those on which the order is known."""
    kinds = {(each.folded, each.rank, each.time_first): each for each in found if each is not None}
    return None if len(kinds) != 1 or any(map(keeps_order, seen)) else next(iter(kinds.values()))


def is_context(seen: ViewSeen) -> bool:
    """Tell whether a view is of the result of an attention, whose heads a view may merge."""
    return "context" in seen.tensor.roles and seen.tensor.shape is not None


def is_projection(seen: ViewSeen, model: FileModel) -> bool:
    """Tell whether a view is of a projection in a function or class that computes attention, or is named after it."""
    if "projection" not in seen.tensor.roles or not seen.target:
        return False
    owner = seen.symbol.partition(".")[0]
    return is_said(ATTENDS, owner) or any(other.partition(".")[0] == owner for other in model.scored)


def reads_alone(handed: ast.Name, statement: ast.stmt, places: Places) -> bool:
    """Tell whether nothing but one read uses a name, or changes it, behind the statement that gives it a value."""
    function = places.function(statement)
    if function is None:
        return False
    begin = places.end(statement)
    names = [node for node in walk(function) if isinstance(node, ast.Name) and node.id == handed.id]
    return [node for node in names if places.start(node) >= begin] == [handed]


def is_given(key: Key, seen: OperationSeen) -> bool:
    """Tell whether the key is of a parameter of the function with which the path began, or of a part of one."""
    return key.belongs_to(seen.given)


def literal(node: ast.expr | None) -> float | None:
    """Return the number that a literal spells, with its sign; None for any other expression."""
    match node:
        case ast.Constant(value=int() | float() as number) if is_number(node):
            return number
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            bare = literal(operand)
            return None if bare is None else -bare
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return literal(operand)
        case _:
            return None


def number_text(number: float, written: ast.expr | None, places: Places) -> str:
    """Return the literal that the code has for a number, or the shortest one where the code has none.

    The code has none where it names the number or calculates it: ``NEGATIVE``, ``float("-1e-9")``.
    """
    if written is not None and literal(written) == number:
        return places.source(written)
    return shortest(number)


def shortest(number: float) -> str:
    """Write a number as people do: ``-1e9`` and ``-1e-9``, not ``-1e+09`` and ``-1e-09``."""
    return re.sub(r"e([+-])0*(?=\d)", lambda sign: "e" + sign[1].replace("+", ""), f"{number:g}")


def run_by_forward(
    cls: ClassInfo, model: FileModel, *, leaves_out: Callable[[Function], bool] = lambda function: False
) -> list[tuple[Function, str]]:
    """Return the functions of the file that the ``forward`` of a class runs, with their symbols.

    Functions that ``leaves_out`` are not followed.
    """
    forward = cls.method("forward")
    found: dict[Function, str] = {}
    pending = [] if forward is None else [forward]
    while pending:
        function = pending.pop()
        if function in found or function not in model.defined_in or leaves_out(function):
            continue
        found[function] = model.defined_in[function]
        own = receiver(function)
        for node in walk(function):
            called = _called(node, own, cls, model.names)
            if called is not None:
                pending.append(called)
    return list(found.items())


def attends(functions: list[tuple[Function, str]], model: FileModel) -> bool:
    """Tell whether one of the functions, given with their symbols, computes attention."""
    return any(symbol in model.scored for _, symbol in functions)


def _called(node: ast.AST, own: str, cls: ClassInfo, names: ModuleNames) -> Function | None:
    """The function of the file, or the method of the class, that a call calls; None where it calls another."""
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=method)) if name == own:
            return cls.method(method)
        case ast.Call(func=ast.Name(id=name)):
            return names.functions.get(name)
        case _:
            return None
