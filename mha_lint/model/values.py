"""The abstract values that the interpreter computes with.

All are frozen and compare by value, so that two paths through a function that know the same can be joined.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field
from msgspec.structs import replace

from mha_lint.comparing import compared_without
from mha_lint.model.conditions import IS_NONE, IS_TRUE, Condition, Path, Question, Relation, Taken, has_earlier
from mha_lint.model.factors import Factor, of_number, of_size
from mha_lint.model.folded import Fold, Reordered
from mha_lint.model.keys import Key, Kind
from mha_lint.model.layout import Shape, Strides, contiguous_strides
from mha_lint.model.marks import Mask, Masking, Positions
from mha_lint.model.normalised import Normalised
from mha_lint.model.rotary import Rotary
from mha_lint.model.scale import Scale
from mha_lint.model.sizes import Size, constant, symbol
from mha_lint.vocabulary import EARLIER

if TYPE_CHECKING:
    import ast

    from mha_lint.syntax import nodes
    from mha_lint.syntax.names import ClassInfo


class Unknown(Struct, frozen=True):
    """Something of which only the name is known: used as a size it is a symbol, as a tensor one without rank."""

    key: Key | None = None
    handed: Value | None = None  # what other code hands over under this name: rotary tables, or what makes some


class Const(Struct, frozen=True):
    """None, a bool, a string, a float or an Ellipsis whose value is known."""

    value: object


class Number(Struct, frozen=True):
    """A float; its value, where it is known: a literal, or a scale told by sizes."""

    factor: Factor | None = None


class Int(Struct, frozen=True):
    size: Size


class Sequence(Struct, frozen=True):
    """A tuple or list whose items are known."""

    items: tuple[Value, ...]


class Repeated(Struct, frozen=True):
    """A sequence whose items are all alike: ``nn.ModuleList`` of heads, a comprehension over a range."""

    item: Value
    count: Size | None = None


class ShapeOf(Struct, frozen=True):
    """``x.shape`` of a tensor whose rank is unknown so far."""

    tensor: Tensor | Unknown


class Leading(Struct, frozen=True):
    """``(*x.shape[:-1], h, d)``: the leading sizes of a tensor of unknown rank, then known ones.

    ``key`` names the tensor; what it is once its rank is known, ``State.ranks`` tells.
    """

    key: Key
    items: tuple[Value, ...] = ()


class Lead(Struct, frozen=True):
    """The first dimensions of a tensor of unknown rank: those in ``front``, then all but the last ``cut`` of another.

    ``key`` names that other tensor.
    """

    key: Key
    cut: int = 1
    front: Shape = ()


@compared_without("uncopied", "origin", "inputs")
class Tensor(Struct, frozen=True):
    """A tensor: its symbolic shape and strides, where known, and what it is to attention.

    ``roles`` holds some of: *projection* (made by a learned linear map), *features* (one after a softmax, as in
    linear attention), *scores*, *weights*, *context*, *swapped* (context of attention over heads, where the tokens are
    meant to be), *merged* (context with its heads merged), *projected* (a linear map was applied after the merge),
    *parameter*, *weighed* (something times what a softmax gave), *joined* (it stands behind what an earlier call gave).
    Of a tensor of unknown rank, ``suffix`` holds the last dimensions; ``lead`` tells which come before them.
    ``merge`` is the expression, in the function being run, that merged the heads. ``part`` is the call that
    unbound the tensor from a packed one. Of a context, ``batch`` is the product of its batch dimensions (heads
    among them) and ``width`` the size of its value dimension.
    """

    shape: Shape | None = None
    strides: Strides | None = None
    contiguous: bool = False  # known even where the shape is not
    of_math: Strides | None = None  # of fused attention, whose kernel decides: the strides that the math kernel gives
    uncopied: Strides | None = None  # the strides before ``.contiguous()``
    assumed: bool = False  # an input that the code lays out by a view is taken to be contiguous
    made: bool = False  # of constants, or of random numbers, whatever the function was given
    padded: bool = False  # rows or columns were added, such as zeros
    suffix: Shape = ()  # the last dimensions, where the rank is not known
    lead: Lead | None = None
    least: int = 0  # where the rank is not known: how many dimensions there are at least
    key: Key | None = None  # names the sizes of a tensor whose shape is not known
    roles: frozenset[str] = frozenset()
    merge: ast.expr | None = None
    part: ast.expr | None = None
    batch: Size | None = None
    width: Size | None = None
    normalised: Normalised | None = None
    reordered: Reordered | None = None  # the view in which its dimensions changed places
    folds: tuple[Fold, ...] = ()  # the dimensions whose sizes have a known order
    scale: Scale | None = None  # of a projection, or of scores
    homes: tuple[ast.expr, ...] = ()  # the calls that made it on the default device, if it still is there
    mask: Mask | Positions | None = None  # what its numbers are, if it is a mask
    masked: frozenset[Masking] = frozenset()  # of scores or weights: in which ways they were masked
    single: bool = False  # it is not half, because the code says so: it was cast, or made of float32
    rotary: Rotary | None = None  # what it is to a rotary embedding
    origin: ast.AST | None = None  # the name that it, or what it is a view of, had
    inputs: frozenset[Key] = frozenset()  # the parameters that it is computed from

    @property
    def rank(self) -> int | None:
        return None if self.shape is None else len(self.shape)

    @property
    def last(self) -> Size | None:
        """The size of the last dimension, where it is known."""
        known = self.shape or self.suffix
        return known[-1] if known else None

    @property
    def first(self) -> Size | None:
        """The size of the first dimension, where it is known."""
        known = self.shape or (() if self.lead is None else self.lead.front)
        return known[0] if known else None

    @property
    def given(self) -> bool:
        """Tell whether this is a parameter or an attribute as it came, not a result: its strides are not known."""
        return self.key is not None and not self.key.of_result and self.strides is None

    @property
    def blank(self) -> bool:
        """Return True where nothing is known of the tensor's shape, its roles and its mask."""
        return self.shape is None and not self.suffix and not self.roles and self.mask is None

    def normalised_at(self, dim: int | None) -> Tensor:
        """The same, where the dimension along which it sums to one is now at ``dim``; None if nowhere.

        Of one that a view has split, the parts may go different ways.
        """
        if self.normalised is None or self.normalised.dim == dim:
            return self
        if dim is None or self.normalised.parts > 1:
            return replace(self, normalised=None)
        return replace(self, normalised=replace(self.normalised, dim=dim))

    def having(self, *roles: str) -> Tensor:
        return replace(self, roles=self.roles.union(roles))


