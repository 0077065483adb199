"""The parts of attention that is written by hand: operands, what happens to the scores and the weights, and where."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import dropwhile, takewhile

from msgspec import Struct


class Operand(Struct, frozen=True):
    """The queries, the keys or the values, as the code hands them to a product.

    ``order`` are its dimensions in the order (..., tokens, width); None where they are in it. ``swapped`` where the
    last two have to change places, which needs no rank. ``shared`` where they lack dimensions that the others have, as
    keys and values do that all heads share.
    """

    node: ast.expr
    order: tuple[int, ...] | None = None
    swapped: bool = False
    shared: bool = False


class Scaled(Struct, frozen=True):
    """Scores are multiplied by a factor, or divided by it. ``node`` is the expression that does it."""

    factor: ast.expr
    divides: bool
    node: ast.expr | None = None


class Added(Struct, frozen=True):
    """Something is added to scores: a mask, or a bias. ``node`` is the expression, or the call, that adds it.

    ``subtracts`` where its negative is added. Where a function of the project adds it, ``term`` is its call, and
    ``given`` are the scores among the arguments; ``of_any_shape`` says that it would add the same to a single number.
    """

    term: ast.expr
    node: ast.expr
    subtracts: bool = False
    given: ast.expr | None = None
    of_any_shape: bool = False


class Filled(Struct, frozen=True):
    """Scores are replaced by a value where a condition holds; with ``keeps``, where it does not hold.

    ``node`` is the call that fills them.
    """

    condition: ast.expr
    value: ast.expr
    keeps: bool
    node: ast.Call


class Cast(Struct, frozen=True):
    """Scores or weights take another type."""

    node: ast.expr


class Shifted(Struct, frozen=True):
    """The largest score of a row is subtracted from the row, which changes nothing of its softmax."""

    node: ast.expr


class Normalised(Struct, frozen=True):
    """Scores become weights."""

    node: ast.Call


class Dropped(Struct, frozen=True):
    """Weights go through a dropout: the layer that is called, or that at a ``place`` of a sequence of layers."""

    node: ast.Call
    place: int | None = None


class Turned(Struct, frozen=True):
    """The last two dimensions of the weights change places."""

    node: ast.expr


class Viewed(Struct, frozen=True):
    """Scores take another shape, of as many numbers: those of windows, to which a mask is added, and back."""

    node: ast.Call


Step = Scaled | Added | Filled | Cast | Shifted | Normalised | Dropped | Turned | Viewed


class Product(Struct, frozen=True):
    """The product of queries and keys. ``rank`` is the number of dimensions of the scores, where it is known."""

    node: ast.expr
    query: Operand
    key: Operand
    rank: int | None = None


class Context(Struct, frozen=True):
    """The product of weights and values. ``order`` are the dimensions of its result, as those of ``Operand``."""

    node: ast.expr
    value: Operand
    order: tuple[int, ...] | None = None
    swapped: bool = False


class Link(Struct, frozen=True):
    """A statement that does nothing but take steps from one name to the next."""

    statement: ast.stmt
    steps: tuple[Step, ...]
    target: str


class Choice(Struct, frozen=True):
    """An ``if`` under which scores take steps, such as the one for a mask that may be None.

    Where one branch makes weights of them, so does the other, and nothing is done behind that.
    """

    statement: ast.If
    body: tuple[Link, ...]
    orelse: tuple[Link, ...]

    @property
    def links(self) -> tuple[Link, ...]:
        """The links of both branches."""
        return (*self.body, *self.orelse)

    @property
    def softmax(self) -> Normalised | None:
        """The softmax of the first branch, where each of the two has one."""
        return next((step for link in self.body for step in link.steps if isinstance(step, Normalised)), None)


class ByHand(Struct, frozen=True):
    """Attention by hand: the product of queries and keys, what follows, and the product with the values.

    ``inner`` are the steps in the statement of the first product, ``last`` those in the statement of the second one;
    one statement may hold all, and then ``links`` are empty and so is ``inner``. ``names`` are those that scores and
    weights are given. ``asked`` are other statements that ask for their type or their sizes. ``others`` are the steps
    behind the first product in further branches, where ``first`` is an ``if`` with a product in each.
    """

    function: ast.FunctionDef | ast.AsyncFunctionDef
    first: ast.stmt
    product: Product
    inner: tuple[Step, ...]
    links: tuple[Link | Choice, ...]
    last: tuple[Step, ...]
    context: Context
    statement: ast.stmt
    names: tuple[str, ...]
    asked: tuple[ast.stmt, ...]
    others: tuple[tuple[Step, ...], ...] = ()

    def steps(self) -> Iterator[Step]:
        """Yield every step, those under conditions too, in the order of the code."""
        yield from self.inner
        for steps in self.others:
            yield from steps
        for link in self.links:
            yield from _steps_of(link)
        yield from self.last

    @property
    def softmax(self) -> ast.Call:
        """The call that makes weights of scores."""
        return next(step.node for step in self.steps() if isinstance(step, Normalised))

    @property
    def of_scores(self) -> list[Step]:
        """The steps before the softmax."""
        return list(takewhile(_is_of_scores, self.steps()))

    @property
    def of_weights(self) -> list[Step]:
        """The steps behind the softmax."""
        return list(dropwhile(_is_of_scores, self.steps()))[1:]

    @property
    def choices(self) -> Iterator[Choice]:
        """The conditions under which scores or weights take steps."""
        return (link for link in self.links if isinstance(link, Choice))


def _is_of_scores(step: Step) -> bool:
    return not isinstance(step, Normalised)


def _steps_of(link: Link | Choice) -> Iterator[Step]:
    if isinstance(link, Link):
        yield from link.steps
        return
    for inner in link.links:
        yield from (step for step in inner.steps if not isinstance(step, Normalised))
    if link.softmax is not None:
        yield link.softmax
