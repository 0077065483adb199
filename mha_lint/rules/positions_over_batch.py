"""MHA116: a table of positions that runs along the batch."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct

from mha_lint.model.axes import Front, Source
from mha_lint.rules.asking import in_order
from mha_lint.rules.base import Hit, Rule
from mha_lint.syntax.nodes import last_name

if TYPE_CHECKING:
    from mha_lint.model.attention import FileModel
    from mha_lint.model.axes import AxisRoles, PositionsSeen
    from mha_lint.syntax.places import Places

INDEPENDENT = 2  # pieces of evidence without which nothing is reported
_DECLARED = frozenset({Source.LAYER, Source.RECURRENT})  # the code says itself, in words, what comes first


class OverBatch(Struct, frozen=True):
    """The evidence: the sum, and the tensors (b, t, c) to which positions are added there.

    ``elsewhere`` where a module of another file adds them; ``node`` is the call that hands the tensor over.
    """

    node: ast.AST
    given: tuple[Front, ...]
    elsewhere: bool = False


class PositionsOverBatch(Rule):
    """## What it does

    Flags positions of shape `(n, 1, c)` that are added to a tensor `(b, t, c)` whose batch comes first, with `n`
    taken from the batch: `pe[: x.size(0)]`, or an embedding of `arange(x.size(0))`.

    ## Why it matters

    Every token of an entry gets the same position, and each entry of the batch another one. So the model does not
    know the order of its tokens, and its result for an entry depends on where in the batch that entry stands. The
    shapes fit, and nothing raises. The well-known `PositionalEncoding` of PyTorch's tutorial is written for
    `(t, b, c)`, and does this to any `(b, t, c)`.

    ## Example

    ```python
    # pe: (max_len, 1, c)
    x = x + self.pe[: x.size(0)]
    x = self.encoder(x)    # batch_first=True
    ```

    Use instead:

    ```python
    x = x + self.pe[: x.size(1)].transpose(0, 1)
    ```

    ## Fix

    Cuts the table to the tokens, and brings its rows to their dimension. The fix is *unsafe* because the module
    computes something else afterwards, on purpose. Relation *corrected*: before, the result of an entry depends on
    where it stands in the batch; after, it does not. There is no fix where it is not seen to which size the table is
    cut, or how many positions are numbered, and none where a module of another file adds the positions: the call that
    hands it a tensor `(b, t, c)` is told.

    ## When it stays silent

    - The tensor is `(t, b, c)`, or it is not known which comes first: the tutorial's class alone tells nothing. That
      the batch comes first is known where a layer that is given the tensor says `batch_first=True`, or where two
      independent other things tell it (see MHA117).
    - Anything but the table itself tells that the tokens come first.

    ## References

    - [KasperGroesLudvigsen/influenza_transformer#9](https://github.com/KasperGroesLudvigsen/influenza_transformer/issues/9)
    - [songyangco/GETNext#2](https://github.com/songyangco/GETNext/issues/2)
    - [pytorch/tutorials#1547](https://github.com/pytorch/tutorials/issues/1547)
    """

    code = "MHA116"
    name = "positions-over-batch"
    severity = "error"
    finds = "a table of positions that runs along the batch: `pe[: x.size(0)]` added to `(b, t, c)`"
    why = "All tokens of an entry get the same position: the model does not know their order, and nothing raises."
    applicability = "unsafe"
    relation = "corrected"
    invalid: ClassVar = (
        "import torch\nfrom torch import nn\n\n\nclass Model(nn.Module):\n    def __init__(self, c):\n"
        "        super().__init__()\n        self.register_buffer('pe', torch.zeros(512, 1, c))\n"
        "        self.attend = nn.MultiheadAttention(c, 4, batch_first=True)\n\n    def forward(self, x):\n"
        "        x = x + self.pe[: x.size(0)]\n        return self.attend(x, x, x)[0]\n",
    )
    valid: ClassVar = (
        "import torch\nfrom torch import nn\n\n\nclass Model(nn.Module):\n    def __init__(self, c):\n"
        "        super().__init__()\n        self.register_buffer('pe', torch.zeros(512, 1, c))\n"
        "        self.attend = nn.MultiheadAttention(c, 4)\n\n    def forward(self, x):\n"
        "        x = x + self.pe[: x.size(0)]\n        return self.attend(x, x, x)[0]\n",
        "import torch\nfrom torch import nn\n\n\nclass Model(nn.Module):\n    def __init__(self, c):\n"
        "        super().__init__()\n        self.register_buffer('pe', torch.zeros(1, 512, c))\n"
        "        self.attend = nn.MultiheadAttention(c, 4, batch_first=True)\n\n    def forward(self, x):\n"
        "        x = x + self.pe[:, : x.size(1)]\n        return self.attend(x, x, x)[0]\n",
    )

    def check(self, model: FileModel, places: Places) -> Iterator[Hit[OverBatch]]:
        for node, seen in in_order(model.axes.positions):
            if node in model.abroad or not _is_sum(node, places) or not _runs_over_batch(seen, model.axes):
                continue
            message = "positions run along the batch of `(b, t, c)`: all tokens of an entry get the same one"
            statement = places.statement(node) if not isinstance(node, ast.expr) else node
            assert statement is not None
            yield Hit(statement, statement, message, seen[0].symbol, evidence=OverBatch(node, _fronts(seen)))
        for call, seen in in_order(_led(model)):
            if _runs_over_batch(seen, model.axes):
                message = (
                    "this adds positions along the batch of `(b, t, c)`, in another file: all tokens of an entry get "
                    "the same one"
                )
                function = places.function(call)
                symbol = seen[0].symbol if function is None else model.defined_in.get(function, function.name)
                yield Hit(call, call, message, symbol, evidence=OverBatch(call, _fronts(seen), elsewhere=True))


def _fronts(seen: list[PositionsSeen]) -> tuple[Front, ...]:
    return tuple(dict.fromkeys(each.front for each in seen))


def _led(model: FileModel) -> dict[ast.expr, list[PositionsSeen]]:
    """What modules of other files add, by the call of this one that led there."""
    found: dict[ast.expr, list[PositionsSeen]] = {}
    for node in model.axes.positions.keys() & model.abroad:
        for seen in model.axes.positions[node]:
            is_sum = isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add)
            if is_sum and seen.led is not None and seen.led not in model.abroad:
                found.setdefault(seen.led, []).append(seen)
    return found


def _is_sum(node: ast.AST, places: Places) -> bool:
    match node:
        case ast.BinOp(op=ast.Add()):
            return True
        case ast.Call(func=function):
            return last_name(function) in ("add", "add_")
        case _:
            statement = places.parent(node)
            return isinstance(statement, ast.AugAssign) and isinstance(statement.op, ast.Add)


def _runs_over_batch(seen: list[PositionsSeen], axes: AxisRoles) -> bool:
    """The batch comes first on some path, and the tokens on none."""
    found = False
    for each in seen:
        if axes.sources(each.front, batch_first=False) - {Source.TABLE}:
            return False
        told = axes.sources(each.front, batch_first=True) - {Source.TABLE}
        found = found or bool(told & _DECLARED) or len(told) >= INDEPENDENT
    return found
