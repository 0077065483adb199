"""Matrix products, linear maps and attention itself: shapes and strides, and the roles of their results."""

from __future__ import annotations

import ast

from mha_lint.model import layout
from mha_lint.model.factors import of_size
from mha_lint.model.folded import Fold
from mha_lint.model.folds import Folds
from mha_lint.model.layout import Answer, Refused, Shape, Strides
from mha_lint.model.masks import mask_of
from mha_lint.model.operations import clashes, equations
from mha_lint.model.operations.linear_maps import mapped_roles
from mha_lint.model.operations.open import contracted
from mha_lint.model.operations.pointwise import broadcast, met_orders, of_two
from mha_lint.model.operations.telling import note_pooled, note_scored
from mha_lint.model.records import replace
from mha_lint.model.run import Call, normal
from mha_lint.model.scale import Scale, of_scores
from mha_lint.model.sizes import ONE, Size, equate, product
from mha_lint.model.values import (
    NONE,
    NOTHING,
    Const,
    Tensor,
    Value,
    as_factor,
    as_tensor,
    fresh,
    of_shape,
)
from mha_lint.syntax.words import names_said
from mha_lint.vocabulary import KEYS, MASKS, QUERIES


def bmm(call: Call) -> Value:
    """Both are of three dimensions, which tells the rank where it was not known."""
    left, right = call.tensor(0, "input"), call.tensor(1, "mat2")
    if left is None or right is None:
        return NOTHING
    left, right = (call.interpreter.refine(call.state, tensor, 3) for tensor in (left, right))
    return multiplied(call, left, right)


def matmul(call: Call) -> Value:
    left, right = call.tensor(0, "input"), call.tensor(1, "other", "mat2")
    if left is None or right is None:
        return NOTHING
    return multiplied(call, left, right)


def paired(call: Call) -> Value:
    """``a * b``; what is multiplied by a parameter is learned, and two projections may become scores once summed."""
    result = of_two(call)
    if isinstance(result, Tensor) and any(_is_learned(value) for value in call.args[:2]):
        result = result.having("learned")
    in_place = isinstance(getattr(call.node, "ctx", None), ast.Store)  # ``*=`` has no room for the features of values
    if isinstance(result, Tensor) and result.normalised is not None and not in_place and _weighs(call):
        result = result.having("weighed")
    projected = all(isinstance(value, Tensor) and "projection" in value.roles for value in call.args[:2])
    distinct = len(call.args) > 1 and call.args[0] != call.args[1]
    return result.having("paired") if projected and distinct and isinstance(result, Tensor) else result


def _weighs(call: Call) -> bool:
    """Tell whether one operand is what a softmax gave, and the other neither that nor a mask."""
    if len(call.args) < 2:
        return False
    first, second = call.args[:2]
    return any(
        isinstance(weights, Tensor) and weights.normalised is not None and _is_weighed(values, call)
        for weights, values in ((first, second), (second, first))
    )


def _is_weighed(values: Value, call: Call) -> bool:
    tensor = as_tensor(values)
    if tensor is None or tensor.normalised is not None or mask_of(values, call.interpreter) is not None:
        return False
    return tensor.key is None or not tensor.key.says(MASKS)


def _is_learned(value: Value) -> bool:
    return isinstance(value, Tensor) and "parameter" in value.roles


def summed(call: Call) -> Value:
    """A sum over the last dimension of queries times keys gives scores; the shape of others is not asked for."""
    tensor, over = call.tensor(0, "input"), call.integer(1, "dim")
    if tensor is None:
        return Tensor()
    if tensor.normalised is not None and over is not None and "weighed" not in tensor.roles:
        call.interpreter.saw_counting(
            tensor.normalised, over if tensor.rank is None else over % tensor.rank - tensor.rank
        )
    if tensor.normalised is not None and over is not None and {"features", "weighed"} <= tensor.roles:
        along = over if over < 0 or tensor.rank is None else over - tensor.rank
        if tensor.normalised.dim == along or (tensor.normalised.dim < 0) != (along < 0):  # which are not compared
            call.interpreter.saw_pooling(tensor.normalised)
    if over != -1:
        note_pooled(call, tensor, over)
        return Tensor()
    if "paired" not in tensor.roles and not _is_of_queries_and_keys(call.node):
        return Tensor()
    key = call.interpreter.key(call.node)
    shape = None if tensor.shape is None or "keepdim" in call.keywords else tensor.shape[:-1]
    return Tensor(shape, key=key, roles=frozenset({"scores"}), inputs=tensor.inputs)


