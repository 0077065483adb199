"""``Run`` is what the parts of the model know of the interpreter; ``Call`` is one operation being applied.

The interpreter knows all parts. They know no more of it than this protocol.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from mha_lint.model import layout
from mha_lint.model.axes import AxisRoles, Source
from mha_lint.model.cached import Rotated
from mha_lint.model.conditions import Condition
from mha_lint.model.events import Clash, Meant
from mha_lint.model.folded import Fold
from mha_lint.model.keys import Key, dimension, left_over
from mha_lint.model.layout import Answer, Shape
from mha_lint.model.normalised import Normalised
from mha_lint.model.rotary import Phase, RotaryTable, Term
from mha_lint.model.scale import Scale
from mha_lint.model.sizes import Size, substituted, symbol
from mha_lint.model.values import Function, State, Tensor, Value, arguments, as_int, as_tensor
from mha_lint.syntax import nodes
from mha_lint.syntax.names import ClassInfo, Definition, ModuleNames


class Run(Protocol):
    """The interpreter, as the parts of the model see it."""

    @property
    def names(self) -> ModuleNames: ...

    axes: AxisRoles
    would_stay_views: set[ast.expr]
    put_back: set[ast.expr]
    reshapes: set[ast.Call]

    # --- nodes -----------------------------------------------------------------------------------------------------

    def number(self, node: ast.AST) -> int:
        """The number of a node, by which what is only known to be its value is named."""

    def key(self, node: ast.AST) -> Key:
        """The name of what is only known to be the value of a node."""

    def node(self, key: Key) -> ast.AST | None:
        """The node that a key was made of."""

    def text(self, node: ast.AST) -> str:
        """The text of a node with one space for any white space."""

    def condition(self, test: ast.expr) -> Condition:
        """The condition that a test asks about."""

    def is_method(self, node: ast.expr) -> bool:
        """Tell whether a call is written ``x.op()``, not ``torch.op(x)``."""

    @property
    def began(self) -> nodes.Function | None:
        """The function with which the path began."""

    def is_given(self, key: Key) -> bool:
        """It names what the function was given with which the path began, or something of that but its size."""

    def is_tensor(self, key: Key, state: State) -> bool:
        """The code uses as a tensor what the key names."""

    def mentioned(self, name: str) -> int:
        """Return the number of times that the running function mentions a name."""

    # --- values ----------------------------------------------------------------------------------------------------

    def evaluate(self, node: ast.expr, state: State) -> Value:
        """The abstract value of an expression; calls may refine ``state``."""

    def callee(self, node: ast.expr, state: State) -> Value:
        """The abstract value of what is called."""

    def built(self, node: ast.expr, value: Value, state: State) -> Value:
        """The value; an object that was yet to be built is built."""

    def refine(self, state: State, tensor: Tensor, rank: int) -> Tensor:
        """Give a tensor of unknown rank its rank."""

    # --- calls and choices -----------------------------------------------------------------------------------------

    def apply(self, function: Value, call: Call) -> Value:
        """The value of calling ``function`` with the call's arguments."""

    def call_function(self, function: Function, call: Call) -> Value:
        """Follow a call into a function of this file."""

    def abroad(self, found: Definition) -> Value:
        """The value of a name of another module of the project."""

    def nested(self, node: nodes.Function | ast.Lambda, closure: tuple[tuple[str, Value], ...]) -> Function:
        """Make a function inside of the one that runs."""

    def choose(self, count: int) -> int:
        """Which of so many ways this path takes."""

    # --- where the path is -----------------------------------------------------------------------------------------

    @property
    def looping(self) -> bool:
        """A loop runs."""

    @property
    def turns(self) -> Size | None:
        """Return the number of times that the innermost loop runs; None where it is not known."""

    @property
    def calls(self) -> tuple[ast.expr, ...]:
        """The calls that led to the function that is running, the innermost first."""

    @property
    def constructing(self) -> bool:
        """A constructor runs."""

    @property
    def function(self) -> ast.AST:
        """The function that is running."""

    @property
    def in_method(self) -> bool:
        """Tell whether the running function is itself a method."""

    # --- what is seen ----------------------------------------------------------------------------------------------

    def saw_view(self, call: Call, answer: Answer, tensor: Tensor, target: Shape, *, copies: bool) -> None: ...

    def saw_contiguous(self, node: ast.expr, tensor: Tensor) -> None: ...

    def saw_unbind(self, node: ast.expr, tensor: Tensor, dim: int, inference: bool) -> None: ...

    def saw_operation(self, name: str, call: Call, result: Value) -> None: ...

    def saw_sequences(
        self,
        made: ast.Call,
        call: Call,
        batch_first: bool | None,
        given: tuple[Tensor, ...],
        shapes: frozenset[tuple[Source, bool]],
    ) -> None: ...

    def saw_heads(self, call: Call, query: Tensor, key: Tensor, wanted: int, *, fused: bool, at: int = 0) -> None: ...

    def saw_context(self, call: Call, values: int) -> None: ...

    def saw_positions(self, call: Call, table: Tensor, to: Tensor) -> None: ...

    def saw_meeting(self, homes: tuple[ast.expr, ...], call: Call, inputs: frozenset[Key]) -> None: ...

    def saw_sum(self, left: Value, right: Value) -> None: ...

    def saw_product(self, left: Tensor, right: Tensor) -> None: ...

    def saw_weighting(self, normalised: Normalised, contracted: int) -> None: ...

    def saw_counting(self, normalised: Normalised, along: int) -> None: ...
    def saw_pooling(self, normalised: Normalised) -> None: ...

    def saw_normed(self, product: ast.AST) -> None: ...
    def saw_scale(self, node: ast.expr, scale: Scale, state: State) -> None: ...

    def saw_orders(self, left: Fold, right: Fold) -> None: ...

    def saw_rotation(self, node: ast.expr, term: Term, cosines: RotaryTable | None) -> None: ...

    def saw_phase(self, node: ast.expr, phase: Phase) -> None: ...

    def saw_written(self, node: ast.expr, rotated: Rotated) -> None: ...

    def saw_value(self, node: ast.AST, name: str, value: Value, state: State) -> None: ...

    def saw_use(self, tensor: Tensor | None, role: str) -> None: ...

    def saw_attention(self, *kinds: str) -> None: ...

    def saw_kinds(self, *kinds: str) -> None: ...

    def saw_call(self, node: ast.AST, cls: ClassInfo) -> None: ...

    def saw_shapes(self, call: Call, clash: Clash | None, *, known: bool) -> None: ...

    def stands_alone(self, node: ast.AST) -> bool:
        """Tell whether a call is a statement of its own, so that nobody takes its result."""

    def saw_discarded(self, node: ast.Call, meant: Meant, written: ast.expr | None, *, masks: bool) -> None: ...

    def saw_result(self, node: ast.AST, value: Value) -> None: ...


