"""Numbers that are defaults of parameters, and whether anybody hands such a parameter another value."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from mha_lint.model.keys import Key
from mha_lint.model.marks import Default
from mha_lint.model.values import Self, State, Unknown, Value, as_factor
from mha_lint.syntax.nodes import FUNCTIONS, Function, defaults, every_parameter, is_static, last_name, parameters, walk
from mha_lint.syntax.program import MAX_USERS

if TYPE_CHECKING:
    from mha_lint.model.run import Run
    from mha_lint.syntax.names import ModuleNames


def default_number(value: Value | None, run: Run, state: State) -> tuple[float, Default] | None:
    """Return the number that a parameter has by default, if its sign is changed, and which parameter that is."""
    key = value.key if isinstance(value, Unknown) else None
    if key is None:
        return None
    match run.node(key):
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            found = default_number(run.evaluate(operand, state), run, state)
            return None if found is None else (-found[0], found[1])
    function = _function_of(key, run, state)
    written = None if function is None else defaults(function).get(key.last_name)
    factor = None if written is None else as_factor(run.evaluate(written, State()))
    if factor is None or factor.constant is None or function is None:
        return None
    return factor.constant, Default(function, key.last_name)


def _function_of(key: Key, run: Run, state: State) -> Function | None:
    """The function with which the path began, or the constructor of its object, where the key names a parameter."""
    if key.owner is not None or not key.names:
        return None
    if run.is_given(key):
        return run.began
    owner = state.variables.get("self")
    return owner.cls.method("__init__") if isinstance(owner, Self) else None


def is_handed(default: Default, names: ModuleNames, defined_in: Mapping[Function, str]) -> bool:
    """Tell whether a call of the project may give a parameter another value than its default, as far as calls tell.

    ``defined_in`` has the functions of the module that is linted, and what they are called.
    """
    function = default.function
    symbol = defined_in.get(function) if isinstance(function, FUNCTIONS) else None
    if symbol is None or not isinstance(function, FUNCTIONS):
        return True  # of another module
    cls, _, name = symbol.rpartition(".")
    users = names.users(cls or name)
    if len(users) >= MAX_USERS:
        return True  # there may be more
    called = {cls, "__init__"} if name == "__init__" else {name}
    index = _index(function, default.name, is_method=bool(cls) and not is_static(function))
    calls = (call for each in (names, *users) for call in _calls(each))
    return any(_may_hand(call, default.name, index, called, anything=name == "forward") for call in calls)


def _index(function: Function, name: str, *, is_method: bool) -> int:
    """The place of a parameter among the arguments of a call; a large one for what is given by its name alone."""
    positional = [each.arg for each in parameters(function)]
    if name not in positional:
        return len(every_parameter(function)) + len(positional)
    return positional.index(name) - is_method


def _calls(module: ModuleNames) -> Iterator[ast.Call]:
    return (node for node in walk(module.module.tree) if isinstance(node, ast.Call))


def _may_hand(call: ast.Call, name: str, index: int, called: set[str], *, anything: bool) -> bool:
    """Tell whether a call may be of a function of these names, or of a module, and hands it the parameter.

    ``anything`` says that the function runs wherever an object is called, whatever that is named.
    """
    if any(keyword.arg == name for keyword in call.keywords):
        return True
    function = last_name(call.func)
    may_be_it = function in called or (
        anything and not function[:1].isupper() and function not in ("super", "__init__")
    )
    if not may_be_it:
        return False
    starred = any(isinstance(each, ast.Starred) for each in call.args)
    if starred or any(keyword.arg is None for keyword in call.keywords):
        return True
    return len(call.args) > index
