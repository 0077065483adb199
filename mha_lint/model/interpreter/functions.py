"""Functions of the file that are run: on their own, and from the calls that are followed into them."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from functools import partial

from mha_lint.model.common import joined
from mha_lint.model.conditions import Question
from mha_lint.model.fuel import (
    MAX_DEPTH,
    MAX_OUTCOMES,
    MAX_RETURNS,
    STEPS_ABROAD,
    STEPS_LED,
    STEPS_OF_A_PART,
    OutOfSteps,
)
from mha_lint.model.interpreter import binding
from mha_lint.model.interpreter.machine import Machine, Outcomes, Remembered
from mha_lint.model.interpreter.paths import Frame
from mha_lint.model.interpreter.statements import run_block, takes_no_gradients
from mha_lint.model.keys import Key
from mha_lint.model.marks import Mask
from mha_lint.model.run import Call
from mha_lint.model.values import NONE, NOTHING, Function, Instance, Self, State, Tensor, Unknown, Value
from mha_lint.syntax import nodes
from mha_lint.syntax.nodes import FUNCTIONS
from mha_lint.vocabulary import CHOOSES_KEYS, EMBEDS, is_said

WORTH_REMEMBERING = 20  # steps: a shorter call is made again


def run_function(
    run: Machine, node: nodes.Function | ast.Lambda, state: State, *, named: str, caller: ast.expr | None = None
) -> Outcomes:
    """Run a body from ``state`` (parameters bound); the state and value of each way that it returns."""
    if len(run.stack.frames) >= MAX_DEPTH or run.stack.runs(node):
        return [(state, NOTHING)]
    run.visited.add(node)
    frame = Frame(named, node, caller)
    run.stack.frames.append(frame)
    outer_trail, outer_names = run.choices.trail, run.homes.enter(node)
    run.homes.note(node)
    if run.homes.names is not run.homes.main:
        frame.home, frame.given = run.homes.names, dict(state.variables)
    try:
        if isinstance(node, ast.Lambda):
            for value, after in run.choices.each(state, lambda s: run.evaluate(node.body, s), of=node.body):
                frame.returned.append((after, value))
        else:
            state.inference = state.inference or any(takes_no_gradients(each) for each in node.decorator_list)
            for after in run_block(run, node.body, [state]):
                frame.returned.append((after, NONE))
    finally:
        run.stack.frames.pop()
        run.choices.trail, run.homes.names = outer_trail, outer_names
    unique: Outcomes = []
    for after, value in frame.returned:
        if run.stack.frames:
            after.passed = after.taken
            after.conditions = after.conditions_on_self
        if frame.name != "__init__" or run.stack.frames:  # nobody asks for local variables any more
            after.variables = {}
        same = next((one for one, given in unique if value == given and one.known(()) == after.known(())), None)
        if same is None:
            unique.append((after, value))
        else:
            same.agree(after)
    most = MAX_RETURNS if not run.stack.frames else MAX_OUTCOMES
    if len(unique) > most:
        run.meter.truncated = run.meter.truncated or not run.stack.frames
        unique = [*unique[: most - 1], (joined([state for state, _ in unique[most - 1 :]]), NOTHING)]
    return unique


def nested(run: Machine, node: nodes.Function | ast.Lambda, closure: tuple[tuple[str, Value], ...]) -> Function:
    """Make a function inside of the one that runs, whose variables it may read at any time from now on."""
    run.homes.made_here(node)
    if not closure:  # a default, or an attribute of a class: nothing is around it
        return Function(node)
    frame = run.stack.top
    frame.read_inside |= run.mentions.within(node)
    return Function(node, None, closure, frame.node)


def _variables_around(run: Machine, function: Function, state: State) -> dict[str, Value]:
    """The variables that a nested function can read when it is called."""
    around = dict(function.closure)
    for frame in run.stack.frames:
        if frame.node is function.around:
            current = state if frame is run.stack.top else frame.calling
            around |= {} if current is None else current.variables
    return around


def call_function(run: Machine, function: Function, call: Call) -> Value:
    """Follow a call into a function of this file, on one of the ways that it can return."""
    node = function.node
    named = run.stack.top.symbol
    if isinstance(node, FUNCTIONS):
        named = run.defined_in.get(node) or run.homes.symbol(node)
    owner = function.owner
    own_state = isinstance(owner, Instance)
    inner = State(
        _variables_around(run, function, call.state),
        dict(owner.attributes) if isinstance(owner, Instance) else dict(call.state.attributes),
        dict(call.state.definitions),
        {} if own_state else call.state.conditions_on_self,
        dict(call.state.ranks),
        call.state.inference,
        call.state.taken,
        dict(call.state.facts) if not own_state else _not_of_self(call.state.facts),
        call.state.joined,
    )
    receiver: tuple[Value, ...] = () if owner is None else (Self(owner.cls),)
    bind_at_home(run, node, inner, (*receiver, *call.args), call.keywords, call.node)
    named = named or run.stack.top.symbol
    limit = STEPS_OF_A_PART if own_state else run.meter.most
    frame = run.stack.top
    suspended, frame.calling = frame.calling, call.state
    outcomes = outcomes_of(run, node, inner, named, call.node, limit)
    frame.calling = suspended
    if not outcomes:
        return NOTHING  # every path raises
    after, value = outcomes[run.choose(len(outcomes))]
    if value == NOTHING and run.homes.leaves(node):
        value = Unknown(run.key(call.node))  # as of a call that nobody follows
    call.state.definitions, call.state.ranks = after.definitions, after.ranks
    call.state.passed |= after.passed - call.state.taken
    call.state.joined = after.joined
    if own_state:
        call.state.facts |= _not_of_self(after.facts)
    else:
        call.state.attributes = after.attributes
        call.state.conditions |= after.conditions
        call.state.facts = after.facts
    run.saw_result(call.node, value)
    return binding.retagged(value, call.node)


def bind_at_home(
    run: Machine,
    node: nodes.Function | ast.Lambda,
    state: State,
    args: tuple[Value, ...],
    keywords: Mapping[str, Value],
    call: ast.expr,
) -> None:
    """Bind arguments to the parameters of a function, whose defaults mean what they mean in its module."""
    named = None if run.homes.is_abroad(node) else run.key(call)  # what is run there is shared by all its callers
    outer_names = run.homes.enter(node)
    try:
        binding.bind(run, node, state, args, keywords, call=named)
    finally:
        run.homes.names = outer_names


def _not_of_self(facts: Mapping[tuple[Key, Question], bool]) -> dict[tuple[Key, Question], bool]:
    """The facts about values that are no attributes of the object that runs."""
    return {(key, question): taken for (key, question), taken in facts.items() if not key.of_self}


def outcomes_of(
    run: Machine,
    node: nodes.Function | ast.Lambda,
    state: State,
    named: str,
    caller: ast.expr | None,
    limit: int,
) -> Outcomes:
    """The outcomes of a call, one for each way that it returns; those with the same arguments are remembered."""
    origins = [value.origin for value in state.variables.values() if isinstance(value, Tensor)]
    leaves, abroad = run.homes.leaves(node), run.homes.is_abroad(node)
    place = (caller if leaves else run.stack.leading_call, caller, run.stack.method)
    here = node, place, run.stack.caught > 0
    anywhere = node, None, run.stack.caught > 0
    outcomes = None
    for where in (here, anywhere) if abroad else (here,):
        known = run.called.get(where, ())
        same = next((each for each in known if each.origins == origins and each.before == state), None)
        if same is not None:
            outcomes = same.outcomes
            run.seen.told += where is here
            run.axes.tell_again(same.evidence)
            break
    if outcomes is None:
        if run.meter.widens:
            run.meter.truncated = True
            return [(state, NOTHING)]
        before, steps, told, evidence = state.copy(), run.meter.steps, run.seen.told, run.axes.told
        body = partial(run_function, run, node, state, named=named, caller=caller)
        outcomes = _abroad(run, node, body, before, limit) if leaves else _within(run, limit, body, before)
        if run.meter.steps - steps < WORTH_REMEMBERING:
            return outcomes
        where = anywhere if abroad and run.seen.told == told else here  # what is seen here is told once for each place
        made = Remembered(before, origins, outcomes, run.axes.told_since(evidence))
        run.called.setdefault(where, []).append(made)
    return [(after.copy(), value) for after, value in outcomes]


def _abroad(run: Machine, node: ast.AST, body: Callable[[], Outcomes], before: State, limit: int) -> Outcomes:
    """Return the outcomes of a call into another module; one that took too many steps once is not followed again."""
    homes = run.homes
    telling = any(_is_telling(name, value) for name, value in before.variables.items())
    telling = telling or _makes_tokens(before.variables.get("self"))
    limit = min(limit, STEPS_LED if telling else STEPS_ABROAD)
    if (node, limit) in homes.too_long:
        return [(before.copy(), NOTHING)]
    steps = run.meter.steps
    outcomes = _within(run, limit, body, before)
    if run.meter.steps - steps > limit:
        homes.too_long.add((node, limit))
    return outcomes


def _is_telling(name: str, value: Value) -> bool:
    """Tell whether a parameter may be given what is wrong in another module.

    That is a mask, a filled one too, a stray tensor, keys of a cache, or, by its name, a flag or a rate.
    """
    if not isinstance(value, Tensor):
        return is_said(CHOOSES_KEYS, name)
    is_filled_mask = bool(value.masked) and not value.roles
    return bool(value.homes) or isinstance(value.mask, Mask) or "cached" in value.roles or is_filled_mask


def _makes_tokens(owner: Value | None) -> bool:
    """Tell by its name whether the object whose method is called makes tokens: its code tells what comes first."""
    return isinstance(owner, Self) and is_said(EMBEDS, owner.cls.name)


def _within(run: Machine, steps: int, body: Callable[[], Outcomes], before: State) -> Outcomes:
    """Run the body of a call; its outcome is unknown where that takes more than so many steps."""
    meter = run.meter
    limit = meter.limit
    meter.limit = min(limit, meter.most, meter.steps + steps)
    try:
        return body()
    except OutOfSteps:
        if meter.steps > limit:
            raise
        return [(before.copy(), NOTHING)]
    finally:
        meter.limit = limit
