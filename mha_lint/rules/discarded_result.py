"""MHA114: calls that give a new tensor, which nobody takes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct

from mha_lint.rules.base import Hit, Rule
from mha_lint.syntax.nodes import TRIES, last_name, walk
from mha_lint.syntax.words import names_said
from mha_lint.vocabulary import TRIES_OUT

if TYPE_CHECKING:
    from mha_lint.findings import Severity
    from mha_lint.model.attention import FileModel
    from mha_lint.model.events import DiscardedSeen
    from mha_lint.syntax.places import Places


class Discarded(Struct, frozen=True):
    """The evidence: the call, the tensor that it was meant to change as it is written, and whether it was to mask."""

    call: ast.Call
    written: ast.expr | None
    masks: bool


class DiscardedResult(Rule):
    """## What it does

    Flags calls that give a new tensor and leave the old one as it is, where they are statements of their own:
    `scores.masked_fill(mask, -1e9)`, `x.transpose(1, 2)`, `mask.unsqueeze(1)`, `rearrange(x, "b n d -> n b d")`. It is
    an error where the call was to mask, and a warning elsewhere. Weights whose scores were masked before the softmax
    need no second mask, so that it is a warning there.

    ## Why it matters

    The result is thrown away. A mask that is applied like this has never had an effect: the model attends to padding,
    or to the future, and trains all the same.

    ## Example

    ```python
    scores.masked_fill(mask == 0, float("-inf"))
    weights = scores.softmax(dim=-1)
    ```

    Use instead:

    ```python
    scores = scores.masked_fill(mask == 0, float("-inf"))
    weights = scores.softmax(dim=-1)
    ```

    ## Fix

    Assigns the result to the name of the tensor, where it has one. It is *unsafe* because the module computes something
    else afterwards, on purpose. Relation *corrected*. Where the call was to mask: before, a token that is masked
    changes the result; after, it does not. Of a layout and of numbers nothing says whether the result was meant to be
    used, or the line is a leftover. So the fix is made only where execution tells: before, tokens do not meet, scores
    have another variance than 1, weights do not add up to 1 or weigh nothing, or entries of a batch are mixed up;
    after, all is as it should be. Or before raises, whatever it is given, and after runs. Elsewhere the finding stays a
    warning, with what was tried.

    ## When it stays silent

    - What the method is called on is not known to be a tensor. Modules and batches have `to`, `float` and `half` of
      their own, and these work in place.
    - The call works in place, writes to `out=`, or draws random numbers; it is a question, such as `x.size()`; it is
      a product or a sum, which code computes for nothing where it takes the time.
    - The code is not about attention: files and functions that lay nothing out, score nothing and fill nothing.
    - The statement stands outside of functions, as in a notebook, which shows the value, or where errors are expected:
      in a `try`, or in a `with` that names `raises`, a timer or a profiler; or it is in a loop that makes the same
      calls again and keeps nothing.

    ## References

    - [facebookresearch/ParlAI#3068](https://github.com/facebookresearch/ParlAI/pull/3068),
      [huggingface/transformers#35162](https://github.com/huggingface/transformers/pull/35162),
      [lucidrains/flamingo-pytorch#10](https://github.com/lucidrains/flamingo-pytorch/issues/10)
    - [`Tensor.masked_fill`](https://docs.pytorch.org/docs/stable/generated/torch.Tensor.masked_fill.html): the
      out-of-place version of `masked_fill_`
    """

    code = "MHA114"
    name = "discarded-result"
    severity = "error"
    finds = "`scores.masked_fill(…)` as a statement of its own"
    why = "The call gives a new tensor and leaves the old one as it is: without an assignment it does nothing."
    applicability = "unsafe"
    relation = "corrected"
    invalid: ClassVar = (
        "def attend(q, k, v, mask):\n    s = q @ k.transpose(-2, -1)\n    s.masked_fill(mask == 0, -1e9)\n"
        "    return s.softmax(-1) @ v\n",
        "import torch\n\n\ndef attend(q, k, v, mask):\n    s = q @ k.transpose(-2, -1)\n    q.transpose(1, 2)\n"
        "    torch.masked_fill(s, mask == 0, -1e9)\n    return s.softmax(-1) @ v\n",
    )
    valid: ClassVar = (
        "def attend(q, k, v, mask):\n    s = q @ k.transpose(-2, -1)\n    s.masked_fill_(mask == 0, -1e9)\n"
        "    return s.softmax(-1) @ v\n",
        "def attend(q, k, v, model):\n    model.half()\n    model.to('cuda')\n"
        "    return (q @ k.transpose(-2, -1)).softmax(-1) @ v\n",
    )

    def check(self, model: FileModel, places: Places) -> Iterator[Hit[Discarded]]:
        for node, seen in model.discarded.items():
            if any(each.caught for each in seen) or _is_tried_out(node, places):
                continue
            masks = any(each.masks for each in seen)
            evidence = Discarded(node, seen[0].written, masks)
            severity: Severity | None = None if masks else "warning"
            yield Hit(node, node, _message(node, seen[0], places, masks=masks), seen[0].symbol, evidence, severity)


def _is_tried_out(node: ast.Call, places: Places) -> bool:
    """Tell whether the code around expects an error, or takes the time that the call needs."""
    for parent in places.parents(node):
        if isinstance(parent, TRIES) and parent.handlers:
            return True
        if isinstance(parent, (ast.With, ast.AsyncWith)):
            managers = [item.context_expr for item in parent.items]
            if names_said(TRIES_OUT, *managers):
                return True
        if isinstance(parent, ast.For) and _only_repeats(parent):
            return True
    return False


def _only_repeats(loop: ast.For) -> bool:
    """Tell whether a loop makes the same calls again and keeps nothing of them, as code does that warms up."""
    if not isinstance(loop.target, ast.Name) or not all(isinstance(statement, ast.Expr) for statement in loop.body):
        return False
    counter = loop.target.id
    return not any(isinstance(node, ast.Name) and node.id == counter for each in loop.body for node in walk(each))


def _message(node: ast.Call, seen: DiscardedSeen, places: Places, *, masks: bool) -> str:
    name = last_name(node.func)
    written = seen.written
    named = written is not None and isinstance(written, (ast.Name, ast.Attribute))
    of = f"`{places.source(written)}`" if named and written is not None else "the tensor"
    if masks:
        return f"`{name}` gives a masked copy of {of}, which nobody takes: nothing is masked"
    return f"`{name}` gives a new tensor, which nobody takes: {of} stays as it is"
