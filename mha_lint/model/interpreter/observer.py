"""Collects the events that rules and the description of the model read."""

from __future__ import annotations

import ast
from typing import TypeVar

from msgspec.structs import replace

from mha_lint.model.axes import AxisRoles, HeadsSeen, PositionsSeen, SequencesSeen, Source
from mha_lint.model.cached import Rotated, WrittenSeen
from mha_lint.model.events import (
    Clash,
    ClashSeen,
    ContiguousSeen,
    DiscardedSeen,
    Meant,
    OperationSeen,
    OrderSeen,
    UnbindSeen,
    ValueSeen,
    ViewSeen,
    WeightingSeen,
)
from mha_lint.model.folded import Fold
from mha_lint.model.fuel import MOST_SEEN
from mha_lint.model.interpreter.meter import Meter
from mha_lint.model.interpreter.numbering import Numbering
from mha_lint.model.interpreter.paths import Stack
from mha_lint.model.keys import Key
from mha_lint.model.layout import Answer, Shape
from mha_lint.model.normalised import Normalised
from mha_lint.model.operations.devices import Meeting
from mha_lint.model.rotary import Phase, PhaseSeen, RotaryTable, RotationSeen, Term
from mha_lint.model.run import Call, normal
from mha_lint.model.scale import Scale, ScaleSeen
from mha_lint.model.sizes import ONE, Size
from mha_lint.model.values import Int, State, Tensor, Unknown, Value, tensors
from mha_lint.syntax.names import ClassInfo
from mha_lint.syntax.nodes import Function
from mha_lint.syntax.words import names_in

_OF_HEADS = frozenset({"projection", "context"})  # what a view splits heads off, or merges them

Node = TypeVar("Node", bound=ast.AST)
Seen = TypeVar("Seen")


