"""Matrix products: shapes and strides, the roles of their results, and what is weighed by them."""

from __future__ import annotations

import ast

from msgspec.structs import replace

from mha_lint.model.layout import Shape
from mha_lint.model.masks import mask_of
from mha_lint.model.operations import clashes
from mha_lint.model.operations.linear_maps import mapped_roles
from mha_lint.model.operations.open import contracted
from mha_lint.model.operations.pointwise import broadcast, met_orders, of_two
from mha_lint.model.operations.telling import note_pooled, note_scored
from mha_lint.model.run import Call, normal
from mha_lint.model.scale import Scale, of_scores
from mha_lint.model.sizes import ONE, Size, equate, product
from mha_lint.model.values import (
    NOTHING,
    Tensor,
    Value,
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
    scale = scale_of_scores(call, left, right, left.last, roles)
    scale = scale or scale_of_map(roles, left, right, right.last, left.last)
    if shape is None:
        known = contracted(call, left, right)
        suffix = right.suffix[-1:] if "weights" in left.roles else ()
        made = Tensor(suffix=suffix) if known is None else known
        least = max(left.least, right.least)
        made = replace(made, contiguous=True, least=least, key=key, roles=roles, inputs=inputs, scale=scale)
        return _of_heads(made, left, right)
    contiguous = len(shape) >= 2 and not (right.rank is not None and left.rank is not None and left.rank < right.rank)
    result = (fresh if contiguous else of_shape)(shape, roles=roles, inputs=inputs, scale=scale, folds=there)
    if "context" in roles and len(shape) >= 3 and is_of_projected(left, right):
        result = replace(result, batch=product(shape[:-2]), width=shape[width_at])
    return result


def _of_heads(context: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """A context of unknown rank: the heads are among the dimensions that are told before its rows."""
    if "context" not in context.roles or len(context.suffix) < 3 or not is_of_projected(left, right):
        return context
    return replace(context, batch=product(context.suffix[:-2]), width=context.suffix[-1])


def scale_of_scores(call: Call, left: Tensor, right: Tensor, width: Size | None, roles: frozenset[str]) -> Scale | None:
    """The scale of scores, where queries or keys are projections as far as is known."""
    if "scores" not in roles or is_normed(call, left, right) or not (left.scale or right.scale):
        return None
    return of_scores(left.scale, right.scale, None if width is None else call.state.normal(width), call.node)


def scale_of_map(
    roles: frozenset[str], left: Tensor, right: Tensor, made: Size | None, given: Size | None
) -> Scale | None:
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
        place = 1 if left.roles & {"weights", "scores"} else 0
        run.saw_use((left, right)[place], "value")
        run.saw_context(call, place)
        run.saw_attention()
    elif "scores" in roles:
        run.saw_use(left, "query")
        run.saw_use(right, "key")
        run.saw_kinds(*kinds(left, right))


def _transposed(tensor: Tensor) -> Tensor:
    """Keys as they were before the product took them as columns."""
    if tensor.shape is not None and len(tensor.shape) > 1:
        return of_shape((*tensor.shape[:-2], tensor.shape[-1], tensor.shape[-2]))
    return replace(tensor, suffix=(*tensor.suffix[:-2], *tensor.suffix[:-3:-1]))


def kinds(query: Tensor, key: Tensor) -> set[str]:
    """Which kinds of attention a product of queries and keys shows."""
    kinds = {kind for role, kind in (("repeated", "grouped-query"), ("cached", "key-value cache")) if role in key.roles}
    if query.inputs and key.inputs:
        kinds.add("self-attention" if query.inputs & key.inputs else "cross-attention")
    return kinds


def product_shape(call: Call, left: Tensor, right: Tensor) -> Shape | None:
    rank = max(left.rank or 0, right.rank or 0)
    if rank < 2 or (rank < 3 and None in (left.rank, right.rank)):
        return None
    if any(_may_be_vector(tensor) for tensor in (left, right)):
        return None
    batches = [tensor.shape[:-2] for tensor in (left, right) if tensor.shape is not None]
    batch = broadcast(call.state, batches) if batches else ()
    rows = left.shape[-2] if left.shape is not None else call.fresh_size("rows")
    columns = right.shape[-1] if right.shape is not None else call.fresh_size("columns")
    return (*map(call.state.normal, batch), rows, columns)


def _may_be_vector(tensor: Tensor) -> bool:
    """Tell whether a product may take a dimension away: (b, n, t) @ (t,) is (b, n).

    What a module holds may be a vector where its rank is not known. What attention is given has tokens and features.
    """
    if tensor.rank is not None:
        return tensor.rank < 2
    held = "parameter" in tensor.roles or (tensor.key is not None and tensor.key.of_self)
    return held and tensor.least < 2


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


def is_of_projected(left: Tensor, right: Tensor) -> bool:
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


def is_normed(call: Call, query: Tensor, key: Tensor) -> bool:
    """Tell whether queries or keys are normalised on this path, and note it for the others."""
    normed = "normed" in query.roles | key.roles
    if normed:
        call.interpreter.saw_normed(call.node)
    return normed
