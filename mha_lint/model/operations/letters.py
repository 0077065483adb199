"""``einsum`` of two operands: what its letters sum over, share and keep."""

from __future__ import annotations

from msgspec.structs import replace

from mha_lint.model import layout
from mha_lint.model.folded import Fold
from mha_lint.model.folds import Folds
from mha_lint.model.layout import Answer, Shape, Strides
from mha_lint.model.operations import clashes, equations
from mha_lint.model.operations.linear_maps import mapped_roles
from mha_lint.model.operations.pointwise import met_orders
from mha_lint.model.operations.products import (
    attended,
    is_of_projected,
    maps,
    product_roles,
    scale_of_map,
    scale_of_scores,
    weighted,
)
from mha_lint.model.run import Call, normal
from mha_lint.model.sizes import ONE, Size, equate, product
from mha_lint.model.values import (
    NOTHING,
    Tensor,
    Value,
    as_tensor,
)


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
    scale = scale_of_scores(call, left, right, _contracted(summed, inputs, (left, right), sizes), roles)
    if scale is None and (maps(left) or maps(right)):
        weight, other = (inputs[0], inputs[1]) if maps(left) else (inputs[1], inputs[0])
        own = [sizes.get(letter) for letter in output if letter in weight and letter not in other]
        made = product(size for size in own if size is not None) if own and None not in own else None
        scale = scale_of_map(roles, left, right, made, sizes.get(summed[0]) if len(summed) == 1 else None)
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
        if len(width) == 1 and is_of_projected(left, right):
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