def fresh(shape: Shape | None, **known: Any) -> Tensor:
    """A newly allocated, contiguous tensor."""
    strides = None if shape is None else contiguous_strides(shape)
    return Tensor(shape, strides, contiguous=True, **known)


def of_shape(shape: Shape | None, **known: Any) -> Tensor:
    """A tensor of known shape in an unknown layout."""
    return Tensor(shape, None, **known)


class Layer(Struct, frozen=True):
    """A built ``torch.nn`` module. ``width_in``/``width_out`` are its last (Linear) or channel (Conv) sizes."""

    kind: str  # "Linear", "Conv2d", "LayerNorm", "Dropout", "Identity", "Sequential", ...
    width_in: Size | None = None
    width_out: Size | None = None
    items: tuple[Value, ...] = ()
    node: ast.Call | None = None
    optional: bool = False  # it may be None as well
    wrapped: bool = False  # something is around it that may change the numbers, and leaves their shape


class Instance(Struct, frozen=True):
    """An object of a class of this file, with its attributes after ``__init__``; these are known once it was ``built``.

    ``building`` is the call of its class, until somebody asks for an attribute, or for what a method gives.
    """

    cls: ClassInfo
    attributes: tuple[tuple[str, Value], ...] = ()
    optional: bool = False  # it may be None as well
    building: Building | None = None

    def attribute(self, name: str) -> Value | None:
        """The value of an attribute; None where it is not known."""
        for known, value in self.attributes:
            if known == name:
                return value
        return None


@compared_without("definitions", "ranks")
class Building(Struct, frozen=True):
    """The call of a class: its arguments, and what was known of sizes when it was made."""

    node: ast.expr
    args: tuple[Value, ...]
    keywords: tuple[tuple[str, Value], ...]
    definitions: Mapping[Key, Size]
    ranks: Mapping[Key, int]


class Self(Struct, frozen=True):
    """The object whose method is being run; its attributes live in the state."""

    cls: ClassInfo


class Super(Struct, frozen=True):
    cls: ClassInfo


