"""MHA121: dimensions that change places in a view, with no transpose."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from mha_lint.model.order import Crossing, crossed, in_order, is_told, merged_across, split_across
from mha_lint.model.sizes import ONE
from mha_lint.rules.asking import is_context, is_projection, literal
from mha_lint.rules.base import Hit, Rule
from mha_lint.syntax.places import method_name
from mha_lint.vocabulary import ALLOCATED

if TYPE_CHECKING:
    from mha_lint.model.attention import FileModel
    from mha_lint.model.events import ViewSeen
    from mha_lint.model.layout import Shape
    from mha_lint.model.values import Tensor
    from mha_lint.syntax.places import Places

_SCORED = frozenset({"scores", "weights"})


class ViewForTranspose(Rule):
    """## What it does

    Flags a `.view` or `.reshape` between shapes in which two dimensions change places, although nothing moved them: an
    image `(b, c, h, w)` that is reshaped to the tokens `(b, h*w, c)`, a sequence `(b, c, t)` that is viewed as
    `(b, t, c)`, the result `(b, heads, t, d)` of an attention that is reshaped to `(b, heads, d, h, w)`. It looks at
    classes and functions that attend, at classes that hold such ones, and at functions that these call.

    ## Why it matters

    A view keeps the order of the numbers. What is then called the features of one token are the first numbers of one
    channel: pieces of many tokens. The shapes are right, nothing raises, and the model trains, a good deal worse.

    ## Example

    ```python
    b, c, h, w = x.shape
    tokens = x.reshape(b, h * w, c)
    ```

    Use instead:

    ```python
    b, c, h, w = x.shape
    tokens = x.flatten(2).transpose(1, 2)
    ```

    ## Fix

    Moves the dimensions before the view, or lets the view keep their order and moves them afterwards. The fix is
    *unsafe* because the module computes something else afterwards, on purpose: weights that were trained with the
    scrambled order must be trained again. Relation *corrected*: before, a permutation of the tokens does more than
    permute the result, or tokens that are all alike become different ones, or different values to be weighed, or an
    entry of the batch depends on others. After, nothing of this happens. With one token, both compute the same.

    ## When it stays silent

    - The sizes are not known well enough to tell the order, on some path through the code, or are the same, or the
      dimensions only split and merge with their neighbours.
    - A later view puts the dimensions back in order, with nothing but elementwise operations between.
    - The tensor is a parameter, or was made of constants or of random numbers: no order of these is wrong.
    - One of the dimensions that change places is 1, on some path through the code.
    - A cache was found to be there on the way (`if past is not None`): behind it, new tokens come one by one.
    - The tensor is scores, weights or a mask, was padded, or one of the sizes counts a few more than another one, as
      `t + 1`: such a view shifts positions.
    - The tensor is a cache, whose memory others have laid out.
    - Rows and columns become one dimension with the batch that is written `-1`, as `(b, c, h, w)` to `(-1, c)`: of
      what was pooled there is one of each.
    - The heads of an attention are merged or split there: MHA101 and MHA102 tell that.
    - The code is not about attention, or moves its dimensions with einops.

    ## References

    - [`torch.Tensor.view`](https://docs.pytorch.org/docs/stable/generated/torch.Tensor.view.html)
    """

    code = "MHA121"
    name = "view-for-transpose"
    severity = "error"
    finds = "a view in which dimensions change places, as `(b, c, h, w)` to `(b, h*w, c)`"
    why = "A view keeps the order of the numbers: each token gets numbers of many tokens, and nothing raises."
    applicability = "unsafe"
    relation = "corrected"
    invalid: ClassVar = (
        "import torch.nn.functional as F\n\n\ndef attend(x):\n    b, c, h, w = x.shape\n"
        "    tokens = x.reshape(b, h * w, c)\n    return F.scaled_dot_product_attention(tokens, tokens, tokens)\n",
        "import torch.nn.functional as F\n\n\ndef attend(x, y):\n    b, c, t = x.shape\n    q = x.view(b, t, c)\n"
        "    return F.scaled_dot_product_attention(q, y, y)\n",
    )
    valid: ClassVar = (
        "import torch.nn.functional as F\n\n\ndef attend(x):\n    b, c, h, w = x.shape\n"
        "    tokens = x.flatten(2).transpose(1, 2)\n"
        "    return F.scaled_dot_product_attention(tokens, tokens, tokens)\n",
        "import torch.nn.functional as F\n\n\ndef attend(x):\n    b, t, c = x.shape\n    q = x.view(b, t, 4, c // 4)\n"
        "    return F.scaled_dot_product_attention(q, q, q).reshape(b, -1)\n",
    )

    def check(self, model: FileModel, places: Places) -> Iterator[Hit[Crossing | None]]:
        for node, seen in model.views.items():
            if node in model.put_back or not isinstance(node, ast.Call) or _is_of_heads(seen, model):
                continue
            if seen[0].symbol.partition(".")[0] not in model.about:
                continue
            found = [_crossing(view) for view in seen if _is_known(view)]
            if found and all(found):
                agreed = found[0] if len(set(found)) == 1 else None
                message = "dimensions change places in a view, with no transpose: it mixes up what lies along them"
                yield Hit(method_name(node), node, message, seen[0].symbol, evidence=agreed)


def _is_known(view: ViewSeen) -> bool:
    """Tell whether the sizes are known at a view, or are at least what no path knows better."""
    source, target = view.tensor.shape, view.target
    if source is None or not target or view.one_by_one:
        return False
    return not view.joined or is_told(source, target)


def _crossing(view: ViewSeen) -> Crossing | None:
    """Return how dimensions change places in a view of what the function was given; None where they do not, or may."""
    tensor = view.tensor
    if tensor.shape is None or tensor.made or tensor.padded or tensor.mask is not None:
        return None
    if "parameter" in tensor.roles or tensor.roles & _SCORED:
        return None
    if tensor.inputs and all(key.of_self for key in tensor.inputs):
        return None  # a buffer
    if tensor.reordered is not None and in_order(tensor.reordered.shape, view.target):
        return None
    if _is_storage(tensor) or (_begins_with_the_rest(view.node) and _may_be_pooled(tensor.shape, view.target)):
        return None
    return crossed(tensor.shape, view.target)


def _is_storage(tensor: Tensor) -> bool:
    """A cache that is handed around is memory: who reads it says how others have laid it out."""
    return any(key.says(ALLOCATED) for key in tensor.inputs)


def _begins_with_the_rest(node: ast.expr) -> bool:
    """``x.view(-1, c)`` does not say what becomes one dimension with the batch."""
    sizes = node.args if isinstance(node, ast.Call) else []
    first = sizes[0] if sizes else None
    if isinstance(first, (ast.Tuple, ast.List)) and first.elts:
        first = first.elts[0]
    return literal(first) == -1


def _may_be_pooled(source: Shape, target: Shape) -> bool:
    """(b, c, h, w) becomes (b*h*w, c): what was pooled, or convolved as a whole, has one row and one column."""
    rest = target[0].divide(source[0])
    return rest is not None and rest != ONE


def _is_of_heads(seen: list[ViewSeen], model: FileModel) -> bool:
    """Tell whether a view merges or splits heads across the tokens, on some path."""
    if any(is_context(view) and merged_across(view) for view in seen):
        return True
    return any(is_projection(view, model) and split_across(view) for view in seen)
