"""In which order sizes lie in a dimension that was merged or repeated: (b*h) is not (h*b), which sizes can't tell."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence

from mha_lint.model.folded import Fold, Part
from mha_lint.model.keys import Kind
from mha_lint.model.layout import Shape
from mha_lint.model.sizes import ONE, Size, product
from mha_lint.model.values import State, Tensor

Folds = tuple[Fold, ...]


def parts_at(tensor: Tensor, dim: int) -> tuple[Part, ...]:
    """The sizes in a dimension, counted from the end."""
    for fold in tensor.folds:
        if fold.dim == dim:
            return fold.parts
    if tensor.shape is None:
        return (Part(None),)
    if -dim > len(tensor.shape):
        return ()
    size = tensor.shape[dim]
    return () if size == ONE else (Part(size, tensor.made),)


def _repeated_at(tensor: Tensor, dims: Iterable[int]) -> ast.expr | None:
    wanted = frozenset(dims)
    return next((each.repeated for each in tensor.folds if each.dim in wanted and each.repeated is not None), None)


def told(folds: Iterable[Fold]) -> Folds:
    """The folds that say more than the sizes do."""
    return tuple(fold for fold in folds if len(fold.parts) > 1 or any(part.alike for part in fold.parts))


def viewed(tensor: Tensor, target: Shape) -> Folds:
    """The folds after a view; those of the dimensions up to the first one that is taken apart otherwise."""
    if tensor.shape is None:
        return ()
    rank, left = len(tensor.shape), list[tuple[int, Part]]()
    for dim in range(-rank, 0):
        left += [(dim, part) for part in parts_at(tensor, dim)]
    found: list[Fold] = []
    for at, size in enumerate(target, start=-len(target)):
        taken = _taken(left, size)
        if taken is None:
            break
        parts = tuple(part for _, part in taken)
        found.append(Fold(at, parts, _repeated_at(tensor, (dim for dim, _ in taken))))
    return told(found)


def _taken(left: list[tuple[int, Part]], size: Size) -> list[tuple[int, Part]] | None:
    """Take the next parts that make up a size; None where they don't."""
    taken: list[tuple[int, Part]] = []
    while size != ONE:
        if not left or left[0][1].size is None:
            return None
        dim, part = left[0]
        assert part.size is not None
        if (rest := size.divide(part.size)) is not None:
            taken.append(left.pop(0))
            size = rest
        elif (rest := part.size.divide(size)) is not None:
            taken.append((dim, Part(size, part.alike)))
            left[0] = dim, Part(rest, part.alike)
            size = ONE
        else:
            return None
    return taken


def moved(folds: Folds, order: Sequence[int]) -> Folds:
    """The folds once the dimensions stand in this order."""
    rank = len(order)
    return tuple(replace_dim(fold, order.index(fold.dim + rank) - rank) for fold in folds)


def replace_dim(fold: Fold, dim: int) -> Fold:
    return Fold(dim, fold.parts, fold.repeated)


def inserted(folds: Folds, dim: int, rank: int) -> Folds:
    """The folds with a new dimension before ``dim`` of a tensor of this rank."""
    return tuple(replace_dim(fold, fold.dim - (fold.dim + rank < dim)) for fold in folds)


def without(folds: Folds, dim: int, rank: int) -> Folds:
    """The folds where the dimension is gone."""
    kept = [fold for fold in folds if fold.dim + rank != dim]
    return tuple(replace_dim(fold, fold.dim + (fold.dim + rank < dim)) for fold in kept)


def but(folds: Folds, dim: int) -> Folds:
    """The folds of all other dimensions."""
    return tuple(fold for fold in folds if fold.dim != dim)


def repeated(
    tensor: Tensor, times: dict[int, Size], node: ast.expr, *, inside: bool = False, alike: bool = True
) -> Folds:
    """The folds of a tensor that is repeated along dimensions: as a whole, or each of its rows ``inside``.

    Where the tensors are not ``alike``, as those of several heads, they are joined.
    """
    found = [fold for fold in tensor.folds if fold.dim not in times]
    for dim, count in times.items():
        again, parts = (Part(count, alike),), parts_at(tensor, dim)
        found.append(Fold(dim, (*parts, *again) if inside else (*again, *parts), node if alike else None))
    return told(found)