class Observer:
    """Collects what the interpreter and the transfer functions tell it, with the function being run."""

    def __init__(self, stack: Stack, meter: Meter, numbering: Numbering) -> None:
        self._stack, self._meter, self._numbering = stack, meter, numbering
        self.views: dict[ast.expr, list[ViewSeen]] = {}
        self.copies: dict[ast.expr, list[ContiguousSeen]] = {}
        self.would_stay_views: set[ast.expr] = set()  # reshapes of contiguous copies that views would do for
        self.put_back: set[ast.expr] = set()  # views in which dimensions changed places, until a later view
        self.reshapes: set[ast.Call] = set()  # calls of ``.reshape``
        self.unbinds: dict[ast.expr, list[UnbindSeen]] = {}
        self.operations: dict[ast.expr, list[OperationSeen]] = {}
        self.weightings: dict[ast.expr, list[WeightingSeen]] = {}
        self.weighed: set[Normalised] = set()  # the softmaxes by which values are weighted
        self.normed: set[tuple[ast.AST, str]] = set()  # products of normalised queries or keys, and in which method
        self.counted: set[ast.expr] = set()  # the softmaxes whose results are summed along another dimension
        self.scales: dict[ast.AST, list[ScaleSeen]] = {}
        self.axes = AxisRoles()
        self.orders: dict[ast.expr, list[OrderSeen]] = {}  # by the calls that repeated a tensor
        self.clashes: dict[ast.expr, list[ClashSeen]] = {}
        self.fitting: set[ast.expr] = set()  # operations whose shapes are not known to clash on some path
        self.alone: set[ast.AST] = set()  # expressions that were statements of their own
        self.discarded: dict[ast.Call, list[DiscardedSeen]] = {}
        self.rotations: dict[ast.expr, list[RotationSeen]] = {}
        self.written: dict[ast.expr, list[WrittenSeen]] = {}  # by the subscript that is written to
        self.phases: dict[ast.expr, list[PhaseSeen]] = {}
        self.meetings: dict[ast.expr, list[Meeting]] = {}  # by the calls that made tensors elsewhere
        self.attended: set[ast.expr] = set()  # unbind calls two of whose parts are multiplied
        self.scored: set[str] = set()  # "Class.method" in which, or in a function called there, attention is computed
        self.traces = False
        self.trace: dict[ast.AST, list[ValueSeen]] = {}
        self.expressions: dict[ast.expr, list[ValueSeen]] = {}  # tensors that expressions give, if traced
        self.uses: dict[ast.AST, set[str]] = {}  # a name → what its tensor is to attention, as later code tells
        self.kinds: dict[str, set[str]] = {}  # "Class.method" → "self-attention", "grouped-query", …
        self.added: set[ClassInfo] = set()  # modules whose merged heads are added to a residual as they come
        self.given: frozenset[Key] = frozenset()  # the keys of what the function was given with which the path began
        self.began: Function | None = None  # the function with which the path began
        self.parameters: dict[Key, str] = {}  # what its parameters are called, by the keys of what it was given
        self.told = 0  # operations that were seen in other modules, where a call of this one led
        self._widened: set[tuple[int, ast.AST]] = set()  # table and node of which a widened state alone has told
        self._applied_at: dict[ast.AST | None, set[ClassInfo]] = {}

    def _found(self, table: dict[Node, list[Seen]], node: Node) -> list[Seen]:
        """The events at a node so far.

        A widened state has forgotten what told its paths apart. What it sees counts where no other state comes along.
        """
        found = table.setdefault(node, [])
        if not self._meter.widens:
            if (id(table), node) in self._widened:
                self._widened.remove((id(table), node))
                found.clear()
        elif found and (id(table), node) not in self._widened:
            return []
        else:
            self._widened.add((id(table), node))
        return found

    def mentioned(self, name: str) -> int:
        """The number of times that the function running says a name."""
        return names_in(self._stack.frames[-1].node).count(name)

    def saw_view(self, call: Call, answer: Answer, tensor: Tensor, target: Shape, *, copies: bool) -> None:
        if answer is Answer.NEVER and self._stack.caught and not copies:
            answer = Answer.UNKNOWN  # the code expects it to raise
        frame, node = self._stack.frames[-1], call.node
        joined = call.state.joined
        one_by_one = bool(tensor.roles & _OF_HEADS) and call.state.one_by_one
        seen = ViewSeen(
            node, answer, tensor, target, frame.node, frame.symbol, frame.caller, copies, joined, one_by_one
        )
        found = self._found(self.views, node)
        if seen not in found:
            found.append(seen)

    def saw_contiguous(self, node: ast.expr, tensor: Tensor) -> None:
        frame = self._stack.frames[-1]
        needless = tensor.contiguous and not tensor.assumed
        found, seen = self._found(self.copies, node), ContiguousSeen(node, needless, frame.symbol, frame.caller)
        if seen not in found:
            found.append(seen)

    def saw_unbind(self, node: ast.expr, tensor: Tensor, dim: int, inference: bool) -> None:
        found = self._found(self.unbinds, node)
        seen = UnbindSeen(node, tensor, dim, inference, self._stack.frames[-1].symbol)
        if seen not in found:
            found.append(seen)

    def saw_operation(self, name: str, call: Call, result: Value) -> None:
        found = self._found(self.operations, call.node)
        if not self._stack.frames or len(found) == MOST_SEEN:
            return
        state = call.state
        args = tuple(_as_known(value, state) for value in call.args)
        frame, led = self._stack.led()
        self.told += bool(led)
        keywords = tuple((name, _as_known(value, state)) for name, value in call.keywords.items())
        flag, conditions = call.keywords.get("is_causal"), state.taken
        seen = OperationSeen(
            name,
            call.node,
            args,
            keywords,
            result,
            conditions,
            frame.symbol,
            frame.caller,
            self.given,
            state.truths(flag),
            led,
        )
        for other in found:
            if other.conditions == conditions and other == seen:  # most differ in their conditions
                return
        found.append(seen)

    def saw_sequences(
        self,
        made: ast.Call,
        call: Call,
        batch_first: bool | None,
        given: tuple[Tensor, ...],
        shapes: frozenset[tuple[Source, bool]],
    ) -> None:
        """A layer of torch that takes sequences is given some."""
        fronts = [self.axes.front(normal(tensor, call.state), call.state) for tensor in given]
        known = tuple(front for front in fronts if front is not None)
        led = self._stack.leading_call
        self.told += led is not None
        seen = SequencesSeen(made, call.node, batch_first, known, shapes, self._stack.method, led)
        found = self.axes.given.setdefault(made, [])
        if known and seen not in found and len(found) < MOST_SEEN:
            found.append(seen)

    def saw_heads(self, call: Call, query: Tensor, key: Tensor, wanted: int, *, fused: bool, at: int = 0) -> None:
        """Queries and keys of several heads meet; ``wanted`` is the dimension from the end that holds the heads."""
        if not self._stack.frames:
            return
        places = {self.axes.heads_of(normal(tensor, call.state)) for tensor in (query, key)}
        heads = places.pop() if len(places) == 1 else None
        frame = self._stack.frames[-1]
        held = query.shape or query.suffix
        middle = (held[-3], held[-2]) if len(held) > 2 else None
        seen = HeadsSeen(call.node, fused, heads, wanted, middle, frame.symbol, frame.caller, at)
        found = self._found(self.axes.attention, call.node)
        if seen not in found:
            found.append(seen)

    def saw_context(self, call: Call, values: int) -> None:
        """Weights are multiplied by values, which are the operand at the place ``values``."""
        if self._stack.frames:
            found = self.axes.contexts.setdefault(call.node, set())
            found.add((values, self._stack.frames[-1].symbol))

    def saw_positions(self, call: Call, table: Tensor, to: Tensor) -> None:
        """Positions (n, 1, c) are added to a tensor."""
        rows = self.axes.rows_of(table)
        front = None if rows is None else self.axes.front(normal(to, call.state), call.state)
        if front is None or rows not in front.first or ONE in front.second:
            return
        led = self._stack.leading_call
        self.told += led is not None
        seen = PositionsSeen(call.node, front, self._stack.method, led)
        found = self.axes.positions.setdefault(call.node, [])
        if seen not in found and len(found) < MOST_SEEN:
            found.append(seen)

    def saw_shapes(self, call: Call, clash: Clash | None, *, known: bool) -> None:
        """An operation brings shapes together, which clash or not, as far as they are known.

        Where states were joined, shapes may be forgotten that were known of each of them.
        """
        if not known and call.state.joined:
            return
        if clash is None or not self._stack.frames or self._stack.caught:
            self.fitting.add(call.node)
            return
        frame = self._stack.frames[-1]
        found = self._found(self.clashes, call.node)
        seen = ClashSeen(call.node, clash, frame.symbol, frame.caller)
        if seen not in found and len(found) < MOST_SEEN:
            found.append(replace(seen, names=_named_sizes(call.state)))

    def saw_discarded(self, node: ast.Call, meant: Meant, written: ast.expr | None, *, masks: bool) -> None:
        """Nobody takes the result of a call."""
        frame = self._stack.frames[-1]
        found = self._found(self.discarded, node)
        seen = DiscardedSeen(node, meant, written, masks, bool(self._stack.caught), frame.symbol, frame.caller)
        if seen not in found and len(found) < MOST_SEEN:
            found.append(seen)

    def saw_meeting(self, homes: tuple[ast.expr, ...], call: Call, inputs: frozenset[Key]) -> None:
        """Tensors of the default device meet one of the module's own, which is computed from ``inputs``."""
        if not self._stack.frames:
            return
        frame, led = self._stack.led()
        if frame.home is not None:
            return  # whoever lints that module is told
        self.told += bool(led)
        node = led[-1].call if led else call.node
        seen = Meeting(node, inputs, call.state.taken, frame.symbol, frame.node)
        for home in homes:
            found = self._found(self.meetings, home)
            if seen not in found and len(found) < MOST_SEEN:
                found.append(seen)

    def saw_sum(self, left: Value, right: Value) -> None:
        """The merged heads of a module that the code holds are added to something else, as to a residual."""
        for tensor, other in ((left, right), (right, left)):
            if isinstance(tensor, Tensor) and "merged" in tensor.roles and "projected" not in tensor.roles:
                roles = other.roles if isinstance(other, Tensor) else frozenset()
                if isinstance(other, (Tensor, Unknown)) and not roles & {"merged", "parameter"}:
                    self.added |= self._applied_at.get(tensor.merge, frozenset())

    def saw_product(self, left: Tensor, right: Tensor) -> None:
        if left.part is not None and left.part is right.part:
            self.attended.add(left.part)

    def saw_weighting(self, normalised: Normalised, contracted: int) -> None:
        """Weights that a softmax made are summed over values along a dimension."""
        self.weighed.add(normalised)
        found = self._found(self.weightings, normalised.node)
        seen = WeightingSeen(normalised, contracted, self._stack.frames[-1].symbol)
        if seen not in found:
            found.append(seen)

    def saw_counting(self, normalised: Normalised, along: int) -> None:
        """A result of softmax is summed along another dimension than its own: the code counts what each row gets."""
        if along not in normalised.dims:
            self.counted.add(normalised.node)

    def saw_pooling(self, normalised: Normalised) -> None:
        """Values are weighted by a softmax of what is no product of queries and keys, along its dimension."""
        self.weighed.add(normalised)

    def saw_normed(self, product: ast.AST) -> None:
        """Queries or keys are normalised before they are multiplied."""
        self.normed.add((product, self._stack.method))

    def saw_scale(self, node: ast.expr, scale: Scale, state: State) -> None:
        """Scores go into a softmax."""
        scale = scale.normal(state.definitions)
        found = self._found(self.scales, scale.product or node)
        method, caller = self._stack.method, self._stack.call_in_method
        if all((seen.scale, seen.symbol, seen.caller) != (scale, method, caller) for seen in found):
            sizes = [*((f"self.{name}", size) for name, size in state.attributes.items()), *state.variables.items()]
            names = tuple((state.normal(value.size), name) for name, value in sizes if isinstance(value, Int))
            found.append(ScaleSeen(scale, names, method, caller))

    def saw_orders(self, left: Fold, right: Fold) -> None:
        """Two tensors meet along a dimension of as many sizes in another order; one of them was repeated."""
        for fold, other in ((left, right), (right, left)):
            if fold.repeated is None or (other.repeated is not None and other.parts[0].alike):
                continue
            found = self._found(self.orders, fold.repeated)
            seen = OrderSeen(fold, other, self._stack.frames[-1].symbol)
            if seen not in found:
                found.append(seen)

    def saw_rotation(self, node: ast.expr, term: Term, cosines: RotaryTable | None) -> None:
        """A vector is rotated by a table: its term with the cosines is added to that with the sines."""
        found = self._found(self.rotations, node)
        seen = RotationSeen(node, term.turned, term.table, cosines, self._stack.method, self._stack.call_in_method)
        if seen not in found and len(found) < MOST_SEEN:
            found.append(seen)

    def saw_phase(self, node: ast.expr, phase: Phase) -> None:
        """Cosines or sines are taken of angles that are computed in half precision, or may be."""
        found = self._found(self.phases, node)
        seen = PhaseSeen(node, phase, self._stack.method, self._stack.call_in_method)
        if seen not in found and len(found) < MOST_SEEN:
            found.append(seen)

    def saw_written(self, node: ast.expr, rotated: Rotated) -> None:
        """New keys are written behind those that a cache holds."""
        found = self._found(self.written, node)
        seen = WrittenSeen(node, rotated, self._stack.method)
        if seen not in found and len(found) < MOST_SEEN:
            found.append(seen)

    def saw_value(self, node: ast.AST, name: str, value: Value, state: State) -> None:
        """A name (or, under ``return``, nothing) is given a tensor; told of where somebody reads the trace."""
        if not self.traces or not isinstance(value, Tensor):
            return
        found = self._found(self.trace, node)
        seen = ValueSeen(name, value, self._stack.frames[-1].symbol if self._stack.frames else "")
        if seen not in found:
            found.append(replace(seen, names=_named_sizes(state)))

    def saw_expression(self, node: ast.expr, tensor: Tensor, state: State) -> None:
        """An expression gives a tensor."""
        found = self._found(self.expressions, node)
        seen = ValueSeen("", tensor, self._stack.frames[-1].symbol if self._stack.frames else "")
        if seen not in found and len(found) < MOST_SEEN:
            found.append(replace(seen, names=_named_sizes(state)))

    def saw_use(self, tensor: Tensor | None, role: str) -> None:
        if tensor is not None and tensor.origin is not None:
            self.uses.setdefault(tensor.origin, set()).add(role)

    def saw_attention(self, *kinds: str) -> None:
        """Values were weighted by scores of queries and keys: in the method running, or in a function that it calls."""
        self.scored.add(self._stack.method)
        self.saw_kinds(*kinds)

    def saw_kinds(self, *kinds: str) -> None:
        """The method running computes attention of such kinds."""
        self.kinds.setdefault(self._stack.method, set()).update(kinds)

    def saw_call(self, node: ast.AST, cls: ClassInfo) -> None:
        """A module of this file is called."""
        self._applied_at.setdefault(node, set()).add(cls)

    def saw_result(self, node: ast.AST, value: Value) -> None:
        """A call gives heads that a module merged: for its caller, they are merged there."""
        for tensor in tensors(value):
            if tensor.merge in self._applied_at:
                self._applied_at.setdefault(node, set()).update(self._applied_at[tensor.merge])


def _as_known(value: Value, state: State) -> Value:
    """An argument with what the path has told of it: the sizes of a tensor, or that a value is None."""
    return normal(value, state) if isinstance(value, Tensor) else state.unless_none(value)


def _named_sizes(state: State) -> dict[Size, str]:
    """The local names of the sizes that are known."""
    named = [*((f"self.{name}", value) for name, value in state.attributes.items()), *state.variables.items()]
    return {state.normal(value.size): name for name, value in named if isinstance(value, Int)}