def _is_of_queries_and_keys(node: ast.expr) -> bool:
    """The names in a product that is summed are those of queries and keys."""
    product_of = node.func.value if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else None
    if isinstance(node, ast.Call) and node.args and not isinstance(product_of, ast.BinOp):
        product_of = node.args[0]
    match product_of:
        case ast.BinOp(op=ast.Mult(), left=left, right=right):
            sides = ((left, right), (right, left))
            return any(names_said(QUERIES, one) and names_said(KEYS, other) for one, other in sides)
        case _:
            return False


def outer(call: Call) -> Value:
    """The product of two vectors."""
    left, right = call.tensor(0, "input"), call.tensor(1, "vec2")
    if left is None or right is None:
        return NOTHING
    rows = left.shape[0] if left.rank == 1 and left.shape is not None else call.fresh_size("rows")
    columns = right.shape[0] if right.rank == 1 and right.shape is not None else call.fresh_size("columns")
    return fresh((rows, columns), inputs=left.inputs | right.inputs)


def baddbmm(call: Call) -> Value:
    left, right = call.tensor(1, "batch1"), call.tensor(2, "batch2")
    if left is None or right is None:
        return NOTHING
    result, added = multiplied(call, left, right), call.tensor(0, "input")
    if isinstance(result, Tensor) and added is not None:
        met_orders(call, [result, added], range(-9, 0), first=False)
    return result


def multiplied(call: Call, left: Tensor, right: Tensor) -> Value:
    """``left @ right``: bmm allocates a contiguous result; roles say which product of attention it is."""
    clashes.of_product(call, left, right)
    if left.shape is not None and right.shape is not None and left.shape and right.shape:
        inner = right.shape[-2] if len(right.shape) > 1 else right.shape[0]
        if not clashes.never_meet(left.shape[-1], inner):
            equate(left.shape[-1], inner, call.state.definitions)
        left, right = normal(left, call.state), normal(right, call.state)
    shape = product_shape(call, left, right)
    there = met_orders(call, [left, right], range(-9, -2), first=True)
    roles, width_at = product_roles(left, right)
    call.interpreter.saw_product(left, right)
    inputs = left.inputs | right.inputs
    key = call.interpreter.key(call.node)
    attended(call, left, right, roles)
    if "scores" in roles:
        keys = _transposed(right)
        call.interpreter.saw_heads(call, left, keys, -3, fused=False)
        note_scored(call, left, keys)
    weighted(call, left, right, roles, -1, -2)
    scale = _scale(call, left, right, left.last, roles) or _of_map(roles, left, right, right.last, left.last)
    if shape is None:
        known = contracted(call, left, right)
        suffix = right.suffix[-1:] if "weights" in left.roles else ()
        made = Tensor(suffix=suffix) if known is None else known
        least = max(left.least, right.least)
        made = replace(made, contiguous=True, least=least, key=key, roles=roles, inputs=inputs, scale=scale)
        return _of_heads(made, left, right)
    contiguous = len(shape) >= 2 and not (right.rank is not None and left.rank is not None and left.rank < right.rank)
    result = (fresh if contiguous else of_shape)(shape, roles=roles, inputs=inputs, scale=scale, folds=there)
    if "context" in roles and len(shape) >= 3 and _of_projected(left, right):
        result = replace(result, batch=product(shape[:-2]), width=shape[width_at])
    return result