class Qualified(Struct, frozen=True):
    """A name imported from elsewhere, in full: ``torch.nn.functional.softmax``."""

    name: str
    optional: bool = False  # the module binds the name a second time, such as to None where the import fails


class ClassValue(Struct, frozen=True):
    cls: ClassInfo


class Partial(Struct, frozen=True):
    """A class, or a function of the project, with some of its arguments: ``partial(nn.Linear, bias=False)``."""

    function: Value
    args: tuple[Value, ...]
    keywords: tuple[tuple[str, Value], ...]


@compared_without("around")
class Function(Struct, frozen=True):
    """A function, method or lambda of this file.

    ``closure`` holds the variables around a nested one as they were where it was made, and ``around`` is the function
    that made it: as long as that runs, its variables are read when the nested function is called.
    """

    node: nodes.Function | ast.Lambda
    owner: Self | Instance | None = None
    closure: tuple[tuple[str, Value], ...] = ()
    around: ast.AST | None = None


class Table(Struct, frozen=True):
    """A dictionary of functions by strings, such as one for each implementation of attention."""

    entries: tuple[tuple[str, Value], ...]


class Method(Struct, frozen=True):
    """A method of an unknown object that is called, or any attribute of a tensor or of another known object."""

    receiver: Value
    name: str


class Slice(Struct, frozen=True):
    """A slice in a subscript; an end that was not written is None."""

    start: Value | None
    stop: Value | None
    step: Value | None = None


Value = (
    Unknown | Const | Number | Int | Sequence | Repeated | ShapeOf | Leading | Tensor | Layer | Instance | Self | Super
    | Qualified | ClassValue | Partial | Function | Table | Method | Slice
)  # fmt: skip

NOTHING = Unknown()
_SELF = ("self",)
NONE = Const(None)


def integer(value: int) -> Int:
    return Int(constant(value))


def as_size(value: Value | None) -> Size | None:
    """The value as a size: a known or symbolic integer, or the symbol of a named unknown."""
    if isinstance(value, Int):
        return value.size
    if isinstance(value, Unknown):
        return None if value.key is None else symbol(value.key)
    if isinstance(value, Const) and isinstance(value.value, bool):
        return constant(int(value.value))
    return None


def as_factor(value: Value | None) -> Factor | None:
    """The value as a number of known value: a literal, or one told by sizes."""
    match value:
        case Number(factor):
            return factor
        case Const(float(number)):
            return of_number(number)
        case Qualified("torch.inf" | "math.inf" | "numpy.inf"):
            return of_number(math.inf)
        case Int(size):
            return of_size(size)
        case Unknown(Key(of_result=False)):
            known = as_size(value)
            return None if known is None else of_size(known)
        case _:
            return None


def as_int(value: Value | None) -> int | None:
    return value.size.constant if isinstance(value, Int) else None


