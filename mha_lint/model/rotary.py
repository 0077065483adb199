"""What a tensor is to a rotary embedding: a table of angles, or a part of the vector that turns by them."""

from __future__ import annotations

import ast
from enum import Enum, IntEnum, auto

from msgspec import Struct
from msgspec.structs import replace

from mha_lint.comparing import compared_without
from mha_lint.model.cached import Complex, Joined, Rotated, Turning
from mha_lint.model.keys import Key
from mha_lint.model.sizes import Size


class Laid(Enum):
    """Where the two numbers of a pair stand that turn together, or the two equal angles that turn them."""

    ONCE = auto()  # each angle stands once: the table is half as wide as the vector
    HALVES = auto()  # i and i + d/2
    NEIGHBOURS = auto()  # 2i and 2i + 1


class Stage(IntEnum):
    """How far the numbers of a table have come."""

    STEPS = auto()  # they grow by the same step: an arange
    FREQUENCIES = auto()  # powers of a base over such steps
    ANGLES = auto()  # frequencies times positions
    TURNS = auto()  # cosines or sines of angles, or what was multiplied by them


class Precision(Enum):
    """What the code says of the type in which a factor of angles is held."""

    UNTOLD = auto()  # whole numbers, or those of the default type
    SINGLE = auto()  # float32, or more
    ACTIVATIONS = auto()  # cast to the type of the activations, or to half precision
    BUFFER = auto()  # that of a buffer, which is cast with its module


class Held(Struct, frozen=True):
    """How precisely a factor of angles is held. ``by`` is the expression that says so, ``like`` what it names."""

    precision: Precision = Precision.UNTOLD
    by: ast.expr | None = None
    like: Key | None = None


UNTOLD = Held()


class Phase(Struct, frozen=True):
    """Angles that are computed in the precision of a factor: in the expression ``node``, from ``factors``."""

    node: ast.expr
    factors: tuple[Held, ...]


@compared_without("counted")
class RotaryTable(Struct, frozen=True):
    """Numbers that are told by frequencies, all of which differ.

    ``dim`` is the dimension, from the end, along which they differ, and ``rank`` the number of dimensions, where it is
    known. ``by`` is the expression that laid the numbers out, if each stands twice. ``pair`` is the dimension, from
    the end, along which each stands twice, as long as it is one of its own. Of steps and frequencies, ``held`` tells
    the precision; of angles, ``phase`` tells where they were computed, if that was in half precision, or may be.
    ``at_zero`` where the first row is that of position 0; ``counted`` is the expression that makes it so.
    """

    stage: Stage
    dim: int = -1
    rank: int | None = None
    laid: Laid = Laid.ONCE
    by: ast.expr | None = None
    pair: int | None = None
    held: Held = UNTOLD
    phase: Phase | None = None
    at_zero: bool = False
    counted: ast.expr | None = None


def as_buffer(table: RotaryTable) -> RotaryTable:
    """The table as a buffer, which is cast when its module is."""
    if table.stage > Stage.FREQUENCIES or table.held.precision is Precision.ACTIVATIONS:
        return table
    return replace(table, held=Held(Precision.BUFFER))


class Split(Struct, frozen=True):
    """A vector taken apart by a view, such as (…, d/2, 2); ``pair`` is the dimension of size 2, from the end."""

    by: Laid
    pair: int


class Part(Struct, frozen=True):
    """One of the two parts of a vector, which is cut at ``bound`` or in the middle."""

    by: Laid
    index: int
    negated: bool = False
    bound: Size | None = None


class Stacked(Struct, frozen=True):
    """Both parts, turned by a right angle, side by side along the dimension ``pair``."""

    by: Laid
    pair: int


class Turned(Struct, frozen=True):
    """A vector whose pairs were turned by a right angle: (-x2, x1). ``node`` is the expression that put it together."""

    by: Laid
    node: ast.expr


class Term(Struct, frozen=True):
    """The one term of a rotation, the turned vector times the sines."""

    turned: Turned
    table: RotaryTable


# A phase are angles of which no more is known.
Rotary = RotaryTable | Split | Part | Stacked | Turned | Term | Phase | Turning | Complex | Rotated | Joined


class RotationSeen(Struct, frozen=True):
    """``x * cos + turned * sin`` met on some path; ``cosines`` where they are known.

    ``symbol`` is the method that rotates, and ``caller`` its call of the function that does it, where one does.
    """

    node: ast.expr
    turned: Turned
    sines: RotaryTable
    cosines: RotaryTable | None
    symbol: str
    caller: ast.expr | None

    @property
    def mixed(self) -> bool:
        """The angles are laid out in one way, and the pairs are taken in the other."""
        return self.sines.laid is not self.turned.by


class PhaseSeen(Struct, frozen=True):
    """Cosines or sines, taken at ``node``, of angles that are computed in half precision, or may be."""

    node: ast.expr
    phase: Phase
    symbol: str
    caller: ast.expr | None
