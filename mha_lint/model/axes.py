"""Which dimension of a tensor is the batch, and which the tokens': what code tells of sizes, and by what it tells it.

What is told belongs to a size, not to a tensor, so that it is known of all tensors that have a dimension of this size.
"""

from __future__ import annotations

import ast
from collections.abc import Hashable, Iterable, Mapping
from enum import Enum

from msgspec import Struct, field

from mha_lint.findings import Axes
from mha_lint.model.folded import Fold
from mha_lint.model.keys import Key, Kind, dimension
from mha_lint.model.sizes import ONE, Size, symbol
from mha_lint.model.values import State, Tensor, Unknown, Value


class Role(Enum):
    """What a dimension counts."""

    BATCH = "batch"
    TOKENS = "tokens"
    HEADS = "heads"


class Source(Enum):
    """By what code tells the role of a size. Two of them are independent of each other."""

    NAMES = "the names of its sizes"
    CONVOLUTION = "a convolution"
    RECURRENT = "a recurrent layer"
    IMAGE = "the rows and columns that were made one dimension"
    TABLE = "a table of positions that is added"
    TOKEN = "learned tokens that each entry is given"
    POOLED = "a mean over the tokens"
    PICKED = "a token that is taken out"
    LAYER = "a layer of attention with `batch_first=True`"
    MASK = "the shape of the mask"
    QUERIES = "the learned queries that are there for each entry"
    FLAT = "tokens that are made one vector"
    ATTENTION = "other attention over the tokens"


class Told(Struct, frozen=True):
    """One piece of evidence."""

    role: Role
    source: Source


class Front(Struct, frozen=True):
    """The first two dimensions of a tensor, (b, t, ...) or (t, b, ...): the sizes that each is known to be.

    ``began`` is where the path began on which that was seen: names of sizes mean nothing elsewhere.
    """

    first: frozenset[Size]
    second: frozenset[Size]
    began: Hashable = None


class SequencesSeen(Struct, frozen=True):
    """A layer of torch that takes sequences was given some; ``made`` is the call that built the layer.

    ``batch_first`` is what the layer takes, None where it is not known. ``shapes`` are pieces of evidence that the
    shapes of what the layer is given together tell, for the first dimension being the batch (True) or the tokens:
    torch raises for any others. ``led`` is the call of the linted module that led into another one, where that is done.
    """

    made: ast.Call
    node: ast.expr
    batch_first: bool | None
    given: tuple[Front, ...]
    shapes: frozenset[tuple[Source, bool]]
    symbol: str
    led: ast.expr | None = None


class HeadsSeen(Struct, frozen=True):
    """Attention of several heads: which of the two dimensions in the middle of (b, ., ., d) holds the heads.

    ``heads`` is -3 or -2 as the queries are given; None where that is not known. ``wanted`` is where the operation
    takes them to be. ``fused`` where one call does all of it, else it is the product of queries and keys.
    ``at`` is the place of the queries among the arguments: behind the module it is 1, and the call gives (b, t, h, d).
    """

    node: ast.expr
    fused: bool
    heads: int | None
    wanted: int
    query: tuple[Size, Size] | None
    symbol: str
    caller: ast.expr | None
    at: int = 0

    @property
    def swapped(self) -> bool | None:
        """Tokens and heads are where the other is meant to be; None where it is not known."""
        return None if self.heads is None else self.heads != self.wanted


class PositionsSeen(Struct, frozen=True):
    """Positions (n, 1, c) are added to a tensor whose first dimension is of that size: its ``front`` says which.

    ``led`` is the call of the linted module that led into another one, where that is done.
    """

    node: ast.AST
    front: Front
    symbol: str
    led: ast.expr | None = None