def expanded(tensor: Tensor, target: Shape, node: ast.expr) -> Folds:
    """The folds of a tensor that is expanded: along new dimensions, and those of size 1, it is all alike."""
    assert tensor.shape is not None
    rank, found = len(tensor.shape), list(tensor.folds)
    for dim in range(-len(target), 0):
        size = target[dim]
        if size != ONE and (-dim > rank or tensor.shape[dim] == ONE):
            found.append(Fold(dim, (Part(size, alike=True),), node))
    return tuple(found)


def met(tensors: Sequence[Tensor], dims: Sequence[int]) -> Folds:
    """The folds of what is computed from several tensors, place by place along these dimensions.

    Where their orders differ, those of the first count.
    """
    if not any(tensor.folds for tensor in tensors):
        return ()
    found: list[Fold] = []
    for dim in dims:
        known = [fold for tensor in tensors for fold in tensor.folds if fold.dim == dim]
        if not known:
            continue
        best = max(known, key=lambda fold: len(fold.parts))
        vary = [each for each in tensors if parts_at(each, dim) and all(fold is not best for fold in each.folds)]
        same = all(parts_at(each, dim) == best.parts for each in vary)
        parts = best.parts if same else tuple(Part(part.size) for part in best.parts)
        found.append(Fold(dim, parts, best.repeated if same else None))
    return told(found)


def crosses(left: Fold, right: Fold, state: State) -> Size | None:
    """The size along which one varies in steps of another length than the other; None where that is not certain."""
    one, other = _normal(left, state), _normal(right, state)
    other = _solved(other, one, is_repeated=right.repeated is not None)
    one = _solved(one, other, is_repeated=left.repeated is not None)
    if any(part.size is None for part in (*one, *other)) or _whole(one) != _whole(other):
        return None
    steps = _steps(other)
    for size, step in _steps(one).items():
        if size in steps and steps[size] != step:
            return size
    return None


def _normal(fold: Fold, state: State) -> tuple[Part, ...]:
    return tuple(Part(None if part.size is None else state.normal(part.size), part.alike) for part in fold.parts)


def _is_of_its_own(part: Part, there: set[Size | None]) -> bool:
    return not part.alike and part.size is not None and part.size.symbol is not None and part.size not in there


def _whole(parts: tuple[Part, ...]) -> Size:
    return product(part.size for part in parts if part.size is not None)


def _solved(parts: tuple[Part, ...], others: tuple[Part, ...], *, is_repeated: bool) -> tuple[Part, ...]:
    """The parts with the only size that is not known told by the others: both make up the same size, since they meet.

    The size of what was repeated, such as the entries that a mask came with, may have a name that the others lack.
    """
    there = {part.size for part in others}
    if None in there:
        return parts
    new = [part for part in parts if part.size is None or (is_repeated and _is_of_its_own(part, there))]
    if len(new) != 1 or (new[0].size is not None and _whole(parts) == _whole(others)):
        return parts
    (unknown,) = new
    rest = _whole(others).divide(product(part.size for part in parts if part is not unknown and part.size is not None))
    return parts if rest is None else tuple(Part(rest, part.alike) if part is unknown else part for part in parts)


def _steps(parts: tuple[Part, ...]) -> dict[Size, Size]:
    """Return how far apart neighbours lie along each size that varies, and along each run of them; none that is twice.

    A tensor repeated as often as it has rows is one side of all pairs, (n, n times) beside (n times, n).
    """
    sizes = [part.size for part in parts if part.size is not None]
    found: list[tuple[Size, Size]] = []
    for first, part in enumerate(parts):
        if part.alike:
            continue
        for last in range(first, len(parts)):
            if parts[last].alike:
                break
            found.append((product(sizes[first : last + 1]), product(sizes[last + 1 :])))
    counts = [size for size, _ in found] + [part.size for part in parts if part.alike]
    return {size: step for size, step in found if counts.count(size) == 1 and size != ONE}


def is_of_entries(fold: Fold, size: Size, state: State, *, first: bool) -> bool:
    """Tell whether a size along which a tensor varies, or was repeated, is one that a tensor came with.

    It must be the ``first`` size of that. The numbers of heads and groups are none: in which order these are paired is
    learned.
    """
    again = [state.normal(part.size) for part in fold.parts if part.alike and part.size is not None]
    return any(_came_with_a_tensor(each, first=first) for each in (size, *again))


def _came_with_a_tensor(size: Size, *, first: bool) -> bool:
    return any(key.kind is Kind.DIMENSION and (key.number == 0 or not first) for key in size.symbols)
