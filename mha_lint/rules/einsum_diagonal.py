"""MHA123: an einsum of attention that takes a diagonal."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct

from mha_lint.model.operations import equations
from mha_lint.model.values import Tensor, Value
from mha_lint.rules.base import Hit, Rule
from mha_lint.syntax.nodes import text_of
from mha_lint.syntax.words import names_said
from mha_lint.vocabulary import DIAGONALS, is_said

if TYPE_CHECKING:
    from mha_lint.model.attention import FileModel
    from mha_lint.model.events import OperationSeen
    from mha_lint.syntax.places import Places

_OF_ATTENTION = frozenset({"scores", "weights", "context", "merged", "projected"})
_KNOWN = _OF_ATTENTION | {"projection", "parameter"}
_WAYS = {  # to show it wrong, by what has the diagonal; of other sizes, it raises
    "weights": ("raises", "whole weights"),
    "parameter": ("raises", "every projection learns"),
}


class _Diagonal(Struct, frozen=True):
    """A letter that stands twice in one operand, the letters of that operand, which one it is, and its value."""

    letter: str
    side: str
    place: int
    value: Value


class EinsumDiagonal(Rule):
    """## What it does

    Flags an `einsum` of attention, or of what a softmax gave, or of a parameter, in which a letter stands twice in one
    operand, and once in another one and in the result: `torch.einsum("btc,cc->btc", y, weight)`.

    ## Why it matters

    A letter that stands twice takes the diagonal of its operand. A projection with `"btc,cc->btc"` scales each feature
    and mixes none; weights with `"bhtt,bhtd->bhtd"` let each token see itself alone. All else in the operand is
    ignored, and gets no gradient. The shapes are those of the right equation, so that nothing raises.

    ## Example

    ```python
    y = torch.einsum("btc,cc->btc", y, self.merge)
    ```

    Use instead:

    ```python
    y = torch.einsum("btc,ce->bte", y, self.merge)
    ```

    ## Fix

    There is none: the equation does not tell which of the two letters is meant to be another one. It is shown wrong by
    execution: a query takes its own value alone, or all of the parameter but its diagonal gets no gradient.

    ## When it stays silent

    - The diagonal may be meant: there is one operand (`"bii->bi"`, `"ii->"`), the letter is in no other operand, or it
      is summed; a name in the statement, or that of the function, says diagonal or trace.
    - It is not known what the operand is, or it is neither weights nor a parameter, in code that has nothing to do with
      attention.

    ## References

    - [`torch.einsum`](https://docs.pytorch.org/docs/stable/generated/torch.einsum.html): a subscript that is repeated
      in one operand takes the diagonal
    """

    code = "MHA123"
    name = "einsum-diagonal"
    severity = "error"
    finds = '`einsum("btc,cc->btc", y, w)`, which takes the diagonal of `w`'
    why = (
        "A letter that stands twice in one operand takes its diagonal: all else in it is ignored, and gets no gradient."
    )
    shown_by = ("raises", "whole weights", "every projection learns")
    no_fix = "the equation does not tell which of the two letters is meant to be another one"
    invalid: ClassVar = (
        "import torch\n\n\ndef attend(q, k, v):\n    w = torch.einsum('bhid,bhjd->bhij', q, k).softmax(-1)\n"
        "    return torch.einsum('bhtt,bhtd->bhtd', w, v)\n",
    )
    valid: ClassVar = (
        "import torch\n\n\ndef attend(q, k, v):\n    w = torch.einsum('bhid,bhjd->bhij', q, k).softmax(-1)\n"
        "    own = torch.einsum('bhii->bhi', w)\n    return torch.einsum('bhij,bhjd->bhid', w, v), own\n",
        "import torch\n\n\ndef attend(q, k, v):\n    w = torch.einsum('bhid,bhjd->bhij', q, k).softmax(-1)\n"
        "    diagonal = torch.einsum('bhii,bhid->bhid', w, v)\n"
        "    return torch.einsum('bhij,bhjd->bhid', w, v) - diagonal\n",
    )

    def check(self, model: FileModel, places: Places) -> Iterator[Hit[None]]:
        for node, seen in model.operations.items():
            if seen[0].name != "einsum":
                continue
            found = [(each, _diagonal(each)) for each in seen]
            known = [(each, diagonal) for each, diagonal in found if diagonal is not None]
            if len(known) < len(seen):
                continue
            operation, diagonal = next(((each, taken) for each, taken in known if _kind(taken.value)), known[0])
            kind = _kind(diagonal.value)
            if not kind or not (kind in _WAYS or any(_attends(each, model) for each, _ in known)):
                continue
            if not _is_meant(node, operation.symbol, places):
                message = _message(node, diagonal, kind)
                yield Hit(node, node, message, operation.symbol, shown_by=_WAYS.get(kind, ()))


def _diagonal(seen: OperationSeen) -> _Diagonal | None:
    """The letter whose diagonal is taken, and multiplied with something that has it as well."""
    equation = equations.read(seen.args)
    if equation is None or len(equation[0]) < 2:
        return None
    inputs, output, operands = equation
    for index, (side, value) in enumerate(zip(inputs, operands, strict=True)):
        others = "".join(other for at, other in enumerate(inputs) if at != index)
        letter = next((each for each in side if each != "." and side.count(each) > 1), None)
        if letter is not None and letter in others and letter in output:
            return _Diagonal(letter, side, index, value)
    return None


def _kind(value: Value) -> str:
    """In a word, the kind of an operand; "" where it is not known. What a softmax gave, of whatever, are weights."""
    if not isinstance(value, Tensor):
        return ""
    if "weights" in value.roles or value.normalised is not None:
        return "weights"
    return "parameter" if "parameter" in value.roles else "operand" if value.roles & _KNOWN else ""


def _attends(seen: OperationSeen, model: FileModel) -> bool:
    """Tell whether the function computes attention, or an operand comes of it."""
    of_attention = any(isinstance(value, Tensor) and value.roles & _OF_ATTENTION for value in seen.args)
    return of_attention or seen.symbol in model.scored


def _is_meant(node: ast.expr, symbol: str, places: Places) -> bool:
    """Tell whether a name says that the diagonal is asked for."""
    statement = places.statement(node)
    return is_said(DIAGONALS, symbol) or (statement is not None and names_said(DIAGONALS, statement))


def _message(node: ast.expr, diagonal: _Diagonal, kind: str) -> str:
    letter, side = _as_written(node, diagonal)
    return f"`{letter}` stands twice in `{side}`: only the diagonal of the {kind} is used"


def _as_written(node: ast.expr, diagonal: _Diagonal) -> tuple[str, str]:
    """The letter and its operand as the code has them: names of several letters have one each in the model."""
    texts = [text_of(each) for each in node.args] if isinstance(node, ast.Call) else []
    sides = next((text.partition("->")[0].split(",") for text in texts if text is not None), [])
    if diagonal.place < len(sides):
        names = sides[diagonal.place].split()
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            return twice[0], " ".join(names)
    return diagonal.letter, diagonal.side