class AxisRoles(Struct):
    """All that the code of a file tells of the roles of sizes, for each function with which a path began."""

    given: dict[ast.Call, list[SequencesSeen]] = field(default_factory=dict)  # by the call that built the layer
    attention: dict[ast.expr, list[HeadsSeen]] = field(default_factory=dict)  # by the call, or the product
    contexts: dict[ast.expr, set[tuple[int, str]]] = field(default_factory=dict)  # by the product: where its values are
    positions: dict[ast.AST, list[PositionsSeen]] = field(default_factory=dict)  # by the sum
    tiled: dict[Key, Fold] = field(
        default_factory=dict
    )  # results of unknown rank, repeated along their first dimension
    _all: dict[Hashable, dict[Size, set[Told]]] = field(default_factory=dict)
    _began: Hashable = None
    _told: dict[Size, set[Told]] = field(default_factory=dict)
    _log: list[tuple[Size, Told]] = field(default_factory=list)  # all of it, in the order in which it was told
    _rows: set[Key] = field(default_factory=set)  # sizes of tables and ranges, which have a row for each position
    _same: dict[Key, Size] = field(default_factory=dict)  # dimensions of results of unknown rank
    _sized: set[Key] = field(default_factory=set)  # those results
    _origins: dict[Key, Key] = field(default_factory=dict)  # results whose first two dimensions are those of another

    # --- while code is interpreted -----------------------------------------------------------------------------------

    def begin(self, began: Hashable) -> None:
        """A path begins; what is told from now on is told of its sizes."""
        self._began, self._told = began, self._all.setdefault(began, {})
        self._same, self._rows, self._sized, self._origins = {}, set(), set(), {}

    def tell(self, size: Size | None, role: Role, source: Source) -> None:
        """Note one piece of evidence of a size; a number may be the size of anything."""
        if size is not None and size.constant is None:
            self._tell(self.named(size), Told(role, source))

    def _tell(self, size: Size, told: Told) -> None:
        self._told.setdefault(size, set()).add(told)
        self._log.append((size, told))

    @property
    def told(self) -> int:
        """How many pieces of evidence were told so far."""
        return len(self._log)

    def told_since(self, count: int) -> tuple[tuple[Size, Told], ...]:
        """The pieces of evidence behind the first so many: what a call told, say."""
        return tuple(dict.fromkeys(self._log[count:])) if len(self._log) > count else ()

    def tell_again(self, evidence: Iterable[tuple[Size, Told]]) -> None:
        """A call whose outcome is remembered tells, on this path too, what it told."""
        for size, told in evidence:
            self._tell(size, told)

    def tell_heads(self, heads: Size, tokens: Size | None) -> None:
        """A width was split into heads, which may be any number of them."""
        self._tell(self.named(heads), Told(Role.HEADS, Source.ATTENTION))
        self.tell(tokens, Role.TOKENS, Source.ATTENTION)

    def folds_of(self, tensor: Tensor, rank: int) -> tuple[Fold, ...]:
        """The folds of a tensor; that of the first dimension, where its rank is taken to be that of what it meets."""
        if not self.tiled or tensor.folds:
            return tensor.folds
        size = size_at(tensor, 0)
        key = None if size is None or size.symbol is None else size.symbol.owner
        known = None if key is None else self.tiled.get(self._origins.get(key, key))
        return () if known is None else (Fold(-rank, known.parts, known.repeated),)

    def heads_of(self, tensor: Tensor) -> int | None:
        """The dimension from the end, -3 or -2, that holds the heads; None where it is not known."""
        held = tensor.shape if tensor.shape is not None else tensor.suffix
        if (tensor.rank not in (None, 4, 5)) or len(held) < 2:
            return None
        heads = [dim for dim in (-3, -2) if dim >= -len(held) and self._is(held[dim], Role.HEADS)]
        if len(heads) != 1:
            return None
        other = -5 - heads[0]
        if other < -len(held):  # all but the last dimensions of a projection: among these are its tokens
            return heads[0] if tensor.lead is not None and not tensor.lead.front else None
        return heads[0] if self._is(held[other], Role.TOKENS) else None

    def _is(self, size: Size, role: Role) -> bool:
        """Tell whether a dimension of this size has a role. Of 1, what was told is about another dimension."""
        return size != ONE and any(each.role is role for each in self._told.get(self.named(size), ()))

    def tell_front(self, tensor: Tensor, source: Source, *, batch_first: bool) -> None:
        """The first two dimensions are batch and tokens, or tokens and batch."""
        roles = (Role.BATCH, Role.TOKENS) if batch_first else (Role.TOKENS, Role.BATCH)
        for dim, role in enumerate(roles):
            self.tell(size_at(tensor, dim), role, source)

    def alike(self, result: Key, dims: Iterable[Size | None]) -> None:
        """The first dimensions of a result of unknown rank are these."""
        self._sized.add(result)
        for dim, size in enumerate(dims):
            key = dimension(result, dim)
            if size is None:
                self._same.pop(key, None)
            elif (named := self.named(size)).symbol is not key:
                self._same[key] = named
                if self._is_of_rows(size):
                    self._rows.add(key)
        self._origins.pop(result, None)

    def inserted(self, result: Key, tensor: Tensor, dim: int) -> None:
        """One more dimension, of size 1, among the first of a tensor of unknown rank."""
        sizes = [size_at(tensor, 0), size_at(tensor, 1)]
        self.alike(result, (*sizes[:dim], ONE, *sizes[dim:]))

    def at(self, tensor: Tensor, dim: int) -> Size | None:
        """The size of one of the first dimensions, as it was named first."""
        size = size_at(tensor, dim)
        return None if size is None else self.named(size)

    def front(self, tensor: Tensor, state: State) -> Front | None:
        """The first two dimensions, each with all the names that its size has here."""
        sizes = size_at(tensor, 0), size_at(tensor, 1)
        if sizes[0] is None or sizes[1] is None or (tensor.rank is not None and tensor.rank < 3):
            return None
        return Front(self._names(sizes[0], state), self._names(sizes[1], state), self._began)

    def counts(self, rows: Key, size: Size) -> None:
        """A table, or a range, has so many rows: one for each position."""
        self._same[rows] = self.named(size)
        self._rows.add(rows)

    @property
    def has_rows(self) -> bool:
        """There are tables of positions."""
        return bool(self._rows)

    def rows_of(self, table: Tensor) -> Size | None:
        """The number of positions of a table (n, 1, c); None for any other tensor."""
        if not self._rows:
            return None
        size = size_at(table, 0)
        is_table = size is not None and self._is_of_rows(size) and self.at(table, 1) == ONE
        return self.named(size) if size is not None and is_table else None

    def _is_of_rows(self, size: Size) -> bool:
        key = size.symbol
        if key is None or not self._rows:
            return False
        return key in self._rows or self._first(key) in self._rows

    def alike_to(self, result: Key, value: Value | None) -> None:
        """The first two dimensions of a result of unknown rank are those of a tensor, or of what may be one."""
        if isinstance(value, Unknown):
            origin = value.key
        elif not isinstance(value, Tensor):
            return
        elif value.shape is not None or (value.lead is not None and value.lead.front):
            self.alike(result, (size_at(value, 0), size_at(value, 1)))
            return
        else:
            origin = value.key if value.lead is None else value.lead.key
        first = None if origin is None else self._origins.get(origin, origin)
        if first is result:
            return
        if result in self._sized:  # on another path
            self.alike(result, (None, None))
        if first is None:
            self._origins.pop(result, None)
        else:
            self._origins[result] = first

    def knows(self, tensor: Tensor) -> bool:
        """It is told of the first dimensions of a tensor of unknown rank whose they are."""
        return tensor.key in self._sized or tensor.key in self._origins

    def _first(self, key: Key) -> Key | None:
        """The dimension of the tensor from which a result has it, where the key names such a dimension."""
        if key.kind is not Kind.DIMENSION or key.owner not in self._origins or key.number not in (0, 1):
            return None
        return dimension(self._origins[key.owner], key.number)

    def _meant(self, key: Key) -> Size | None:
        if key in self._same:
            return self._same[key]
        first = self._first(key)
        return None if first is None else self._same.get(first, symbol(first))

    def named(self, size: Size) -> Size:
        """The size as it was named first, where it is a dimension of a result of unknown rank."""
        known = {key: meant for key in size.symbols if (meant := self._meant(key)) is not None}
        return size.renamed(known) if known else size

    def _names(self, size: Size, state: State) -> frozenset[Size]:
        size = self.named(size)
        names = {size, state.normal(size)}
        names.update(symbol(key) for key in state.definitions if state.normal(symbol(key)) in names)
        return frozenset(names)

    # --- afterwards --------------------------------------------------------------------------------------------------

    def told_of(self, names: Iterable[Size], began: Hashable) -> frozenset[Told]:
        """All that is told of a size: of itself, or of what it is computed from, such as ``t + 1``."""
        told = self._all.get(began, {})
        found: set[Told] = set()
        for size in names:
            direct = told.get(size)
            if direct is not None:
                found |= direct
            elif size.symbol is None:
                made_of = [*size.summands, *map(symbol, size.symbols)]  # h*w + 1
                parts = {each for part in made_of for each in told.get(part, set())}
                of_batch = {each for each in parts if each.role is Role.BATCH}
                found |= of_batch or parts  # (b*t, n, c): each frame of each entry is an entry
        return frozenset(found)

    def sources(self, front: Front, *, batch_first: bool) -> frozenset[Source]:
        """Return what tells that batch and tokens come first in this order."""
        first, second = (Role.BATCH, Role.TOKENS) if batch_first else (Role.TOKENS, Role.BATCH)
        told = ((front.first, first), (front.second, second))
        return frozenset(
            each.source for names, role in told for each in self.told_of(names, front.began) if each.role is role
        )


def size_at(tensor: Tensor, dim: int) -> Size | None:
    """The size of one of the first dimensions, told by the name of the tensor where its rank is not known."""
    if tensor.shape is not None:
        return tensor.shape[dim] if dim < len(tensor.shape) else None
    if tensor.lead is not None:
        front = tensor.lead.front
        return front[dim] if dim < len(front) else symbol(dimension(tensor.lead.key, dim - len(front)))
    return None if tensor.key is None else symbol(dimension(tensor.key, dim))


def axes_of(front: Front, parameters: Mapping[Key, str]) -> tuple[Axes, ...]:
    """The dimensions of parameters that are batch and tokens where a tensor (b, t, ...) has come of them."""
    dims: dict[str, dict[str, int]] = {}
    for role, names in (("batch", front.first), ("tokens", front.second)):
        for size in names:
            key = size.symbol
            if key is None or key.owner is None or key.kind is not Kind.DIMENSION or key.owner not in parameters:
                continue
            if (key.number or 0) >= 0:
                dims.setdefault(parameters[key.owner], {})[role] = key.number or 0
    return tuple(Axes(name, found.get("batch"), found.get("tokens")) for name, found in sorted(dims.items()))
