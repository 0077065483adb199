"""By what attention scores were scaled, from the projections of queries and keys to the softmax."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from mha_lint.model.factors import Factor, of_size
from mha_lint.model.keys import Key
from mha_lint.model.sizes import ONE, Size, constant
from mha_lint.vocabulary import WIDTH_OF_HEAD

if TYPE_CHECKING:
    import ast

UNIT = Factor()
MOST_PARTS = 4  # places that scale one after another


class Scale(Struct, frozen=True):
    """A scale is the factor by which a projection, or the scores of two, has been multiplied.

    ``whole`` where nothing else has happened to it than views and that. ``maps`` are the widths that the projections
    map from and to. Of scores, ``width`` is that of the queries and keys, ``product`` the expression that multiplies
    them. ``applied`` is the expression that scaled last, and ``parts`` are what each of them scaled by, in their order.
    Of a sum of scores, or of scores side by side, ``others`` are the scales of the others.
    """

    factor: Factor = UNIT
    whole: bool = True
    maps: frozenset[Size] = frozenset()
    width: Size | None = None
    product: ast.AST | None = None
    applied: ast.AST | None = None
    parts: tuple[Factor, ...] = ()
    others: tuple[Scale, ...] = ()

    def by(self, factor: Factor | None, applied: ast.AST) -> Scale | None:
        """The same, scaled once more. By what is not known: None for scores; a projection may have been rotated."""
        if factor is None:
            return self.unsure if self.product is None else None
        others = tuple(other for each in self.others if (other := each.by(factor, applied)) is not None)
        parts = (*self.parts, factor)[-MOST_PARTS:]
        return replace(self, factor=self.factor * factor, applied=applied, parts=parts, others=others)

    def normal(self, definitions: Mapping[Key, Size]) -> Scale:
        """The same in terms of what is not defined by other sizes."""
        width = None if self.width is None else self.width.substitute(definitions)
        maps = frozenset(size.substitute(definitions) for size in self.maps)
        factor, parts = self.factor.substitute(definitions), tuple(each.substitute(definitions) for each in self.parts)
        return replace(self, factor=factor, maps=maps, width=width, parts=parts, others=())

    @property
    def unsure(self) -> Scale:
        """The same, where something else has happened that is not known to scale."""
        return replace(self, whole=False, others=tuple(each.unsure for each in self.others)) if self.whole else self


class ScaleSeen(Struct, frozen=True):
    """Scores on their way into a softmax; ``names`` are the local names of the sizes known there.

    ``symbol`` is the method that computes them, and ``caller`` its call of the function that does it, where one does.
    """

    scale: Scale
    names: tuple[tuple[Size, str], ...]
    symbol: str
    caller: ast.expr | None = None


def of_scores(left: Scale | None, right: Scale | None, width: Size | None, product: ast.AST) -> Scale:
    """The scale of the product of two."""
    known = [each for each in (left, right) if each is not None]
    factor = UNIT
    for each in known:
        factor = factor * each.factor
    whole = len(known) == 2 and all(each.whole for each in known)
    applied = next((each.applied for each in known if each.applied is not None), None)
    maps = frozenset().union(*(each.maps for each in known))
    parts = tuple(part for each in known for part in each.parts)
    return Scale(factor, whole, maps, width, product, applied, parts[-MOST_PARTS:])


def together(scales: Iterable[Scale]) -> Scale | None:
    """The scale of several that are added, or laid side by side: each may be expected to be scaled with the others.

    Scores that are scaled apart stay apart. Projections that are scaled apart have no one scale.
    """
    known = list(dict.fromkeys(each.unsure for each in scales))
    scores = [each for each in known if each.product is not None]
    if scores:
        apart = list({(each.factor, each.width): each for each in reversed(scores)}.values())[::-1]
        others = [other for each in apart for other in (each, *each.others)][1:]
        return replace(apart[0], others=tuple(dict.fromkeys(replace(each, others=()) for each in others)))
    if not known or len({each.factor for each in known}) > 1:
        return None
    return replace(known[0], maps=frozenset().union(*(each.maps for each in known)))


def is_right(scale: Scale) -> bool:
    """Tell whether scores are known to be divided by the square root of the head width."""
    right = None if scale.width is None else of_size(scale.width).power(-0.5)
    return right is not None and scale.factor.same(right)


def is_inverted(scale: Scale) -> bool:
    """Tell whether scores are multiplied by the root of the head width, by which they should be divided."""
    root = None if scale.width is None else of_size(scale.width).power(0.5)
    return root is not None and scale.factor.same(root)


def mistake(scale: Scale) -> str | None:
    """Return a description of the mistake in a scale; None where the scale is right, or may be meant."""
    width = scale.width
    if width is None or width == ONE or is_right(scale):
        return None
    packed = {whole.divide(constant(parts)) for whole in scale.maps for parts in (2, 3)}
    wholes = scale.maps | {whole for whole in packed if whole is not None}
    heads = {each for whole in wholes if (each := whole.divide(width)) is not None and each != ONE}
    if scale.factor.same(UNIT):
        several = bool(heads) or _is_one_of_several(scale.maps, width)
        return "not scaled at all" if scale.whole and several and scale.applied is None else None  # by 1: on purpose
    if is_inverted(scale):
        return "multiplied by the root of the width of a head, by which they should be divided"
    if is_scaled_twice(scale):
        places = {2: "two", 3: "three", 4: "four"}[len(scale.parts)]
        in_all = ", by the width in all" if scale.factor.same(of_size(width).power(-1.0) or UNIT) else ""
        return f"divided by the root of the width of a head at {places} places{in_all}"
    if any(whole != width and scale.factor.same(of_size(whole).power(0.5) or UNIT) for whole in wholes):
        return "multiplied by the root of the width of the model, not divided by that of a head"
    for whole in wholes:
        told = whole.divide(width) is not None or (whole in scale.maps and _is_told(width))
        if told and whole != width and scale.factor.same(of_size(whole).power(-0.5) or UNIT):
            return "scaled by the width of the model, not by that of a head"
    for each in heads:
        if scale.factor.same(of_size(each).power(-0.5) or UNIT):
            return "scaled by the number of heads, not by the width of a head"
    return None


def is_scaled_twice(scale: Scale) -> bool:
    """Scores are divided by the root of their width, and then again; by the width at once may be meant.

    The root may be applied in halves, to queries and to keys: d^-1/4 each.
    """
    root = None if scale.width is None else of_size(scale.width).power(-0.5)
    fourth = None if root is None else root.power(0.5)
    if root is None or fourth is None:
        return False
    whole = sum(part.same(root) for part in scale.parts)
    halves = sum(part.same(fourth) for part in scale.parts)
    if not whole or whole + halves != len(scale.parts) or halves % 2:
        return False
    times = whole + halves // 2
    in_all = root.power(float(times))
    return times > 1 and in_all is not None and scale.factor.same(in_all)


def _is_one_of_several(maps: frozenset[Size], width: Size) -> bool:
    """The layers make one head, which is named so, of a width that is not theirs: other layers make the others."""
    symbol = width.symbol
    return symbol is not None and width in maps and len(maps) > 1 and symbol.says(WIDTH_OF_HEAD)


def _is_told(width: Size) -> bool:
    """Tell whether the code states the head width: a size left over, or given by a call, may be any other size."""
    return not width.left_over and not (width.symbol is not None and width.symbol.computed)
