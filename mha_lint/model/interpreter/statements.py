"""Statements: blocks, branches, loops and what they leave."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from functools import partial

from mha_lint.model.common import joined
from mha_lint.model.fuel import MAX_STATES
from mha_lint.model.interpreter import assignment
from mha_lint.model.interpreter.deciding import decide
from mha_lint.model.interpreter.machine import Machine
from mha_lint.model.keys import bound
from mha_lint.model.values import NONE, NOTHING, Const, Repeated, State, Unknown, Value, truth
from mha_lint.syntax import nodes
from mha_lint.syntax.names import collect_small
from mha_lint.syntax.nodes import TRIES, Block
from mha_lint.syntax.words import names_said
from mha_lint.vocabulary import WITHOUT_GRADIENTS


def run_block(run: Machine, body: Block, states: list[State]) -> list[State]:
    """Run statements in order; the states in which their end is reached."""
    frame = run.stack.top
    outside = frame.read_later
    for statement, read_later in zip(body, run.mentions.after_each(body), strict=True):
        if not states:
            break
        frame.read_later = (*outside, read_later)
        after: list[State] = []
        for index, state in enumerate(states):
            if run.meter.widens and len(states) > index + 1:
                run.meter.truncated = True
                after += _run_statement(run, statement, joined(states[index:], run.key(statement)))
                break
            after += _run_statement(run, statement, state)
        states = _distinct(run, after, statement)
    frame.read_later = outside
    return states


def _distinct(run: Machine, states: list[State], behind: ast.stmt) -> list[State]:
    """The states that differ in what later code reads."""
    if len(states) < 2:
        return states
    frame = run.stack.top
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
        unique = [*unique[: MAX_STATES - 1], joined(unique[MAX_STATES - 1 :], run.key(behind))]
    return unique


def _run_statement(run: Machine, statement: ast.stmt, state: State) -> list[State]:
    run.meter.step()
    match statement:
        case ast.Assign() | ast.Expr() | ast.AnnAssign() | ast.AugAssign():
            if isinstance(statement, ast.Expr):
                run.seen.alone.add(statement.value)
            results = run.choices.each(state, partial(assignment.execute, run, statement), of=statement)
            return [end for _, end in results]
        case ast.Return(value=value):
            results = run.choices.each(state, partial(_returned, run, value), of=statement)
            run.stack.top.returned += [(end, value) for value, end in results]
            return []
        case ast.Raise():
            return []
        case ast.If():
            return _run_if(run, statement, state)
        case ast.For() | ast.AsyncFor() | ast.While():
            return _run_loop(run, statement, state)
        case ast.With() | ast.AsyncWith():
            return _run_with(run, statement, state)
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            closure = tuple((n, v) for n, v in state.variables.items() if n != name)
            state.variables[name] = run.nested(statement, closure)
            return [state]
        case ast.Break():
            if run.stack.top.broken:
                run.stack.top.broken[-1].append(state)
            return []
        case ast.Continue():
            if run.stack.top.continued:
                run.stack.top.continued[-1].append(state)
            return []
        case ast.Import() | ast.ImportFrom():
            collect_small(statement, run.names)
            return [state]
        case ast.Assert(test=test):
            return _decided(run, test, state, wanted=True)
        case ast.Match(cases=cases):
            _forget(run, cases, state)
            return [state]
        case _ if isinstance(statement, TRIES):
            return _run_try(run, statement, state)
        case _:  # pass, global, nonlocal, del, a class
            return [state]


def takes_no_gradients(manager: ast.expr) -> bool:
    """A decorator, or what stands behind ``with``, switches gradients off."""
    return names_said(WITHOUT_GRADIENTS, manager)


def _run_with(run: Machine, statement: ast.With | ast.AsyncWith, state: State) -> list[State]:
    inference = state.inference
    state.inference = inference or any(takes_no_gradients(item.context_expr) for item in statement.items)
    after = run_block(run, statement.body, [state])
    for end in after:
        end.inference = inference
    return after


def _returned(run: Machine, value: ast.expr | None, state: State) -> Value:
    if value is None:
        return NONE
    result = run.evaluate(value, state)
    run.saw_value(value, "return", result, state)
    return result


def _decided(run: Machine, test: ast.expr, state: State, *, wanted: bool) -> list[State]:
    results = run.choices.each(state, lambda s: Const(decide(run, test, s)))
    return [end for value, end in results if value == Const(wanted)]


def _run_if(run: Machine, statement: ast.If, state: State) -> list[State]:
    results = run.choices.each(state, lambda s: Const(decide(run, statement.test, s)))
    after: list[State] = []
    for value, branch in results:
        after += run_block(run, statement.body if value == Const(True) else statement.orelse, [branch])
    return after


def _run_loop(run: Machine, statement: ast.For | ast.AsyncFor | ast.While, state: State) -> list[State]:
    """Run the body once, knowing nothing of what it assigns: true of any iteration. Then forget it again."""
    frame = run.stack.top
    results: list[tuple[Value, State]] = [(NOTHING, state)]
    if not isinstance(statement, ast.While):
        iterated = statement.iter
        results = run.choices.each(state, lambda s: run.evaluate(iterated, s), of=iterated)
    after: list[State] = []
    broken: list[State] = []  # what a break leads past the else
    for iterable, before in results:
        _forget(run, statement.body, before)
        inside = before.copy()
        if not isinstance(statement, ast.While):
            assignment.assign(run, statement.target, assignment.element(iterable), inside)
        read_later = frame.read_later
        frame.read_later = (*read_later, run.mentions.within(statement))
        frame.broken.append([])
        frame.continued.append([])
        frame.turns.append(assignment.length(iterable))
        ends = run_block(run, statement.body, [inside])
        frame.turns.pop()
        frame.read_later = read_later
        never_runs = [] if isinstance(iterable, Repeated) or truth(iterable) else [before]
        after += [*never_runs, *ends, *frame.continued.pop()]
        broken += frame.broken.pop()
    for end in [*after, *broken]:
        _forget(run, [statement], end)
    return [*run_block(run, statement.orelse, after), *broken]


def _run_try(run: Machine, statement: ast.Try, state: State) -> list[State]:
    handled = state.copy()
    caught = any(_catches_runtime_error(handler.type) for handler in statement.handlers)
    frame = run.stack.top
    read_later = frame.read_later
    frame.read_later = (*read_later, run.mentions.within(statement))
    run.stack.caught += caught
    try:
        after = run_block(run, statement.body, [state])
    finally:
        run.stack.caught -= caught
        frame.read_later = read_later
    after = run_block(run, statement.orelse, after)
    _forget(run, statement.body, handled)
    for handler in statement.handlers:
        after += run_block(run, handler.body, [handled.copy()])
    return run_block(run, statement.finalbody, after)


def _forget(run: Machine, code: Sequence[ast.AST], state: State) -> None:
    """Whatever the code assigns is unknown from here on."""
    for path in run.mentions.assigned(code):
        state.forget_conditions_on(path)
        of_self = len(path) > 1
        if of_self or path[0] in state.variables:
            variables = state.attributes if of_self else state.variables
            key = bound(run.key(code[0]), *path)
            run.axes.alike_to(key, variables.get(path[-1], NOTHING))
            variables[path[-1]] = Unknown(key)


def _catches_runtime_error(kind: ast.expr | None) -> bool:
    match kind:
        case None:
            return True
        case ast.Tuple(elts=elements):
            return any(map(_catches_runtime_error, elements))
        case _:
            return nodes.dotted(kind) in ("RuntimeError", "Exception", "BaseException")