def as_tensor(value: Value) -> Tensor | None:
    """The value as a tensor: an unknown that is used as one becomes a tensor of unknown rank."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, Unknown):
        key, handed = value.key, value.handed
        rotary = handed.rotary if isinstance(handed, Tensor) else None
        return Tensor(key=key, inputs=frozenset({key} if key is not None and not key.of_result else ()), rotary=rotary)
    return None


def tensors(value: Value) -> Iterator[Tensor]:
    """The tensors that a value is made of."""
    match value:
        case Tensor():
            yield value
        case Sequence(items):
            for item in items:
                yield from tensors(item)
        case Repeated(item, _):
            yield from tensors(item)


def truth(value: Value) -> bool | None:
    """Return the truth value of an abstract value in a condition; None where it is not known."""
    match value:
        case Const(constant_value):
            return bool(constant_value)
        case Int(size):
            return None if size.constant is None else bool(size.constant)
        case Sequence(items):
            return bool(items)
        case Layer(optional=True) | Instance(optional=True):
            return None
        case Layer() | Instance() | Self() | Function() | ClassValue():
            return True
        case _:
            return None


class State(Struct):
    """A state holds what is known at one point of a path: variables, attributes of self, sizes, conditions taken.

    ``conditions`` are those taken in the function running, as long as what they name stays the same.
    ``passed`` are those of the functions around it, and of the calls that have returned: their names mean nothing
    here, but the path would not be here without them. ``facts`` are the same decisions by the values that they are
    about, which are the same in every function.
    ``joined`` where several states were joined into this one, or into one that it comes of: what is not known here may
    have been known of each of them.
    """

    variables: dict[str, Value] = field(default_factory=dict)
    attributes: dict[str, Value] = field(default_factory=dict)
    definitions: dict[Key, Size] = field(default_factory=dict)
    conditions: dict[Condition, bool] = field(default_factory=dict)
    ranks: dict[Key, int] = field(default_factory=dict)  # of tensors whose rank was learnt after they were used
    inference: bool = False  # inside torch.no_grad() or torch.inference_mode()
    passed: Taken = frozenset()
    facts: dict[tuple[Key, Question], bool] = field(default_factory=dict)
    joined: bool = False

    def copy(self) -> State:
        return State(
            dict(self.variables),
            dict(self.attributes),
            dict(self.definitions),
            dict(self.conditions),
            dict(self.ranks),
            self.inference,
            self.passed,
            dict(self.facts),
            self.joined,
        )

    @property
    def taken(self) -> Taken:
        """Every condition that led here, in whatever function it was taken, one by one."""
        return self.passed.union(each for each in self.conditions.items() if each[0].relation is not Relation.SEVERAL)

    def unless_none(self, value: Value) -> Value:
        """Give the value, or None where a condition on this path has told, in whatever function, that it is None."""
        if self.facts and isinstance(value, Unknown) and value.key is not None and self.facts.get((value.key, IS_NONE)):
            return NONE
        return value

    @property
    def one_by_one(self) -> bool:
        """Tell whether this path has found the tokens of earlier calls to be there: new ones come one by one then."""
        found = any(asked == IS_NONE and not holds and key.says(EARLIER) for (key, asked), holds in self.facts.items())
        return found or has_earlier(self.taken)

    def truths(self, value: Value | None) -> frozenset[tuple[Key, bool]]:
        """Return what a condition on this path has told of the truth of an unknown value."""
        key = value.key if isinstance(value, Unknown) else None
        told = None if key is None else self.facts.get((key, IS_TRUE))
        return frozenset() if key is None or told is None else frozenset({(key, told)})

    @property
    def own_names(self) -> frozenset[str]:
        """The names under which the object keeps something, and those of what it was built with."""
        keys = [value.key for value in self.attributes.values() if isinstance(value, Unknown)]
        built_with = [key.text for key in keys if key is not None and key.kind is Kind.NAME]
        return frozenset(self.attributes).union(built_with)

    def agree(self, other: State) -> None:
        """Keep the conditions that led to both: the others no longer tell the two paths apart."""
        self.conditions = dict(self.conditions.items() & other.conditions.items())
        self.facts = dict(self.facts.items() & other.facts.items())
        self.passed &= other.passed
        self.joined = self.joined and other.joined

    def known(self, names: Iterable[str]) -> tuple[object, ...]:
        """Return what tells two states apart: all but the conditions, and of the variables only those in ``names``.

        The part that differs most often comes first.
        """
        values = [self.variables.get(name) for name in names]
        return values, self.attributes, self.definitions, self.ranks, self.inference

    def normal(self, size: Size) -> Size:
        return size.substitute(self.definitions)

    def learn(self, definitions: Mapping[Key, Size]) -> None:
        """Take over what another path knows of sizes, but for what would define a symbol by itself."""
        for name, size in definitions.items():
            known = self.normal(size)
            if name not in self.definitions and name not in known.symbols:
                self.definitions[name] = known

    @property
    def conditions_on_self(self) -> dict[Condition, bool]:
        """The conditions that hold in other methods of the object as well: they name no local variable."""
        return {
            condition: taken
            for condition, taken in self.conditions.items()
            if condition.begins_with_self and not self._names_a_local(condition)
        }

    def _names_a_local(self, condition: Condition) -> bool:
        return any(len(path) == 1 and path != _SELF and path[0] in self.variables for path in condition.names)

    def forget_conditions_on(self, path: Path) -> None:
        for condition in [each for each in self.conditions if path in each.names]:
            del self.conditions[condition]


def arguments(positional: tuple[Value, ...], keywords: Mapping[str, Value], *names: str) -> tuple[Value | None, ...]:
    """The values for ``names`` in order, from positional and keyword arguments."""
    return tuple(
        positional[index] if index < len(positional) else keywords.get(name) for index, name in enumerate(names)
    )
