"""Where masks reach attention, and what they mean there: attend, ignore, or a number that is added."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeGuard

from msgspec import Struct

from mha_lint.model.causal_masks import Means, is_just_causal, shape_of_scores
from mha_lint.model.filling import filling
from mha_lint.model.fuel import MOST_SEEN
from mha_lint.model.keys import Kind
from mha_lint.model.marks import Mask
from mha_lint.model.masks import where_parts
from mha_lint.model.values import Tensor, Unknown, Value, as_factor
from mha_lint.syntax.nodes import argument

if TYPE_CHECKING:
    from mha_lint.model.attention import FileModel
    from mha_lint.model.events import OperationSeen
    from mha_lint.syntax.names import ModuleNames
    from mha_lint.syntax.places import Places

NEGATIVE = -1e3  # what is added to scores, or put in their place, to mask them
ATTENDS = "scaled_dot_product_attention"
IN_SCORES = ("masked_fill", "where", "add")  # operations that mask scores by hand

ARGUMENTS = {
    ATTENDS: ((3, "attn_mask"),),
    "multi_head_attention": ((5, "attn_mask"), (3, "key_padding_mask")),
    "TransformerEncoderLayer": ((1, "src_mask"), (2, "src_key_padding_mask")),
    "TransformerEncoder": ((1, "mask"), (2, "src_key_padding_mask")),
    "TransformerDecoderLayer": (
        (2, "tgt_mask"),
        (3, "memory_mask"),
        (4, "tgt_key_padding_mask"),
        (5, "memory_key_padding_mask"),
    ),
    "TransformerDecoder": (
        (2, "tgt_mask"),
        (3, "memory_mask"),
        (4, "tgt_key_padding_mask"),
        (5, "memory_key_padding_mask"),
    ),
    "Transformer": (
        (2, "src_mask"),
        (3, "tgt_mask"),
        (4, "memory_mask"),
        (5, "src_key_padding_mask"),
        (6, "tgt_key_padding_mask"),
        (7, "memory_key_padding_mask"),
    ),
}  # the masks that functions and layers of torch take; in all but the first True means ignore


class Use(Struct, frozen=True):
    """One mask that reaches attention: what it is, what it means there, and where it stands in the call."""

    mask: Mask
    means: Means
    index: int | None = None
    name: str = ""

    def written(self, operation: OperationSeen, names: ModuleNames, places: Places) -> ast.expr | None:
        """The mask as it is written there; None where it is not."""
        node = operation.node
        if isinstance(node, ast.Call) and self.index is not None:
            return argument(node, self.index, self.name)
        if operation.name == "add" or not isinstance(node, (ast.Call, ast.Subscript)):
            return None
        fill = filling(node, names, places)
        return None if fill is None else fill.mask


def uses(operation: OperationSeen, names: ModuleNames) -> Iterator[Use]:
    """The masks that an operation is given."""
    if operation.name in ARGUMENTS:
        boolean = Means.ATTEND if operation.name == ATTENDS else Means.IGNORE
        for index, name in ARGUMENTS[operation.name]:
            mask = mask_of(operation.argument(index, name))
            if mask is not None:
                yield Use(mask, boolean if mask.boolean is True else Means.ADDED, index, name)
        return
    found = _of_scores(operation, names)
    if found is not None and found[0] is not None:
        yield Use(found[0], found[1])


def always_masks_just_the_future(seen: list[OperationSeen], model: FileModel) -> bool:
    """Tell whether the mask of one operation is the causal one, and nothing else, whoever calls the function.

    The paths that begin with the function itself know nothing of what it is given: what holds on all of them holds for
    each caller. False where the function is only known as others of the file call it, and where paths were left out.
    """
    own = [each for each in seen if each.caller is None]
    if not own or len(seen) == MOST_SEEN:
        return False
    owners = {each.symbol.partition(".")[0] for each in own}
    if any(each.cls.name in owners and not each.complete for each in model.classes):
        return False
    return all(masks_just_the_future(each, model.names) for each in own)


def masks_just_the_future(operation: OperationSeen, names: ModuleNames) -> bool:
    """Tell whether the mask that attention or scores are given there is the causal one of as many keys as queries.

    That is known of the one path on which the operation was seen; other paths may bring another mask.
    """
    if operation.name == ATTENDS:
        mask = operation.argument(3, "attn_mask")
        means = Means.ATTEND if _is_boolean(mask) else Means.ADDED
        scores = shape_of_scores(operation.argument(0, "query"), operation.argument(1, "key"))
        return is_just_causal(mask, means, scores)
    found = _in_scores(operation, names)
    if found is None:
        return False
    masked, mask, means = found
    return is_just_causal(mask, means, masked.shape)


def _is_boolean(value: Value | None) -> bool:
    mask = mask_of(value)
    return mask is not None and mask.boolean is True


def _of_scores(operation: OperationSeen, names: ModuleNames) -> tuple[Mask | None, Means] | None:
    found = _in_scores(operation, names)
    return None if found is None else (mask_of(found[1]), found[2])


def _in_scores(operation: OperationSeen, names: ModuleNames) -> tuple[Tensor, Value | None, Means] | None:
    """The scores of a fill or a sum, the mask that they are filled by or summed with, and what it means."""
    match operation.name:
        case "masked_fill":
            scores = operation.args[0] if operation.args else None
            if are_scores(scores) and is_negative(operation.argument(2, "value")):
                return scores, operation.argument(1, "mask"), Means.IGNORE
        case "where" if len(operation.args) == 3:
            node = operation.node
            method = isinstance(node, ast.Call) and names.qualify(node.func) is None
            condition, yes, no = where_parts(operation.args, method=method)
            if are_scores(yes) and is_negative(no):
                return yes, condition, Means.ATTEND
            if are_scores(no) and is_negative(yes):
                return no, condition, Means.IGNORE
        case "add" if len(operation.args) == 2:
            left, right = operation.args
            for scores, other in ((left, right), (right, left)):
                if are_scores(scores) and mask_of(other) is not None:
                    return scores, other, Means.ADDED
    return None


def mask_of(value: Value | None) -> Mask | None:
    mask = value.mask if isinstance(value, Tensor) else None
    return mask if isinstance(mask, Mask) else None


def are_scores(value: Value | None) -> TypeGuard[Tensor]:
    return isinstance(value, Tensor) and "scores" in value.roles


def is_negative(value: Value | None) -> bool:
    """Tell whether scores are masked with it: a huge negative number, or the smallest of the dtype."""
    factor = as_factor(value)
    number = None if factor is None else factor.constant
    return (number is not None and number <= NEGATIVE) or (number is None and _is_smallest(value))


def _is_smallest(value: Value | None) -> bool:
    """Tell whether it is ``torch.finfo(…).min``, or what else is called so."""
    key = value.key if isinstance(value, (Unknown, Tensor)) else None
    return key is not None and key.kind is Kind.ATTRIBUTE and key.last_name == "min"