class Call(Struct, frozen=True):
    """One operation being applied: its expression, its arguments, and the state that it may refine."""

    interpreter: Run
    state: State
    node: ast.expr
    args: tuple[Value, ...]
    keywords: Mapping[str, Value]

    def tensor(self, index: int = 0, *names: str) -> Tensor | None:
        """The tensor argument at ``index`` (or under one of ``names``), its sizes in normal form."""
        value = self.args[index] if index < len(self.args) else None
        for name in names:
            value = value if value is not None else self.keywords.get(name)
        tensor = None if value is None else as_tensor(value)
        return None if tensor is None else normal(tensor, self.state)

    def integer(self, index: int, name: str, default: int | None = None) -> int | None:
        (value,) = arguments(self.args[index:], self.keywords, name) if index < len(self.args) else (
            self.keywords.get(name),
        )  # fmt: skip
        return default if value is None else as_int(value)

    def fresh_size(self, label: str = "n") -> Size:
        return symbol(left_over(label, self.interpreter.number(self.node)))


Transfer = Callable[[Call], Value]


def normal(tensor: Tensor, state: State) -> Tensor:
    """The tensor with its sizes in normal form, and its shape if its rank has been learnt since it was made."""
    if tensor.shape is None:
        key = tensor.key if tensor.lead is None else tensor.lead.key
        rank = state.ranks.get(key) if key is not None else None
        if rank is None or (tensor.lead is not None and rank < tensor.lead.cut):
            return tensor
        assert key is not None
        shape = tuple(symbol(dimension(key, dim)) for dim in range(rank))
        if tensor.lead is not None:
            shape = (*tensor.lead.front, *shape[: rank - tensor.lead.cut], *tensor.suffix)
        known = tensor.contiguous or tensor.given
        tensor = replace(
            tensor,
            shape=shape,
            strides=layout.contiguous_strides(shape) if known else None,
            contiguous=known,
            assumed=tensor.assumed or not tensor.contiguous,
            suffix=(),
            lead=None,
            key=tensor.key if tensor.lead is None else None,
            normalised=None if tensor.normalised is None else tensor.normalised.of_rank(rank),
        )
    definitions = state.definitions
    if not definitions:
        return tensor
    assert tensor.shape is not None
    shape = substituted(tensor.shape, definitions)
    strides = None if tensor.strides is None else substituted(tensor.strides, definitions)
    if shape is tensor.shape and strides is tensor.strides:
        return tensor
    return replace(tensor, shape=shape, strides=strides)