def _of_heads(context: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """A context of unknown rank: the heads are among the dimensions that are told before its rows."""
    if "context" not in context.roles or len(context.suffix) < 3 or not _of_projected(left, right):
        return context
    return replace(context, batch=product(context.suffix[:-2]), width=context.suffix[-1])


def _scale(call: Call, left: Tensor, right: Tensor, width: Size | None, roles: frozenset[str]) -> Scale | None:
    """The scale of scores, where queries or keys are projections as far as is known."""
    if "scores" not in roles or _is_normed(call, left, right) or not (left.scale or right.scale):
        return None
    return of_scores(left.scale, right.scale, None if width is None else call.state.normal(width), call.node)


def _of_map(roles: frozenset[str], left: Tensor, right: Tensor, made: Size | None, given: Size | None) -> Scale | None:
    """The scale of a projection by a parameter, which may be of any size to begin with."""
    weight, other = (left, right) if maps(left) else (right, left)
    if "projection" not in roles or made is None or given is None or weight.shape is None or other.scale is not None:
        return None
    return Scale(whole=False, maps=frozenset({made, given}))


def weighted(call: Call, left: Tensor, right: Tensor, roles: frozenset[str], of_left: int, of_right: int) -> None:
    """Note along which dimension, from the end, weights are summed over the values."""
    for weights, values, along in ((left, right, of_left), (right, left, of_right)):
        normalised = weights.normalised
        if normalised is None:
            continue
        if "features" in weights.roles and normalised.dim == along and "parameter" not in values.roles:
            call.interpreter.saw_pooling(normalised)
        if "context" not in roles or "weights" not in weights.roles or values.roles & {"scores", "weights"}:
            continue
        behind = along == -1 and normalised.dim < weights.least - 1  # of unknown rank, and not over the last dimension
        if (normalised.dim < 0 and (normalised.parts == 1 or along not in normalised.dims)) or (
            normalised.dim >= 0 and behind
        ):
            call.interpreter.saw_weighting(normalised, along)
        return


def attended(call: Call, left: Tensor, right: Tensor, roles: frozenset[str]) -> None:
    """Note what a product of attention says of its operands."""
    run = call.interpreter
    if "context" in roles:
        values = right if left.roles & {"weights", "scores"} else left
        run.saw_use(values, "value")
        run.saw_attention()
    elif "scores" in roles:
        run.saw_use(left, "query")
        run.saw_use(right, "key")
        run.saw_kinds(*_kinds(left, right))


def _transposed(tensor: Tensor) -> Tensor:
    """Keys as they were before the product took them as columns."""
    if tensor.shape is not None and len(tensor.shape) > 1:
        return of_shape((*tensor.shape[:-2], tensor.shape[-1], tensor.shape[-2]))
    return replace(tensor, suffix=(*tensor.suffix[:-2], *tensor.suffix[:-3:-1]))


def _kinds(query: Tensor, key: Tensor) -> set[str]:
    """Which kinds of attention a product of queries and keys shows."""
    kinds = {kind for role, kind in (("repeated", "grouped-query"), ("cached", "key-value cache")) if role in key.roles}
    if query.inputs and key.inputs:
        kinds.add("self-attention" if query.inputs & key.inputs else "cross-attention")
    return kinds


def product_shape(call: Call, left: Tensor, right: Tensor) -> Shape | None:
    rank = max(left.rank or 0, right.rank or 0)
    if rank < 2 or (left.rank is None and rank < 3) or (left.rank is not None and left.rank < 2):
        return None
    if right.rank is not None and right.rank < 2:
        return None
    batches = [tensor.shape[:-2] for tensor in (left, right) if tensor.shape is not None]
    batch = broadcast(call.state, batches) if batches else ()
    rows = left.shape[-2] if left.shape is not None else call.fresh_size("rows")
    columns = right.shape[-1] if right.shape is not None else call.fresh_size("columns")
    return (*map(call.state.normal, batch), rows, columns)


def maps(tensor: Tensor) -> bool:
    """Return True for a parameter that maps, not for a learned query, whose leading 1 is broadcast over a batch."""
    return "parameter" in tensor.roles and not (tensor.shape and len(tensor.shape) > 2 and tensor.shape[0] == ONE)


def product_roles(left: Tensor, right: Tensor) -> tuple[frozenset[str], int]:
    """The roles of a product, and, for a context, which dimension holds the values."""
    if maps(left) or maps(right):
        return mapped_roles(left.roles | right.roles), -1
    if "weights" in left.roles:
        return frozenset({"context"}), -2 if _features_first(right) else -1
    if "weights" in right.roles:
        return frozenset({"context"}), -2
    if left.roles & {"merged", "projected"} or right.roles & {"merged", "projected"}:
        return frozenset({"projected"}), -1
    features = (left.roles | right.roles) & {"features"}
    if features and "scores" in left.roles | right.roles:  # linear attention: q (k^T v)
        return frozenset({"context"}), -1 if "scores" in right.roles else -2
    return frozenset({"scores"}) | features, -1


def _of_projected(left: Tensor, right: Tensor) -> bool:
    """Return True where the weighted values are a projection, or neither operand holds weights.

    Attention without a map of values is not meant to have an output map. In linear attention, the values are inside
    of the product of keys and values.
    """
    if "weights" not in left.roles | right.roles:
        return True
    return "projection" in (right if "weights" in left.roles else left).roles


def _features_first(values: Tensor) -> bool:
    """Tell whether the features lie in the second-to-last dimension, as where channels attend to channels.

    A projection writes its features side by side.
    """
    return values.strides is not None and len(values.strides) > 2 and values.strides[-2] == ONE != values.strides[-1]


def einsum(call: Call) -> Value:
    equation = equations.read(call.args)
    if equation is None:
        return NOTHING
    inputs, written, operands = equation
    tensors = [as_tensor(value) for value in operands]
    if len(tensors) != 2 or None in tensors:
        roles = (
            mapped_roles(frozenset()) if any(t is not None and "parameter" in t.roles for t in tensors) else frozenset()
        )
        return Tensor(key=call.interpreter.key(call.node), roles=roles)
    left, right = (normal(tensor, call.state) for tensor in tensors if tensor is not None)
    inputs, output = _letters(inputs, written, (left, right))
    sizes: dict[str, Size] = {}
    pairs: list[tuple[Size, Size]] = []  # the sizes that one letter stands for
    for letters, tensor in zip(inputs, (left, right), strict=True):
        if tensor.shape is None or len(tensor.shape) != len(letters):
            continue
        for letter, size in zip(letters, tensor.shape, strict=True):
            if letter in sizes and sizes[letter] != size:
                if letter.isdigit() and ONE in (size, sizes[letter]):  # an ellipsis broadcasts
                    sizes[letter] = size if sizes[letter] == ONE else sizes[letter]
                    continue
                pairs.append((size, sizes[letter]))
            sizes[letter] = call.state.normal(size)
    clashes.of_letters(call, left, right, pairs)
    for first, second in pairs:
        if not clashes.never_meet(first, second):
            equate(first, second, call.state.definitions)
    sizes = {letter: call.state.normal(size) for letter, size in sizes.items()}
    call.interpreter.saw_product(left, right)
    summed = [letter for letter in inputs[0] if letter in inputs[1] and letter not in output and letter != "."]
    roles, _ = product_roles(left, right)
    if not summed and "scores" in roles:
        roles = frozenset()  # an outer product, such as that of positions and frequencies
    attended(call, left, right, roles)
    if "scores" in roles:
        _note_heads(call, (left, right), inputs, output, summed)
    if len(summed) == 1 and not any("." in side.partition(summed[0])[2] for side in inputs):
        of_left, of_right = (side.index(summed[0]) - len(side) for side in inputs)
        weighted(call, _counted(left, inputs[0]), _counted(right, inputs[1]), roles, of_left, of_right)
    scale = _scale(call, left, right, _contracted(summed, inputs, (left, right), sizes), roles)
    if scale is None and (maps(left) or maps(right)):
        weight, other = (inputs[0], inputs[1]) if maps(left) else (inputs[1], inputs[0])
        own = [sizes.get(letter) for letter in output if letter in weight and letter not in other]
        made = product(size for size in own if size is not None) if own and None not in own else None
        scale = _of_map(roles, left, right, made, sizes.get(summed[0]) if len(summed) == 1 else None)
    if "." in "".join(inputs):
        key = call.interpreter.key(call.node)
        return Tensor(key=key, roles=roles, inputs=left.inputs | right.inputs, scale=scale)
    shape = tuple(sizes[letter] if letter in sizes else call.fresh_size(letter) for letter in output)
    # A letter of size 1 changes the layout, and one of an operand whose shape is not known may well be that.
    sized = all(tensor.shape is not None and ONE not in tensor.shape for tensor in (left, right))
    strides = _einsum_strides(inputs, output, shape) if sized else None
    there = _met_by_letters(call, (left, right), inputs, output)
    result = Tensor(shape, strides, roles=roles, inputs=left.inputs | right.inputs, scale=scale, folds=there)
    if result.strides is not None:
        result = replace(result, contiguous=layout.is_contiguous(shape, result.strides) is Answer.ALWAYS)
    if "context" in roles:
        weights, values = (inputs[0], inputs[1]) if "weights" in left.roles else (inputs[1], inputs[0])
        width = [letter for letter in output if letter in values and letter not in weights]
        shared = [letter for letter in output if letter in values and letter in weights]
        if len(width) == 1 and _of_projected(left, right):
            result = replace(
                result,
                width=shape[output.index(width[0])],
                batch=product(shape[output.index(letter)] for letter in shared),
            )
    return result


def _note_heads(call: Call, operands: tuple[Tensor, Tensor], inputs: list[str], output: str, summed: list[str]) -> None:
    """``bhid,bhjd->bhij`` takes the heads to be at -3, and ``bihd,bjhd->bhij`` at -2."""
    if len(summed) != 1 or any(len(side) < 4 or side[-1] != summed[0] for side in inputs) or "." in "".join(inputs):
        return
    shared = [{dim for dim in (-3, -2) if side[dim] in other} for side, other in (inputs, reversed(inputs))]
    if len(shared[0]) != 1 or shared[0] != shared[1]:
        return
    (heads,) = shared[0]
    if inputs[0][:-3] == inputs[1][:-3] and inputs[0][heads] == inputs[1][heads] and inputs[0][heads] in output:
        call.interpreter.saw_heads(call, *operands, heads, fused=False)


def _met_by_letters(call: Call, operands: tuple[Tensor, Tensor], inputs: list[str], output: str) -> Folds:
    """The folds of what is computed, of each operand those of the dimensions that have a letter in the result."""
    if not any(tensor.folds for tensor in operands):
        return ()
    lying = [
        replace(tensor, folds=tuple(_laid(fold, side, output) for fold in tensor.folds if side[fold.dim] in output))
        for side, tensor in zip(inputs, operands, strict=True)
    ]
    return met_orders(call, lying, range(-len(output), 0), first=True)


def _laid(fold: Fold, letters: str, output: str) -> Fold:
    return Fold(output.index(letters[fold.dim]) - len(output), fold.parts, fold.repeated)


def _counted(tensor: Tensor, letters: str) -> Tensor:
    """The operand, of whose dimensions there are as many as letters."""
    if tensor.normalised is None or "." in letters:
        return tensor
    return replace(tensor, normalised=tensor.normalised.of_rank(len(letters)))


def _letters(inputs: list[str], output: str, tensors: tuple[Tensor, Tensor]) -> tuple[list[str], str]:
    """The sides of an equation with digits in place of ``...``; where a rank is not known, one point stays for it."""
    extra = [
        None if tensor.rank is None else tensor.rank - len(side.replace("...", ""))
        for side, tensor in zip(inputs, tensors, strict=True)
        if "..." in side
    ]
    if not extra:
        return inputs, output
    counts = [count for count in extra if count is not None]
    if len(counts) < len(extra) or not 0 <= min(counts) <= max(counts) < 10 or "..." not in output:
        return [side.replace("...", ".") for side in inputs], output.replace("...", ".")
    digits = "9876543210"
    given = iter(counts)
    filled = [side.replace("...", digits[10 - next(given) :]) if "..." in side else side for side in inputs]
    return filled, output.replace("...", digits[10 - max(counts) :])


def _contracted(
    summed: list[str], inputs: list[str], tensors: tuple[Tensor, Tensor], sizes: dict[str, Size]
) -> Size | None:
    """The size of the one letter that is summed, where it is known; that of a last dimension is without the rank."""
    if len(summed) != 1:
        return None
    lasts = (tensor.last for side, tensor in zip(inputs, tensors, strict=True) if side.endswith(summed[0]))
    return sizes.get(summed[0]) or next((last for last in lasts if last is not None), None)


def _einsum_strides(inputs: list[str], output: str, shape: Shape) -> Strides | None:
    """Strides of a contraction of two operands: bmm lays out shared, left and right letters in that order.

    The operands are swapped where all the right's own letters come before all the left's in the output.
    Source: ``einsum`` and ``sumproduct_pair`` in ATen/native/Linear.cpp.
    """
    left, right = inputs
    if not set(left) & set(right) - set(output) or len(set(left)) < len(left) or len(set(right)) < len(right):
        return None  # nothing contracted, or a diagonal
    shared = [letter for letter in output if letter in left and letter in right]
    own = [[letter for letter in output if letter not in other] for other in (right, left)]
    if all(own) and output.index(own[1][-1]) < output.index(own[0][0]):
        own.reverse()
    order = [*shared, *own[0], *own[1]]
    laid_out = layout.contiguous_strides(tuple(shape[output.index(letter)] for letter in order))
    return tuple(laid_out[order.index(letter)] for letter in output)


def attention(call: Call) -> Value:
    """The result's strides depend on the backend that runs (math, flash, efficient, cuDNN): unknown."""
    query, key, value = call.tensor(0, "query"), call.tensor(1, "key"), call.tensor(2, "value")
    if query is None or key is None or value is None:
        return NOTHING
    call.interpreter.saw_heads(call, query, key, -3, fused=True)
    note_scored(call, query, key)
    call.interpreter.saw_product(query, key)
    call.interpreter.saw_product(query, value)
    for tensor, role in ((query, "query"), (key, "key"), (value, "value"), (call.tensor(3, "attn_mask"), "mask")):
        call.interpreter.saw_use(tensor, role)
    shared = call.keywords.get("enable_gqa", Const(False)) != Const(False) or "**" in call.keywords
    clashes.of_attention(call, query, key, value, call.tensor(3, "attn_mask"), grouped=shared)
    grouped = ["grouped-query"] if call.keywords.get("enable_gqa") == Const(True) else []
    call.interpreter.saw_attention(*_kinds(query, key), *grouped)
    scaled_inside(call, query, key, call.keywords.get("scale", NONE))
    inputs = query.inputs | key.inputs | value.inputs
    known = query.shape or value.shape
    if known is None:
        suffix = () if value.last is None else (value.last,)
        made = contracted(call, query, value) or Tensor(suffix=suffix)
        made = replace(made, key=call.interpreter.key(call.node), roles=frozenset({"context"}), inputs=inputs)
        return replace(made, batch=product(made.suffix[:-2]), width=made.last) if _holds_heads(made, value) else made
    if any(tensor.shape is not None and len(tensor.shape) < 2 for tensor in (query, value)):
        raise Refused
    width = value.shape[-1] if value.shape is not None else known[-1]
    rows = query.shape[-2] if query.shape is not None else call.fresh_size("rows")
    shape = (*known[:-2], rows, width)
    swapped = call.interpreter.axes.heads_of(query) == -2
    roles = frozenset({"context", "swapped"} if swapped else {"context"})
    context = of_shape(shape, roles=roles, inputs=inputs, of_math=layout.contiguous_strides(shape))
    if "projection" not in value.roles:
        return context
    return replace(context, batch=product(shape[:-2]), width=width)


def _holds_heads(context: Tensor, value: Tensor) -> bool:
    return len(context.suffix) > 2 and "projection" in value.roles


_SCALES = ("softmax_scale", "sm_scale", "scaling", "scale")  # what fused attention calls the scale that it is given


def fused(call: Call) -> None:
    """Note the scale that is handed to attention of another package, beside queries and keys."""
    given = given_scale(call)
    tensors = [*call.args, *call.keywords.values()]
    scaled = [normal(each, call.state) for each in tensors if isinstance(each, Tensor) and each.scale is not None]
    if given is not None and len(scaled) > 1 and all(each.scale and each.scale.product is None for each in scaled):
        scaled_inside(call, scaled[0], scaled[1], given)


def given_scale(call: Call) -> Value | None:
    """The scale that fused attention is given; None where it is given none."""
    return next((call.keywords[name] for name in _SCALES if name in call.keywords), None)


def _is_normed(call: Call, query: Tensor, key: Tensor) -> bool:
    """Tell whether queries or keys are normalised on this path, and note it for the others."""
    normed = "normed" in query.roles | key.roles
    if normed:
        call.interpreter.saw_normed(call.node)
    return normed


def scaled_inside(call: Call, query: Tensor, key: Tensor, given: Value) -> None:
    """Attention scales the product of queries and keys itself: by what it is given, else by the root of their width."""
    if _is_normed(call, query, key) or not (query.scale or key.scale) or "**" in call.keywords:
        return
    width = None if query.last is None else call.state.normal(query.last)
    factor = as_factor(given)
    if given == NONE:
        if width is None or not any(each.scale is not None and each.scale.parts for each in (query, key)):
            return
        factor = of_size(width).power(-0.5)
    if factor is None:
        return
    scale = of_scores(query.scale, key.scale, width, call.node)
    scaled = scale.by(factor.substitute(call.state.definitions), call.node)
    if scaled is not None:
        call.interpreter.saw_scale(call.node, scaled, call.state)
