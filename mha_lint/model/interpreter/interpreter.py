"""Runs function bodies over abstract values, one state for each path that differs.

A path is what the conditions taken make of it: an ``if`` whose test is not known is followed both ways, and a test
already decided on a path is decided the same way again. Methods and functions of the project are followed with
their arguments; what lies outside of it is unknown. Nothing of the code is imported or executed.
"""

from __future__ import annotations

import ast
from collections.abc import Hashable, Mapping

from mha_lint.model.conditions import Conditions
from mha_lint.model.interpreter import expressions, functions, objects
from mha_lint.model.interpreter.choices import Choices
from mha_lint.model.interpreter.handed_tables import Handed
from mha_lint.model.interpreter.homes import Homes
from mha_lint.model.interpreter.machine import Outcomes, Remembered
from mha_lint.model.interpreter.mentions import Mentions
from mha_lint.model.interpreter.meter import Meter
from mha_lint.model.interpreter.numbering import Numbering
from mha_lint.model.interpreter.observer import Observer
from mha_lint.model.interpreter.paths import Stack
from mha_lint.model.keys import Key, Kind, dimension
from mha_lint.model.run import Call, normal
from mha_lint.model.sizes import Size, symbol
from mha_lint.model.tensor_names import used_as_tensors
from mha_lint.model.values import Function, State, Tensor, Unknown, Value
from mha_lint.syntax import nodes
from mha_lint.syntax.names import Definition, ModuleNames

_EVALUATORS = expressions.EVALUATORS


class Interpreter:
    """Interprets the functions of one module, and those of its project that they call.

    Operations see it as a :class:`Run`, the other parts of the interpreter as a :class:`Machine`.
    """

    def __init__(self, names: ModuleNames, defined_in: Mapping[nodes.Function, str]) -> None:
        self.defined_in = defined_in
        self.homes = homes = Homes(names)
        self.visited: set[ast.AST] = set()
        self.called: dict[Hashable, list[Remembered]] = {}
        self.handed: Handed = {}
        self.stack = Stack()
        self.meter = Meter()
        self.mentions = Mentions()
        self.choices = Choices(homes, self.meter)
        numbering = Numbering(homes)
        self.seen = seen = Observer(self.stack, self.meter, numbering)
        self.condition = Conditions(numbering.text).of
        # Bound once, since each is called for almost every expression.
        self.number, self.key, self.node, self.text = numbering.number, numbering.key, numbering.node, numbering.text
        self.step, self.choose = self.meter.step, self.choices.choose
        self.axes, self.saw_sequences, self.saw_heads = seen.axes, seen.saw_sequences, seen.saw_heads
        self.saw_context, self.saw_positions = seen.saw_context, seen.saw_positions
        self.would_stay_views, self.reshapes, self.put_back = seen.would_stay_views, seen.reshapes, seen.put_back
        self.mentioned, self.saw_view, self.saw_contiguous = seen.mentioned, seen.saw_view, seen.saw_contiguous
        self.saw_unbind, self.saw_operation, self.saw_meeting = seen.saw_unbind, seen.saw_operation, seen.saw_meeting
        self.saw_sum, self.saw_product, self.saw_weighting = seen.saw_sum, seen.saw_product, seen.saw_weighting
        self.saw_pooling, self.saw_orders = seen.saw_pooling, seen.saw_orders
        self.saw_counting, self.saw_normed = seen.saw_counting, seen.saw_normed
        self.saw_scale, self.saw_value, self.saw_use = seen.saw_scale, seen.saw_value, seen.saw_use
        self.saw_rotation, self.saw_phase, self.saw_written = seen.saw_rotation, seen.saw_phase, seen.saw_written
        self.saw_attention, self.saw_kinds = seen.saw_attention, seen.saw_kinds
        self.saw_call, self.saw_result = seen.saw_call, seen.saw_result
        self.saw_shapes = seen.saw_shapes
        self.stands_alone, self.saw_discarded = seen.alone.__contains__, seen.saw_discarded

    @property
    def names(self) -> ModuleNames:
        """The names of the module whose code is run."""
        return self.homes.names

    def is_method(self, node: ast.expr) -> bool:
        """Tell whether a call is written ``x.op()``, not ``torch.op(x)``."""
        return isinstance(node, ast.Call) and self.names.qualify(node.func) is None

    @property
    def began(self) -> nodes.Function | None:
        """The function with which the path began."""
        return self.seen.began

    def is_given(self, key: Key) -> bool:
        """It names what the function was given with which the path began, or something of that but its size."""
        given, current = self.seen.given, key
        while current.kind is not Kind.DIMENSION:
            if current in given:
                return True
            if current.owner is None:
                return False
            current = current.owner
        return False

    def is_tensor(self, key: Key, state: State) -> bool:
        """The code uses as a tensor what the key names."""
        if key in state.ranks:
            return True
        name, began = self.seen.parameters.get(key), self.seen.began
        return name is not None and began is not None and name in used_as_tensors(began)

    def refine(self, state: State, tensor: Tensor, rank: int) -> Tensor:
        """Give a tensor of unknown rank its rank, and with it every tensor that shares its leading dimensions."""
        if tensor.shape is not None:
            return tensor
        key = tensor.key
        if tensor.lead is not None:
            key, rank = tensor.lead.key, rank - len(tensor.lead.front) - len(tensor.suffix) + tensor.lead.cut
        if key is None or rank < 1 or state.ranks.setdefault(key, rank) != rank:
            return tensor
        for dim in range(rank):
            state.definitions.setdefault(dimension(key, dim - rank), symbol(dimension(key, dim)))
        if tensor.lead is None:
            for dim, size in enumerate(tensor.suffix, start=rank - len(tensor.suffix)):
                state.definitions.setdefault(dimension(key, dim), size)
        return normal(tensor, state)

    @property
    def looping(self) -> bool:
        return self.stack.looping

    @property
    def turns(self) -> Size | None:
        return self.stack.turns

    @property
    def constructing(self) -> bool:
        return self.stack.constructing

    @property
    def function(self) -> ast.AST:
        return self.stack.top.node

    @property
    def calls(self) -> tuple[ast.expr, ...]:
        return self.stack.calls

    @property
    def in_method(self) -> bool:
        return self.stack.in_method

    # --- values and calls ----------------------------------------------------------------------------------------

    def evaluate(self, node: ast.expr, state: State) -> Value:
        """The abstract value of an expression; calls may refine ``state``."""
        self.step()
        handler = _EVALUATORS.get(type(node))
        return Unknown(self.key(node)) if handler is None else handler(self, node, state)

    def callee(self, node: ast.expr, state: State) -> Value:
        """The abstract value of what is called: an attribute of an unknown object is a method there, if it can be."""
        if not isinstance(node, ast.Attribute):
            return self.evaluate(node, state)
        self.step()
        return expressions.attribute_of(self, node, state, called=True)

    def built(self, node: ast.expr, value: Value, state: State) -> Value:
        return objects.built(self, node, value, state)

    def abroad(self, found: Definition) -> Value:
        return expressions.abroad(self, found)

    def apply(self, function: Value, call: Call) -> Value:
        return objects.apply(self, function, call)

    def call_function(self, function: Function, call: Call) -> Value:
        return functions.call_function(self, function, call)

    def nested(self, node: nodes.Function | ast.Lambda, closure: tuple[tuple[str, Value], ...]) -> Function:
        return functions.nested(self, node, closure)

    def run_function(
        self, node: nodes.Function | ast.Lambda, state: State, *, named: str, caller: ast.expr | None = None
    ) -> Outcomes:
        return functions.run_function(self, node, state, named=named, caller=caller)
