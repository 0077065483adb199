"""MHA117: a layer that takes the tokens first is given tensors whose batch comes first."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct

from mha_lint.model.axes import Front, Source
from mha_lint.model.sizes import ONE
from mha_lint.rules.asking import in_order
from mha_lint.rules.base import Hit, Rule
from mha_lint.syntax.nodes import is_starred, last_name
from mha_lint.vocabulary import ACROSS_ENTRIES, is_said

if TYPE_CHECKING:
    from mha_lint.model.attention import FileModel
    from mha_lint.model.axes import AxisRoles, SequencesSeen
    from mha_lint.syntax.places import Places

INDEPENDENT = 2  # pieces of evidence without which nothing is reported


class BatchFirst(Struct, frozen=True):
    """The evidence: the call that builds the layer, and what it was given.

    ``raises`` where the shape of a mask makes torch raise, unless a batch has as many entries as tokens. ``elsewhere``
    where another file builds the layer.
    """

    made: ast.Call
    given: tuple[Front, ...]
    raises: bool
    elsewhere: bool = False


class BatchFirstMissing(Rule):
    """## What it does

    Flags `nn.MultiheadAttention`, `nn.TransformerEncoderLayer`, `nn.TransformerDecoderLayer` and `nn.Transformer` that
    are built without `batch_first=True`, and are given tensors `(b, t, c)` whose batch comes first.

    ## Why it matters

    Without the flag these layers take `(t, b, c)`. They take the batch for the tokens: the first token of an entry
    attends to the first tokens of all other entries, and to no other token of its own. The shapes fit and nothing
    raises. The result of an entry depends on which others are in its batch.

    ## Example

    ```python
    self.attend = nn.MultiheadAttention(dim, heads)
    ...
    b, c, h, w = x.shape
    x = x.flatten(2).transpose(1, 2)    # (b, h*w, c)
    y, _ = self.attend(x, x, x)
    ```

    Use instead:

    ```python
    self.attend = nn.MultiheadAttention(dim, heads, batch_first=True)
    ```

    ## Fix

    Adds `batch_first=True` to the call that builds the layer. Parameters keep their names and shapes. The fix is
    *unsafe* because the module computes something else afterwards, on purpose. Relation *corrected*: before, the
    result of an entry changes with other entries of the batch, or tokens of an entry never meet; after, neither is so.
    There is no fix where the shape of a mask makes torch raise, unless a batch has as many entries as tokens, and none
    where another file builds the layer: the call that leads there with `(b, t, c)` is told.

    ## When it stays silent

    - Fewer than two independent things in the file tell that the batch comes first. Such things are the names of
      sizes, a convolution, a recurrent layer with `batch_first=True`, rows and columns that were made one dimension, a
      learned table `(1, t, c)`, learned tokens that each entry is given, a mean over the tokens, a token that is taken
      out, tokens that are made one vector, other attention over the tokens, another layer with `batch_first=True`. The
      shape of a mask is enough alone, and so are queries that the module has for each entry, since torch raises for
      any other.
    - Anything tells that the tokens come first, at any call of the layer.
    - `batch_first=False` is written out, or the arguments are not all known.
    - The name of the class or of the layer says that entries are meant to meet: across frames, samples or the batch.

    ## References

    - [om-ai-lab/OmDet#19](https://github.com/om-ai-lab/OmDet/issues/19)
    - [IBM/TabFormer#14](https://github.com/IBM/TabFormer/issues/14)
    - [`nn.MultiheadAttention`](https://docs.pytorch.org/docs/stable/generated/torch.nn.MultiheadAttention.html)
    """

    code = "MHA117"
    name = "batch-first-missing"
    severity = "error"
    finds = "`nn.MultiheadAttention` and `nn.Transformer…` without `batch_first=True` that are given `(b, t, c)`"
    why = "The layer takes the batch for the tokens: entries of a batch attend to each other, and tokens never meet."
    applicability = "unsafe"
    relation = "corrected"
    invalid: ClassVar = (
        "from torch import nn\n\n\nclass Block(nn.Module):\n    def __init__(self, c):\n        super().__init__()\n"
        "        self.attend = nn.MultiheadAttention(c, 4)\n\n    def forward(self, x):\n"
        "        b, c, h, w = x.shape\n        x = x.flatten(2).transpose(1, 2)\n"
        "        return self.attend(x, x, x)[0]\n",
    )
    valid: ClassVar = (
        "from torch import nn\n\n\nclass Block(nn.Module):\n    def __init__(self, c):\n        super().__init__()\n"
        "        self.attend = nn.MultiheadAttention(c, 4)\n\n    def forward(self, x):\n"
        "        b, c, h, w = x.shape\n        x = x.flatten(2).permute(2, 0, 1)\n"
        "        return self.attend(x, x, x)[0]\n",
        "from torch import nn\n\n\nclass Block(nn.Module):\n    def __init__(self, c):\n        super().__init__()\n"
        "        self.attend = nn.MultiheadAttention(c, 4, batch_first=True)\n\n    def forward(self, x):\n"
        "        b, c, h, w = x.shape\n        x = x.flatten(2).transpose(1, 2)\n"
        "        return self.attend(x, x, x)[0]\n",
    )

    def check(self, model: FileModel, places: Places) -> Iterator[Hit[BatchFirst]]:
        for made, seen in in_order(model.axes.given):
            if made in model.abroad or not _leaves_it_out(made, model):
                continue
            told = _told(seen, model.axes)
            if told is None or _is_meant(made, seen, places):
                continue
            message = f"`{last_name(made.func)}` takes `(t, b, c)`, and is given `(b, t, c)`: {_reason(told)}"
            evidence = BatchFirst(made, _fronts(seen), Source.MASK in told)
            yield Hit(made.func, made, message, seen[0].symbol, evidence=evidence)
        for (call, made), seen in _led(model).items():
            told = _told(seen, model.axes)
            if told is None or _is_meant(made, seen, places):
                continue
            message = (
                f"this leads to a `{last_name(made.func)}` of another file, which takes `(t, b, c)`, and is given "
                f"`(b, t, c)`: {_reason(told)}"
            )
            function = places.function(call)
            symbol = seen[0].symbol if function is None else model.defined_in.get(function, function.name)
            evidence = BatchFirst(made, _fronts(seen), Source.MASK in told, elsewhere=True)
            yield Hit(call, call, message, symbol, evidence=evidence)


def _reason(told: frozenset[Source]) -> str:
    words = _listed(sorted(source.value for source in told))
    return f"{words} {'tell' if len(told) > 1 else 'tells'} that the batch comes first"


def _fronts(seen: list[SequencesSeen]) -> tuple[Front, ...]:
    return tuple(dict.fromkeys(front for each in seen for front in each.given))


def _led(model: FileModel) -> dict[tuple[ast.expr, ast.Call], list[SequencesSeen]]:
    """What layers of torch are given that other files build, by the call of this one that led there, and the layer."""
    found: dict[tuple[ast.expr, ast.Call], list[SequencesSeen]] = {}
    for made in model.axes.given.keys() & model.abroad:
        flags = {keyword.arg for keyword in made.keywords} & {None, "batch_first"}
        if flags or is_starred(made) or not isinstance(made.func, ast.Attribute):  # else it may be a class of its own
            continue
        for seen in model.axes.given[made]:
            if seen.led is not None and seen.led not in model.abroad:
                found.setdefault((seen.led, made), []).append(seen)
    return dict(sorted(found.items(), key=lambda entry: (entry[0][0].lineno, entry[0][0].col_offset)))


def _leaves_it_out(made: ast.Call, model: FileModel) -> bool:
    """The call is of torch's own class, and says nothing of the batch."""
    said = {keyword.arg for keyword in made.keywords}
    own = (model.names.qualify(made.func) or "").startswith("torch.nn.")
    return own and not said & {None, "batch_first"} and not is_starred(made)


def _told(seen: list[SequencesSeen], axes: AxisRoles) -> frozenset[Source] | None:
    """Return what tells that the batch comes first; None where it is too little, or something tells otherwise."""
    best: frozenset[Source] = frozenset()
    for each in seen:
        by_shapes = frozenset(source for source, first in each.shapes if first)
        if each.batch_first is not False or len(by_shapes) < len(each.shapes):
            return None
        if any(axes.sources(front, batch_first=False) for front in each.given):
            return None
        if not by_shapes and not all(map(_is_of_many, each.given)):
            continue
        sources = frozenset(source for front in each.given for source in axes.sources(front, batch_first=True))
        sources |= by_shapes
        if by_shapes or len(sources) >= INDEPENDENT:
            best = max(best, sources, key=len)
    return best or None


def _is_of_many(front: Front) -> bool:
    """There may be more than one entry, and more than one token."""
    return ONE not in front.first | front.second and front.first.isdisjoint(front.second)


def _is_meant(made: ast.Call, seen: list[SequencesSeen], places: Places) -> bool:
    """Names say that entries of the batch are meant to attend to each other."""
    words = [name for each in seen for name in each.symbol.split(".")]
    words += [last_name(each.node.func) for each in seen if isinstance(each.node, ast.Call)]
    owner = places.class_(made)
    words += [] if owner is None else [owner.name]
    return any(is_said(ACROSS_ENTRIES, word) for word in words)


def _listed(words: Iterable[str]) -> str:
    *before, last = words
    return f"{', '.join(before)} and {last}" if before else last
