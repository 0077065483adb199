"""This question is asked of masks: does one hide the future of each token, and nothing else."""

from __future__ import annotations

import enum

from mha_lint.model.layout import Shape
from mha_lint.model.marks import ONES, ZERO, Mask, Numbers
from mha_lint.model.sizes import Size
from mha_lint.model.values import Tensor, Value

HIDES = -1e4  # what is added to a score, at most, so that its weight is 0 whatever the other scores are


class Means(enum.Enum):
    """The meaning of a mask where it is used."""

    ATTEND = enum.auto()
    IGNORE = enum.auto()
    ADDED = enum.auto()


def is_just_causal(mask: Value | None, means: Means, scores: Shape | None) -> bool:
    """Tell whether a mask shows each token itself and its past, and hides all else, and nothing more.

    ``scores`` is the shape of the scores that it masks, (..., t, s), which must be square: t = s. The model may know of
    the mask's own sizes only that they are those of a slice, such as ``self.mask[:t, :t]``. They are taken to be those
    of the scores, since any other raises.

    False wherever something is not known: a mask that somebody gives, or whose first row may belong to a later query.
    """
    if not isinstance(mask, Tensor) or not isinstance(mask.mask, Mask) or not _is_square(scores):
        return False
    assert scores is not None
    known = mask.mask
    if known.diagonal != 0 or known.grid is None or known.random or known.padding is not None:
        return False
    return _hides_the_future(known, means) and _fits(known.grid, scores[-1]) and _lies_in_front(mask, scores)


def shape_of_scores(query: Value | None, key: Value | None) -> Shape | None:
    """The shape of the scores of queries and keys, (..., t, s); None where it is not known.

    Keys of which there is one for all heads, or for a group of them, give as many scores as there are queries.
    """
    if not isinstance(query, Tensor) or not isinstance(key, Tensor):
        return None
    if query.shape is None or key.shape is None or min(len(query.shape), len(key.shape)) < 2:
        return None
    return (*query.shape[:-1], key.shape[-2])


def _is_square(scores: Shape | None) -> bool:
    """Tell whether there are as many keys as queries."""
    if scores is None or len(scores) < 2 or scores[-1] != scores[-2]:
        return False
    return not any(key.left_over for key in scores[-1].symbols)  # such a size has one name wherever the view is run


def _hides_the_future(mask: Mask, means: Means) -> bool:
    past, future = mask.inside, mask.outside
    match means:
        case Means.ATTEND:
            return mask.boolean is True and (past, future) == (ONES, ZERO)
        case Means.IGNORE:
            return (past, future) == (ZERO, ONES)
        case Means.ADDED:
            return mask.boolean is False and past == ZERO and _is_low(future)


def _is_low(numbers: Numbers) -> bool:
    return bool(numbers) and numbers is not None and max(numbers) <= HIDES


def _fits(grid: tuple[Size, Size], length: Size) -> bool:
    """Tell whether the two dimensions of a mask are those of square scores: of one size that is not repeated."""
    return grid[0] == grid[1] and (grid[0] == length or grid[0].constant != 1)


def _lies_in_front(mask: Tensor, scores: Shape) -> bool:
    """Tell whether the other dimensions of the mask are 1, or those of the scores, so that it adds none to them."""
    if mask.shape is None:
        return True  # it was made of positions, which have no other dimensions
    if len(mask.shape) > len(scores):
        return False
    fronts = zip(mask.shape[-3::-1], scores[-3::-1], strict=False)
    return all(size.constant == 1 or size == other for size, other in fronts)
