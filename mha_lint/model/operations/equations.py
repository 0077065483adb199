"""The equations of ``einsum``, in each form in which torch takes them."""

from __future__ import annotations

from collections import Counter
from string import ascii_letters

from mha_lint.model.values import Const, Sequence, Value, as_int


def read(args: tuple[Value, ...]) -> tuple[list[str], str, tuple[Value, ...]] | None:
    """The letters of each operand, those of the result, and the operands; None where the equation is not known."""
    match args:
        case (Const(str(equation)), Sequence(operands)):
            pass
        case (Const(str(equation)), *rest):
            operands = tuple(rest)
        case _:
            return _of_lists(args)
    sides = equation.replace(" ", "").split("->")
    inputs = sides[0].split(",")
    if len(sides) > 2 or len(inputs) != len(operands):
        return None
    return inputs, sides[1] if len(sides) == 2 else _implied(inputs), operands


def _of_lists(args: tuple[Value, ...]) -> tuple[list[str], str, tuple[Value, ...]] | None:
    """``einsum(q, [0, 1, 2], k, [0, 3, 2], [0, 1, 3])``."""
    sides = list(map(_letters, args[1::2]))
    if len(args) < 2 or None in sides:
        return None
    output = _letters(args[-1]) if len(args) % 2 else None
    known = [side for side in sides if side is not None]
    operands = args[: 2 * len(known) : 2]
    return known, _implied(known) if output is None else output, operands


def _letters(value: Value) -> str | None:
    """The letters that numbers in a list stand for."""
    if not isinstance(value, Sequence):
        return None
    letters: list[str] = []
    for item in value.items:
        number = as_int(item)
        if item == Const(...):
            letters.append("...")
        elif number is not None and 0 <= number < len(ascii_letters):
            letters.append(ascii_letters[number])
        else:
            return None
    return "".join(letters)


def _implied(inputs: list[str]) -> str:
    """The result where the equation names none: the letters that stand but once, in their order."""
    together = "".join(inputs)
    once = sorted(letter for letter, count in Counter(together.replace(".", "")).items() if count == 1)
    return ("..." if "..." in together else "") + "".join(once)
