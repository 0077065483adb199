"""The number that scores are scaled by: where it is written, how the right one is, and what was read for it alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import libcst as cst

from mha_lint.model.names import dotted
from mha_lint.model.scale import ScaleSeen
from mha_lint.model.usage import walk

if TYPE_CHECKING:
    from mha_lint.findings import Edit
    from mha_lint.model.places import Places

_SPACED, _CLOSE = re.compile(r"\w \*\* "), re.compile(r"\w\*\*-?\w")


@dataclass(frozen=True, slots=True)
class Number:
    """An expression by which scores are multiplied (``exponent`` -0.5) or divided (0.5)."""

    node: cst.BaseExpression
    exponent: float


def number_of(seen: ScaleSeen, places: Places) -> Number | None:
    """The number that scores were last scaled by, where it is written."""
    if seen.caller is not None:
        return _handed_on(seen.caller)
    return _operand(seen.scale.applied) or _augmented(seen.scale.applied, places)


def power(width: str, exponent: float, places: Places) -> str:
    """``width ** -0.5`` as the file writes powers: with spaces around a plain name, or without."""
    base = cst.parse_expression(width)
    if not isinstance(base, (cst.Name, cst.Attribute, cst.Subscript, cst.Call, cst.Integer)):
        return f"({width}) ** {exponent}"
    close = dotted(base) is not None and _CLOSE.search(places.text) and not _SPACED.search(places.text)
    return f"{width}**{exponent}" if close else f"{width} ** {exponent}"


def unread(node: cst.BaseExpression, kept: str, places: Places) -> Iterator[Edit]:
    """Delete the assignments of what an expression reads and nothing else does, once it is replaced by ``kept``."""
    gone: set[cst.CSTNode] = {node}
    deleted: list[cst.SimpleStatementLine] = []
    pending = [node]
    while pending:
        for read in walk(pending.pop()):
            name = dotted(read) if isinstance(read, (cst.Name, cst.Attribute)) else None
            if name is None or re.search(rf"\b{re.escape(name)}\b", kept):
                continue
            statement = _sole_assignment(read, gone, places)
            if statement is None or statement in deleted:
                continue
            deleted.append(statement)
            gone.add(statement)
            assigned = statement.body[0]
            assert isinstance(assigned, cst.Assign)
            pending.append(assigned.value)
    yield from (places.without_statement(statement) for statement in deleted)


def _sole_assignment(read: cst.CSTNode, gone: set[cst.CSTNode], places: Places) -> cst.SimpleStatementLine | None:
    """The statement that assigns what ``read`` reads, where nothing reads it but what is gone."""
    scope: cst.CSTNode | None = places.function(read)
    if isinstance(read, cst.Attribute):
        if (
            not isinstance(read.value, cst.Name)
            or read.value.value != "self"
            or is_spelled_out(read.attr.value, places)
        ):
            return None
        scope = places.module
        same = [each for each in walk(scope) if isinstance(each, cst.Attribute) and each.attr.value == read.attr.value]
    elif isinstance(read, cst.Name) and scope is not None:
        same = [each for each in walk(scope) if isinstance(each, cst.Name) and each.value == read.value]
    else:
        return None
    rest = [each for each in same if each not in gone and not any(parent in gone for parent in places.parents(each))]
    if len(rest) != 1:
        return None
    statement = places.statement(rest[0])
    match statement:
        case cst.SimpleStatementLine(body=[cst.Assign(targets=[cst.AssignTarget(target=target)], value=value)]) if (
            target is rest[0] and len(places.block(statement)) > 1 and _is_pure(value)
        ):
            return statement
    return None


def is_spelled_out(name: str, places: Places) -> bool:
    """Whether the file spells a name in a string, as for ``getattr``."""
    return f'"{name}"' in places.text or f"'{name}'" in places.text


def _is_pure(value: cst.BaseExpression) -> bool:
    """Whether nothing is lost with a value but the number that it is."""
    calls = [node for node in walk(value) if isinstance(node, cst.Call)]
    return all(
        (dotted(call.func) or "").rpartition(".")[2] in ("sqrt", "size", "float", "int", "len") for call in calls
    )


def _operand(applied: cst.CSTNode | None) -> Number | None:
    """The number of the last scaling, on whichever side it stands."""
    match applied:
        case cst.BinaryOperation(left=left, operator=cst.Multiply(), right=right):
            return Number(left if _is_number(left) else right, -0.5)
        case cst.BinaryOperation(operator=cst.Divide(), right=right):
            return Number(right, 0.5)
        case cst.Call(func=cst.Attribute(attr=cst.Name("mul" | "mul_" | "multiply")), args=[*_, cst.Arg(value=number)]):
            return Number(number, -0.5)
        case cst.Call(func=cst.Attribute(attr=cst.Name("div" | "div_")), args=[*_, cst.Arg(value=number)]):
            return Number(number, 0.5)
        case cst.Call(args=args):
            named = next((arg for arg in args if arg.keyword is not None and arg.keyword.value == "scale"), None)
            return None if named is None else Number(named.value, -0.5)
    return None


def _augmented(applied: cst.CSTNode | None, places: Places) -> Number | None:
    """The number of ``scores *= number``."""
    match places.statement(applied) if applied is not None else None:
        case cst.SimpleStatementLine(body=[cst.AugAssign(target=target, operator=sign, value=value)]) if (
            target is applied
        ):
            return Number(value, 0.5 if isinstance(sign, cst.DivideAssign) else -0.5)
    return None


def _handed_on(call: cst.BaseExpression) -> Number | None:
    """The scale that is handed to the function which computes the attention."""
    args = call.args if isinstance(call, cst.Call) else ()
    named = next((arg for arg in args if arg.keyword is not None and "scal" in arg.keyword.value), None)
    return None if named is None else Number(named.value, -0.5)


def _is_number(node: cst.BaseExpression) -> bool:
    """Whether an operand is rather the scale than what is scaled."""
    match node:
        case cst.Float() | cst.Integer():
            return True
        case cst.Attribute(attr=cst.Name(name)) | cst.Name(name):
            return "scal" in name.lower() or "norm" in name.lower()
        case cst.BinaryOperation(operator=cst.Power() | cst.Divide()):
            return True
        case _:
            return False
