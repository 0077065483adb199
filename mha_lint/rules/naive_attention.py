"""MHA201: attention that is written by hand where one fused call does it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct

from mha_lint.model.by_hand.adders import adder_called
from mha_lint.model.by_hand.expressions import Reader
from mha_lint.model.by_hand.numbers import masks_with
from mha_lint.model.by_hand.statements import attention_in
from mha_lint.model.by_hand.steps import Added, Cast, Dropped, Filled, Scaled, Shifted, Step, Turned, Viewed
from mha_lint.model.held import Held, Place
from mha_lint.rules.base import Hit, Rule
from mha_lint.rules.mask_uses import always_masks_just_the_future
from mha_lint.syntax.nodes import FUNCTIONS, Function, dotted, last_name, walk
from mha_lint.syntax.usage import read_later
from mha_lint.vocabulary import ACROSS_HEADS, DROPS_NUMBERS, FUSED, is_said

if TYPE_CHECKING:
    from mha_lint.model.attention import FileModel
    from mha_lint.model.by_hand.steps import ByHand
    from mha_lint.syntax.names import ClassInfo
    from mha_lint.syntax.places import Places


class Naive(Struct, frozen=True):
    """Attention by hand; ``is_causal`` where its only mask hides the future and nothing else, on every path."""

    by_hand: ByHand
    is_causal: bool


class NaiveAttention(Rule):
    """## What it does

    Flags softmax(q kᵀ) v that is written as two products with a softmax between them, where nothing else reads the
    weights: `@`, `matmul`, `bmm`, `baddbmm` and `einsum` in any order of dimensions; scaled before or behind the first
    product; masks that are added, filled or chosen by `where`, under a condition too; functions, methods and layers of
    the project that add something to the scores; dropout on the weights; casts to float32 and back; the largest score
    subtracted first.

    ## Why it matters

    The scores of t queries and s keys take t × s numbers for each head. Written by hand, they go to memory and come
    back some six times. `F.scaled_dot_product_attention` keeps them in the processor's own memory: on a GPU in half
    precision it takes a fraction of the time, and memory that grows with t, not with its square.

    ## Example

    ```python
    scores = q @ k.transpose(-2, -1) * self.scale
    scores = scores.masked_fill(self.mask[:t, :t] == 0, float("-inf"))     # a lower triangle
    weights = self.dropout(scores.softmax(dim=-1))
    context = weights @ v
    ```

    Use instead:

    ```python
    context = F.scaled_dot_product_attention(
        q, k, v, dropout_p=self.dropout.p if self.dropout.training else 0.0, is_causal=True, scale=self.scale
    )
    ```

    ## Fix

    One call takes the place of the last product, and the statements before it go, or make the mask.

    - *Scale*: left out where it is known to be 1/√d, which is the default; else `scale=`, which must be a number. A
      tensor with a number for each head, or for each query, multiplies the queries instead.
    - *Mask*: `is_causal=True` where the mask hides the future of as many keys as there are queries, and nothing
      else. What is added stays a mask of floats, in the type of the queries. A function that adds to scores is called
      with zeros in their place: what it gives is the mask. Scores that are filled with minus infinity become a
      boolean mask. Where they are filled with a finite number, a row that hides all keys averages all values: the fix
      keeps that by a query of zeros for such a row.
    - *Dropout*: `dropout_p`, zero in eval mode. The fix is *unsafe* then: on a GPU the kernels draw other random
      numbers.
    - *Three dimensions* (`bmm`): one more in front for the call, without which no fused kernel takes them.
    - *Memory*: a product is contiguous, and what a kernel gives need not be. Where a `view` is taken of the product,
      or of the name that it gets, the fix puts `.contiguous()` in between.

    Layers and buffers that served the scores alone stay, so that the `state_dict` and other code find them.

    Relation *equivalent*, with other arithmetic: results and gradients are off from a float64 run of the original by
    no more than twice what the original is off by, and one unit in the last place. A row that is masked as a whole
    with minus infinity gives NaN before and zeros after: there is no result to keep. What is lost are second
    derivatives: fused kernels have none, and raise.

    `torch.compile` fuses some of this by itself, in compiled code. Of its 30 patterns 29 are fixed here:
    [the table](../fused-attention-patterns.md) says which, and why one is not.

    It may be slower where there are few tokens, on a CPU without a fused kernel for the type, with a mask of floats
    that is large in itself, and above all with heads wider than 256: no fused kernel of CUDA takes them, and in half
    precision the one that is left took 1.3 to 7.3 times as long on an H100 as the same attention by hand
    ([docs/speed.md](../speed.md)). `--bench` measures it, and `--bench-only-if-faster` withholds what is not faster.

    ## When it stays silent

    - The weights are returned, kept, or read in any other way.
    - The class, or the function, calls a fused kernel already, on another path.
    - Something is done to scores or weights that fused attention can't: a layer that mixes heads, a cap by `tanh`,
      a sink, the k largest alone, a mask on the weights.
    - The softmax sums along another dimension than that of the keys, or attention is over channels or heads.
    - Scores are filled with a number that masks nothing.
    - Scores go to a function that may do more than add to them, or whose code is not in the project.

    ## References

    - Dao et al., [FlashAttention](https://arxiv.org/abs/2205.14135); PyTorch,
      [scaled_dot_product_attention](https://pytorch.org/docs/stable/generated/torch.nn.functional.scaled_dot_product_attention.html)
    - Gains that people measured: [pytorch/torchtitan#999](https://github.com/pytorch/torchtitan/pull/999),
      [open-mmlab/mmpretrain#1434](https://github.com/open-mmlab/mmpretrain/pull/1434)
    """

    code = "MHA201"
    name = "naive-attention"
    severity = "warning"
    finds = "softmax(q kᵀ) v by hand, whose weights nothing else reads"
    why = "A fused kernel never writes the scores to memory: it takes a fraction of the time and of the memory."
    applicability = "safe"
    relation = "equivalent"
    invalid: ClassVar = (
        "import torch\n\n\ndef attend(q, k, v):\n"
        "    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5\n"
        "    weights = torch.softmax(scores, dim=-1)\n    return weights @ v\n",
    )
    valid: ClassVar = (
        invalid[0].replace("return weights @ v", "return weights @ v, weights"),
        "import torch.nn.functional as F\n\n\ndef attend(q, k, v):\n"
        "    return F.scaled_dot_product_attention(q, k, v)\n",
    )

    def check(self, model: FileModel, places: Places) -> Iterator[Hit[Naive]]:
        held = Held()
        for function, softmaxes in _by_function(model).items():
            place = Place(function, _class_around(function, model), model.names)
            adder = partial(adder_called, place=place, held=held)
            reader = Reader(model.names, {call: made.dropouts for call, made in softmaxes.items()}, _is_dropout, adder)
            for found in attention_in(function, reader):
                softmax = found.softmax
                if softmax in softmaxes and _is_legal(found) and not _is_on_purpose(found, model, places):
                    message = "softmax(q kᵀ) v by hand: `F.scaled_dot_product_attention` does it in one kernel"
                    evidence = Naive(found, _hides_the_future(found, model))
                    yield Hit(softmax, softmax, message, softmaxes[softmax].symbol, evidence=evidence)


class _Softmax(Struct, frozen=True):
    """A call that makes weights: the method that it is in, and the places of dropouts in the layers that it calls."""

    symbol: str
    dropouts: tuple[int, ...] = ()


def _by_function(model: FileModel) -> dict[Function, dict[ast.expr, _Softmax]]:
    """The softmaxes whose weights are summed over values along their own dimension, by the functions they stand in."""
    found: dict[Function, dict[ast.expr, _Softmax]] = {}
    for node, seen in model.weightings.items():
        if not isinstance(node, ast.Call) or any(each.contracted not in each.normalised.dims for each in seen):
            continue
        function = _function_around(node, model)
        if function is None:
            continue
        if function.name != "__init__":
            for call in _calls_in_place(node, function):
                found.setdefault(function, {})[call] = _Softmax(seen[0].symbol)
            continue
        for symbol in dict.fromkeys(each.symbol for each in seen):
            for method in [each for each, name in model.defined_in.items() if name == symbol]:
                calls, dropouts = _calls_of_layer(node, function, method)
                found.setdefault(method, {}).update(dict.fromkeys(calls, _Softmax(symbol, dropouts)))
    return found


def _function_around(node: ast.AST, model: FileModel) -> Function | None:
    """The function or method of the file in whose rows a node stands."""
    row: int = getattr(node, "lineno", 0)
    around = [each for each in model.defined_in if each.lineno <= row <= (each.end_lineno or row)]
    return max(around, key=lambda each: each.lineno, default=None)


def _class_around(function: Function, model: FileModel) -> ClassInfo | None:
    return next((cls for cls in model.names.every_class if function in cls.methods.values()), None)


def _calls_in_place(made: ast.Call, function: Function) -> list[ast.Call]:
    """The call of a softmax; of ``nn.Softmax(dim=-1)(scores)``, where a layer is made, that of the layer."""
    if last_name(made.func) != "Softmax":
        return [made]
    return [each for each in walk(function) if isinstance(each, ast.Call) and each.func is made]


def _calls_of_layer(made: ast.Call, constructor: Function, method: Function) -> tuple[list[ast.Call], tuple[int, ...]]:
    """The calls, in a method, of the attribute that a constructor gives a layer to, and the dropouts behind it."""
    for node in walk(constructor):
        if not isinstance(node, ast.Assign):
            continue
        dropouts = _dropouts_behind(made, node.value)
        name = dotted(node.targets[0])
        if dropouts is not None and name is not None:
            return [each for each in walk(method) if isinstance(each, ast.Call) and dotted(each.func) == name], dropouts
    return [], ()


def _dropouts_behind(made: ast.Call, value: ast.expr) -> tuple[int, ...] | None:
    """The places of dropouts in ``nn.Sequential(nn.Softmax(dim=-1), nn.Dropout(p))``; None where it is another layer.

    Of the layer by itself there are none.
    """
    if value is made:
        return ()
    if not isinstance(value, ast.Call) or last_name(value.func) != "Sequential" or value.args[:1] != [made]:
        return None
    behind = value.args[1:]
    are_dropouts = all(isinstance(each, ast.Call) and last_name(each.func) == "Dropout" for each in behind)
    return tuple(range(1, len(value.args))) if are_dropouts else None


def _hides_the_future(found: ByHand, model: FileModel) -> bool:
    masks = [step for step in found.steps() if isinstance(step, (Added, Filled))]
    if len(masks) != 1 or (isinstance(masks[0], Added) and (masks[0].subtracts or masks[0].given is not None)):
        return False
    return always_masks_just_the_future(model.operations.get(masks[0].node, []), model)


def _is_dropout(call: ast.Call) -> bool:
    return is_said(DROPS_NUMBERS, last_name(call.func))


def _is_legal(found: ByHand) -> bool:
    """Tell whether fused attention can do all that the code does between the two products."""
    before, after = found.of_scores, found.of_weights
    if not all(isinstance(step, (Scaled, Added, Filled, Cast, Shifted, Viewed)) for step in before):
        return False
    if not all(isinstance(step, (Cast, Dropped, Turned)) for step in after) or not _views_come_back(before):
        return False
    return all(masks_with(step.value, found.function) for step in before if isinstance(step, Filled))


def _views_come_back(steps: list[Step]) -> bool:
    """Tell whether scores are only viewed as those of windows for a mask that is added there, and back."""
    places = [place for place, step in enumerate(steps) if isinstance(step, Viewed)]
    if not places:
        return True
    return len(places) == 2 and places[1] == places[0] + 2 and isinstance(steps[places[0] + 1], Added)


def _is_on_purpose(found: ByHand, model: FileModel, places: Places) -> bool:
    """Tell whether the weights are read later, or the code has a fused way already, or attends over channels."""
    if any(read_later(found.statement, name, places) for name in found.names if not _rebinds(found.statement, name)):
        return True
    around = [each for each in places.parents(found.statement) if isinstance(each, (*FUNCTIONS, ast.ClassDef))]
    if any(is_said(ACROSS_HEADS, each.name) for each in around):
        return True
    outermost = next((each for each in around if isinstance(each, ast.ClassDef)), around[-1])
    return any(isinstance(node, ast.Call) and is_said(FUSED, last_name(node.func)) for node in walk(outermost))


def _rebinds(statement: ast.stmt, name: str) -> bool:
    """Tell whether a statement gives a name to what it computes: ``scores = scores @ v``."""
    match statement:
        case ast.Assign(targets=[ast.Name(id=target)]):
            return target == name
        case _:
            return False
