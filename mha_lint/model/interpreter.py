"""Runs function bodies over abstract values, one state for each path that differs.

A path is what the conditions taken make of it: an ``if`` whose test is not known is followed both ways, and a test
already decided on a path is decided the same way again. Methods and functions of the same file are followed with
their arguments; what lies outside the file is unknown. Nothing of the code is imported or executed.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial

from mha_lint.model import assignment, binding, calls, expressions, layers, operations, operators
from mha_lint.model.fuel import (
    FILE_STEPS,
    MAX_DEPTH,
    MAX_OUTCOMES,
    MAX_RETURNS,
    MAX_STATES,
    SPARE_STEPS,
    STEPS_OF_A_PART,
    OutOfFuel,
    OutOfSteps,
)
from mha_lint.model.keeping import kept
from mha_lint.model.mentions import Mentions
from mha_lint.model.observer import Observer
from mha_lint.model.paths import Frame, Trail
from mha_lint.model.records import replace
from mha_lint.model.run import Call, normal
from mha_lint.model.sizes import Size, symbol
from mha_lint.model.values import (
    NONE,
    NOTHING,
    Building,
    ClassValue,
    Const,
    Function,
    Instance,
    Layer,
    Method,
    Qualified,
    Repeated,
    Self,
    State,
    Tensor,
    Unknown,
    Value,
    joined,
    truth,
)
from mha_lint.syntax import nodes
from mha_lint.syntax.module import Module
from mha_lint.syntax.names import ClassInfo, ModuleNames, collect_small
from mha_lint.syntax.nodes import FUNCTIONS, TRIES, Block

WORTH_REMEMBERING = 20  # steps: a shorter call is made again


class Interpreter(Observer):
    """Interprets the functions of one module."""

    def __init__(self, module: Module, names: ModuleNames, defined_in: Mapping[nodes.Function, str]) -> None:
        super().__init__(module)
        self.names = names
        self.defined_in = defined_in  # function → "Class.method"
        self.visited: set[ast.AST] = set()
        self.truncated = False
        self.spent = 0  # steps in all of the file
        self._limit = self.most + SPARE_STEPS
        self._trail = Trail()
        self._mentions = Mentions()
        self._choiceless: dict[ast.AST, bool] = {}
        self._called: dict[Hashable, list[tuple[State, list[ast.AST | None], list[tuple[State, Value]]]]] = {}

    def begin(self, most: int) -> None:
        """A function is run on its own: from here on steps are counted, of which it may take so many."""
        self.steps, self.most = 0, most
        self._limit = most + SPARE_STEPS

    # --- what the transfer functions need ------------------------------------------------------------------------

    def is_method(self, node: ast.expr) -> bool:
        """Whether the call is written ``x.op()``, not ``torch.op(x)``."""
        return isinstance(node, ast.Call) and self.names.qualify(node.func) is None

    def refine(self, state: State, tensor: Tensor, rank: int) -> Tensor:
        """Give a tensor of unknown rank its rank, and with it every tensor that shares its leading dimensions."""
        if tensor.shape is not None:
            return tensor
        key = tensor.key
        if tensor.lead is not None:
            key, rank = tensor.lead, rank - len(tensor.suffix) + 1
        if key is None or rank < 1 or state.ranks.setdefault(key, rank) != rank:
            return tensor
        for dim in range(rank):
            state.definitions.setdefault(f"{key}.shape[{dim - rank}]", symbol(f"{key}.shape[{dim}]"))
        if tensor.lead is None:
            for dim, size in enumerate(tensor.suffix, start=rank - len(tensor.suffix)):
                state.definitions.setdefault(f"{key}.shape[{dim}]", size)
        return normal(tensor, state)

    @property
    def looping(self) -> bool:
        return bool(self._frames and self._frames[-1].turns)

    @property
    def turns(self) -> Size | None:
        """How often the innermost loop runs, where that is known."""
        turns = self._frames[-1].turns
        return turns[-1] if len(turns) == 1 else None

    def choose(self, count: int) -> int:
        return self._trail.choose(count) if count > 1 else 0

    def step(self) -> None:
        self.steps += 1
        self.spent += 1
        if self.spent > FILE_STEPS:
            raise OutOfFuel
        if self.steps > self._limit:
            raise OutOfSteps

    def evaluate(self, node: ast.expr, state: State) -> Value:
        """The abstract value of an expression; calls may refine ``state``."""
        self.step()
        handler = expressions.EVALUATORS.get(type(node))
        return Unknown(self.key(node)) if handler is None else handler(self, node, state)

    def callee(self, node: ast.expr, state: State) -> Value:
        """The abstract value of what is called: an attribute of an unknown object is a method there, if it can be."""
        if not isinstance(node, ast.Attribute):
            return self.evaluate(node, state)
        self.step()
        return expressions.attribute_of(self, node, state, called=True)

    # --- running functions ---------------------------------------------------------------------------------------

    def run_function(
        self, node: nodes.Function | ast.Lambda, state: State, *, named: str, caller: ast.expr | None = None
    ) -> list[tuple[State, Value]]:
        """Run a body from ``state`` (parameters bound); the state and value of each way that it returns."""
        if len(self._frames) >= MAX_DEPTH or any(frame.node is node for frame in self._frames):
            return [(state, NOTHING)]
        self.visited.add(node)
        frame = Frame(named, node, caller)
        self._frames.append(frame)
        outer_trail = self._trail
        try:
            if isinstance(node, ast.Lambda):
                for value, after in self._each_choice(state, lambda s: self.evaluate(node.body, s), of=node.body):
                    frame.returned.append((after, value))
            else:
                state.inference = state.inference or any(map(self._takes_no_gradients, node.decorator_list))
                for after in self.run_block(node.body, [state]):
                    frame.returned.append((after, NONE))
        finally:
            self._frames.pop()
            self._trail = outer_trail
        unique: list[tuple[State, Value]] = []
        for after, value in frame.returned:
            if named.rpartition(".")[2] != "__init__" or self._frames:  # nobody asks for local variables any more
                after.variables = {}
            if self._frames:
                after.passed = after.taken
                after.conditions = {t: taken for t, taken in after.conditions.items() if t.startswith("self.")}
            same = next((one for one, given in unique if value == given and one.known(()) == after.known(())), None)
            if same is None:
                unique.append((after, value))
            else:
                same.agree(after)
        most = MAX_RETURNS if not self._frames else MAX_OUTCOMES
        if len(unique) > most:
            self.truncated = self.truncated or not self._frames
            unique = [*unique[: most - 1], (joined([state for state, _ in unique[most - 1 :]]), NOTHING)]
        return unique

    def nested(self, node: nodes.Function | ast.Lambda, closure: tuple[tuple[str, Value], ...]) -> Function:
        """Make a function inside of the one that runs, whose variables it may read at any time from now on."""
        if not closure:  # a default, or an attribute of a class: nothing is around it
            return Function(node)
        frame = self._frames[-1]
        frame.read_inside |= self._mentions.within(node)
        return Function(node, None, closure, frame.node)

    def _variables_around(self, function: Function, state: State) -> dict[str, Value]:
        """The variables that a nested function can read when it is called."""
        around = dict(function.closure)
        for frame in self._frames:
            if frame.node is function.around:
                current = state if frame is self._frames[-1] else frame.calling
                around |= {} if current is None else current.variables
        return around

    def call_function(self, function: Function, call: Call) -> Value:
        """Follow a call into a function of this file, on one of the ways that it can return."""
        node = function.node
        named = self.defined_in.get(node, "") if isinstance(node, FUNCTIONS) else self._frames[-1].symbol
        owner = function.owner
        own_state = isinstance(owner, Instance)
        inner = State(
            self._variables_around(function, call.state),
            dict(owner.attributes) if isinstance(owner, Instance) else dict(call.state.attributes),
            dict(call.state.definitions),
            {} if own_state else {t: v for t, v in call.state.conditions.items() if t.startswith("self.")},
            dict(call.state.ranks),
            call.state.inference,
            call.state.taken,
            {t: v for t, v in call.state.facts.items() if not (own_state and t.startswith("self."))},
        )
        receiver: tuple[Value, ...] = () if owner is None else (Self(owner.cls),)
        binding.bind(self, node, inner, (*receiver, *call.args), call.keywords)
        named = named or self._frames[-1].symbol
        limit = STEPS_OF_A_PART if own_state else self.most
        frame = self._frames[-1]
        suspended, frame.calling = frame.calling, call.state
        outcomes = self._outcomes(node, inner, named, call.node, limit)
        frame.calling = suspended
        if not outcomes:
            return NOTHING  # every path raises
        after, value = outcomes[self.choose(len(outcomes))]
        call.state.definitions, call.state.ranks = after.definitions, after.ranks
        call.state.passed |= after.passed - call.state.taken
        if own_state:
            call.state.facts |= {t: v for t, v in after.facts.items() if not t.startswith("self.")}
        else:
            call.state.attributes = after.attributes
            call.state.conditions |= after.conditions
            call.state.facts = after.facts
        self.saw_result(call.node, value)
        return binding.retagged(value, call.node)

    def _outcomes(
        self,
        node: nodes.Function | ast.Lambda,
        state: State,
        named: str,
        caller: ast.expr | None,
        limit: int,
    ) -> list[tuple[State, Value]]:
        """What a call gives on each of its ways, remembered for the paths that make it with the same arguments."""
        origins = [value.origin for value in state.variables.values() if isinstance(value, Tensor)]
        known = self._called.setdefault((node, caller, self.method, self._caught > 0), [])
        outcomes = next((given for before, origin, given in known if origin == origins and before == state), None)
        if outcomes is None:
            if self.hurries:
                self.truncated = True
                return [(state, NOTHING)]
            before, steps = state.copy(), self.steps
            run = partial(self.run_function, node, state, named=named, caller=caller)
            outcomes = self._within(limit, run, before)
            if self.steps - steps < WORTH_REMEMBERING:
                return outcomes
            known.append((before, origins, outcomes))
        return [(after.copy(), value) for after, value in outcomes]

    def _within(
        self, steps: int, run: Callable[[], list[tuple[State, Value]]], before: State
    ) -> list[tuple[State, Value]]:
        """What a call gives, or something unknown where it takes too many steps."""
        limit = self._limit
        self._limit = min(limit, self.most, self.steps + steps)
        try:
            return run()
        except OutOfSteps:
            if self.steps > limit:
                raise
            return [(before.copy(), NOTHING)]
        finally:
            self._limit = limit

    def construct(self, cls: ClassInfo, call: Call) -> Value:
        """An object of a class of this file; its ``__init__`` is run when somebody asks for what it made."""
        init = cls.method("__init__")
        outside = next((base for info in cls.lineage for base in info.bases if base.startswith("torch.nn.")), "")
        if outside not in ("", "torch.nn.Module") and cls.method("forward") is None:
            return layers.build(
                outside.removeprefix("torch.nn."), _call_node(call), call.args, call.keywords, call.state
            )
        if init is None:
            return Instance(cls)
        known = dict(call.state.definitions), dict(call.state.ranks)
        return Instance(cls, building=Building(call.node, call.args, tuple(call.keywords.items()), *known))

    def built(self, node: ast.expr, value: Value, state: State) -> Value:
        """The same; if it is an object that is yet to be built, one built on one of the ways through ``__init__``.

        What ``node``, a name or an attribute, holds is built from now on.
        """
        if not isinstance(value, Instance) or value.building is None:
            return value
        built = self._built(value.cls, value.building, state)
        built = replace(built, optional=value.optional)
        match node:
            case ast.Name(id=name) if state.variables.get(name) is value:
                state.variables[name] = built
            case ast.Attribute(value=ast.Name(id=owner), attr=name) if isinstance(state.variables.get(owner), Self):
                if state.attributes.get(name) is value:
                    state.attributes[name] = built
        return built

    def _built(self, cls: ClassInfo, building: Building, state: State) -> Instance:
        init = cls.method("__init__")
        if init is None or any(frame.node is init for frame in self._frames) or len(self._frames) >= MAX_DEPTH:
            return Instance(cls)
        inner = State(definitions=dict(building.definitions), ranks=dict(building.ranks))
        binding.bind(self, init, inner, (Self(cls), *building.args), dict(building.keywords))
        named = self.defined_in.get(init, cls.name)
        outcomes = self._outcomes(init, inner, named, building.node, self.most)
        if not outcomes:
            return Instance(cls)
        after, _ = outcomes[self.choose(len(outcomes))]
        state.learn({n: size for n, size in after.definitions.items() if n not in building.definitions})
        for key, rank in after.ranks.items():
            state.ranks.setdefault(key, rank)
        return Instance(cls, tuple(kept(self, cls, after.attributes).items()))

    def apply(self, function: Value, call: Call) -> Value:
        """The value of calling ``function`` with the call's arguments."""
        self.step()
        value = self._applied(function, call)
        blank = isinstance(value, Unknown) or (isinstance(value, Tensor) and value.blank)
        return layers.told_by_name(call, value) if blank else value

    def _applied(self, function: Value, call: Call) -> Value:
        match function:
            case Layer():
                return operations.possible(lambda each: layers.apply(self, function, each))(call)
            case Instance(building=Building() as building):
                return self._applied(self._built(function.cls, building, call.state), call)
            case Instance(cls) | Self(cls):
                self.saw_call(call.node, cls)
                forward = cls.method("forward") or cls.method("__call__")
                return NOTHING if forward is None else self.call_function(Function(forward, function), call)
            case Function():
                return self.call_function(function, call)
            case ClassValue(cls):
                return self.construct(cls, call)
            case Method(receiver, name):
                return calls.call_method(self, receiver, name, call)
            case Qualified(name):
                return calls.call_qualified(self, name, call)
            case Unknown("self.register_buffer"):
                calls.register_buffer(call)
                return NONE
            case _:
                return Unknown(self.key(call.node))

    # --- running statements --------------------------------------------------------------------------------------

    def run_block(self, body: Block, states: list[State]) -> list[State]:
        """Run statements in order; the states in which their end is reached."""
        frame = self._frames[-1]
        outside = frame.read_later
        for statement, read_later in zip(body, self._mentions.after_each(body), strict=True):
            if not states:
                break
            frame.read_later = (*outside, read_later)
            after: list[State] = []
            for index, state in enumerate(states):
                if self.hurries and len(states) > index + 1:
                    self.truncated = True
                    after += self._run_statement(statement, joined(states[index:]))
                    break
                after += self._run_statement(statement, state)
            states = self._distinct(after)
        frame.read_later = outside
        return states

    def _distinct(self, states: list[State]) -> list[State]:
        """The states that differ in what later code reads."""
        if len(states) < 2:
            return states
        frame = self._frames[-1]
        read_later = frame.read_inside.union(*frame.read_later)
        names = [name for name in {name for state in states for name in state.variables} if name in read_later]
        unique: list[State] = []
        all_known: list[tuple[object, ...]] = []
        for state in states:
            known = state.known(names)
            if known in all_known:  # what the paths were told apart by no longer matters
                unique[all_known.index(known)].agree(state)
            else:
                unique.append(state)
                all_known.append(known)
        if len(unique) > MAX_STATES:
            unique = [*unique[: MAX_STATES - 1], joined(unique[MAX_STATES - 1 :])]
        return unique

    def _each_choice(
        self, state: State, run: Callable[[State], Value], *, of: ast.AST | None = None
    ) -> list[tuple[Value, State]]:
        """Run something that may meet choices, once for each way of taking them.

        ``of`` is the code that is run, whose text may tell that there are none.
        """
        built = not isinstance(state.variables.get("self"), Instance)  # as where a method is called like a function
        if built and of is not None and self._settled(of):
            return [(run(state), state)]
        results: list[tuple[Value, State]] = []
        pending: list[tuple[int, ...]] = [()]
        outer = self._trail
        while pending:
            if len(results) >= MAX_STATES:
                self.truncated = True
                break
            self._trail = trail = Trail(pending.pop())
            branch = state.copy()
            try:
                value = run(branch)
            finally:
                self._trail = outer
            results.append((value, branch))
            pending += trail.others()
        return results

    def _settled(self, code: ast.AST) -> bool:
        """No value, whatever it is, makes the code choose: it calls and calculates nothing."""
        if code not in self._choiceless:
            self._choiceless[code] = all(map(self._chooses_nothing, nodes.walk(code)))
        return self._choiceless[code]

    def _chooses_nothing(self, node: ast.AST) -> bool:
        match node:
            case ast.Attribute(value=ast.Name(id="self"), attr=name):  # of another object, which may be yet to be built
                return name not in operations.ATTRIBUTES and not any(
                    cls.is_property(name) for cls in self.names.every_class
                )
            case ast.Subscript(ctx=ast.Load()) | ast.Slice() | ast.Name() | ast.Constant() | ast.Tuple() | ast.List():
                return True
            case ast.Assign() | ast.Expr() | ast.AnnAssign() | ast.Return() | ast.Starred() | ast.JoinedStr():
                return True
            case _:
                return False

    def _run_statement(self, statement: ast.stmt, state: State) -> list[State]:
        self.step()
        match statement:
            case ast.Assign() | ast.Expr() | ast.AnnAssign() | ast.AugAssign():
                results = self._each_choice(state, partial(assignment.execute, self, statement), of=statement)
                return [end for _, end in results]
            case ast.Return(value=value):
                results = self._each_choice(state, partial(self._returned, value), of=statement)
                self._frames[-1].returned += [(end, value) for value, end in results]
                return []
            case ast.Raise():
                return []
            case ast.If():
                return self._run_if(statement, state)
            case ast.For() | ast.AsyncFor() | ast.While():
                return self._run_loop(statement, state)
            case ast.With() | ast.AsyncWith():
                return self._run_with(statement, state)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                closure = tuple((n, v) for n, v in state.variables.items() if n != name)
                state.variables[name] = self.nested(statement, closure)
                return [state]
            case ast.Break():
                if self._frames[-1].broken:
                    self._frames[-1].broken[-1].append(state)
                return []
            case ast.Continue():
                if self._frames[-1].continued:
                    self._frames[-1].continued[-1].append(state)
                return []
            case ast.Import() | ast.ImportFrom():
                collect_small(statement, self.names)
                return [state]
            case ast.Assert(test=test):
                return self._decided(test, state, wanted=True)
            case ast.Match(cases=cases):
                self._forget(cases, state)
                return [state]
            case _ if isinstance(statement, TRIES):
                return self._run_try(statement, state)
            case _:  # pass, global, nonlocal, del, a class
                return [state]

    def _takes_no_gradients(self, manager: ast.expr) -> bool:
        """A decorator, or what stands behind ``with``, switches gradients off."""
        text = self.text(manager)
        return "no_grad" in text or "inference_mode" in text

    def _run_with(self, statement: ast.With | ast.AsyncWith, state: State) -> list[State]:
        inference = state.inference
        state.inference = inference or any(self._takes_no_gradients(item.context_expr) for item in statement.items)
        after = self.run_block(statement.body, [state])
        for end in after:
            end.inference = inference
        return after

    def _returned(self, value: ast.expr | None, state: State) -> Value:
        if value is None:
            return NONE
        result = self.evaluate(value, state)
        self.saw_value(value, "return", result, state)
        return result

    def _decided(self, test: ast.expr, state: State, *, wanted: bool) -> list[State]:
        results = self._each_choice(state, lambda s: Const(operators.decide(self, test, s)))
        return [end for value, end in results if value == Const(wanted)]

    def _run_if(self, statement: ast.If, state: State) -> list[State]:
        results = self._each_choice(state, lambda s: Const(operators.decide(self, statement.test, s)))
        after: list[State] = []
        for value, branch in results:
            after += self.run_block(statement.body if value == Const(True) else statement.orelse, [branch])
        return after

    def _run_loop(self, statement: ast.For | ast.AsyncFor | ast.While, state: State) -> list[State]:
        """Run the body once, knowing nothing of what it assigns: true of any iteration. Then forget it again."""
        frame = self._frames[-1]
        results: list[tuple[Value, State]] = [(NOTHING, state)]
        if not isinstance(statement, ast.While):
            iterated = statement.iter
            results = self._each_choice(state, lambda s: self.evaluate(iterated, s), of=iterated)
        after: list[State] = []
        broken: list[State] = []  # what a break leads past the else
        for iterable, before in results:
            self._forget(statement.body, before)
            inside = before.copy()
            if not isinstance(statement, ast.While):
                assignment.assign(self, statement.target, assignment.element(iterable), inside)
            read_later = frame.read_later
            frame.read_later = (*read_later, self._mentions.within(statement))
            frame.broken.append([])
            frame.continued.append([])
            frame.turns.append(assignment.length(iterable))
            ends = self.run_block(statement.body, [inside])
            frame.turns.pop()
            frame.read_later = read_later
            never_runs = [] if isinstance(iterable, Repeated) or truth(iterable) else [before]
            after += [*never_runs, *ends, *frame.continued.pop()]
            broken += frame.broken.pop()
        for end in [*after, *broken]:
            self._forget([statement], end)
        return [*self.run_block(statement.orelse, after), *broken]

    def _run_try(self, statement: ast.Try, state: State) -> list[State]:
        handled = state.copy()
        caught = any(_catches_runtime_error(handler.type) for handler in statement.handlers)
        frame = self._frames[-1]
        read_later = frame.read_later
        frame.read_later = (*read_later, self._mentions.within(statement))
        self._caught += caught
        try:
            after = self.run_block(statement.body, [state])
        finally:
            self._caught -= caught
            frame.read_later = read_later
        after = self.run_block(statement.orelse, after)
        self._forget(statement.body, handled)
        for handler in statement.handlers:
            after += self.run_block(handler.body, [handled.copy()])
        return self.run_block(statement.finalbody, after)

    def _forget(self, code: Sequence[ast.AST], state: State) -> None:
        """Whatever the code assigns is unknown from here on."""
        for name in self._mentions.assigned(code):
            variables, bare = (state.attributes, name[5:]) if name.startswith("self.") else (state.variables, name)
            if bare in variables or bare != name:
                variables[bare] = Unknown(f"{self.key(code[0])}{name}")
            state.forget_conditions_on(name)


def _catches_runtime_error(kind: ast.expr | None) -> bool:
    match kind:
        case None:
            return True
        case ast.Tuple(elts=elements):
            return any(map(_catches_runtime_error, elements))
        case _:
            return nodes.dotted(kind) in ("RuntimeError", "Exception", "BaseException")


def _call_node(call: Call) -> ast.Call:
    assert isinstance(call.node, ast.Call)
    return call.node
