"""In which precision the factors of rotary angles are held."""

from __future__ import annotations

import ast

from mha_lint.model.keys import Key, Kind
from mha_lint.model.rotary import UNTOLD, Held, Phase, Precision, RotaryTable
from mha_lint.model.run import Call
from mha_lint.model.values import Method, Qualified, Tensor, Unknown, Value, as_tensor
from mha_lint.syntax.nodes import last_name
from mha_lint.syntax.words import names_in
from mha_lint.vocabulary import SETTINGS

_SINGLE = frozenset({"torch.float32", "torch.float", "torch.float64", "torch.double", "builtins.float"})
_HALF = frozenset({"torch.float16", "torch.half", "torch.bfloat16"})
_WHOLE = frozenset({"torch.int64", "torch.long", "torch.int32", "torch.int", "builtins.int"})


def cast(call: Call, before: Held) -> Held:
    """Return how numbers are held after ``x.to(…)``, ``x.type(…)`` or ``x.type_as(y)``."""
    kinds = [*call.args[1:], *(call.keywords[name] for name in ("dtype", "other") if name in call.keywords)]
    for kind in kinds:
        before = _as_a_given(call, kind) or told(call, kind, before)
    return before


def _as_a_given(call: Call, kind: Value) -> Held | None:
    """Held as what the function was given is, which ``type_as`` shows to be a tensor."""
    is_named = isinstance(call.node, ast.Call) and last_name(call.node.func) == "type_as"
    if not is_named or not isinstance(kind, Unknown) or kind.key is None or not call.interpreter.is_given(kind.key):
        return None
    return Held(Precision.ACTIVATIONS, call.node, kind.key)


def told(call: Call, kind: Value, before: Held) -> Held:
    """Return how numbers are held that are cast to a type, or to that of a tensor; as before where none is named."""
    match kind:
        case Qualified(name) if name in _SINGLE:
            return Held(Precision.SINGLE, call.node)
        case Qualified(name) if name in _HALF:
            return Held(Precision.ACTIVATIONS, call.node)
        case Qualified(name) if name in _WHOLE:
            return UNTOLD
        case Tensor() as tensor:
            return _like(call, tensor, before)
        case Method(receiver=Tensor() as tensor, name="dtype"):
            return _like(call, tensor, before)
        case Unknown(Key(owner=Key() as owner) as key) if key.names[-1:] == ("dtype",):
            return Held(Precision.ACTIVATIONS, call.node, owner) if _is_a_tensor(call, owner) else UNTOLD
        case _:
            return before


def _is_a_tensor(call: Call, owner: Key) -> bool:
    """Tell whether what has this type is a tensor that the function was given: a parameter, unless it holds settings.

    Of what a parameter has, such as a layer's weight, more has to be known.
    """
    if not call.interpreter.is_given(owner):
        return False
    named = owner.kind is Kind.NAME and not owner.says(SETTINGS)
    return named or call.interpreter.is_tensor(owner, call.state)


def _like(call: Call, tensor: Tensor, before: Held) -> Held:
    """Held as another tensor is: a factor of angles itself, a tensor that was cast, or activations."""
    if isinstance(tensor.rotary, RotaryTable):
        held = tensor.rotary.held
        return held if held.by is None else Held(held.precision, call.node, held.like)
    if tensor.single:
        return Held(Precision.SINGLE, call.node)
    if "projection" in tensor.roles or (tensor.key is not None and call.interpreter.is_given(tensor.key)):
        return Held(Precision.ACTIVATIONS, call.node, tensor.key)
    return UNTOLD


def phase(call: Call, frequencies: RotaryTable, positions: Value | None) -> Phase | None:
    """How precisely angles are computed, where that is in half precision, or may be."""
    other = (
        positions.rotary.held if isinstance(positions, Tensor) and isinstance(positions.rotary, RotaryTable) else None
    )
    factors = (frequencies.held,) if other is None else (frequencies.held, other)
    lowered = [held for held in factors if held.precision is Precision.ACTIVATIONS]
    if lowered:
        of_positions = any(held.like is not None and _is_of(call, positions, held.like) for held in lowered)
        return None if of_positions else Phase(call.node, factors)  # in the type of the positions they may be anything
    may_be = frequencies.held.precision is Precision.BUFFER and other is not None and not _is_being_built(call)
    if may_be and other is not None and other.precision is not Precision.SINGLE:
        return Phase(call.node, factors)
    return None


def _is_being_built(call: Call) -> bool:
    """A constructor began what runs: its module can't have been cast yet."""
    began = call.interpreter.began
    return began is not None and began.name == "__init__"


def _is_of(call: Call, positions: Value | None, key: Key) -> bool:
    """Positions are what the key names, or are computed from it."""
    tensor = None if positions is None else as_tensor(positions)
    if tensor is None or isinstance(tensor.rotary, RotaryTable):
        return False
    made = None if tensor.key is None else call.interpreter.node(tensor.key)
    names = [] if made is None else list(names_in(made))
    held = [call.state.variables.get(name) for name in names]  # they may have had another name where they were given
    named = not set(key.names).isdisjoint(names)
    given = any(isinstance(value, (Tensor, Unknown)) and value.key is key for value in held)
    return named or given or key is tensor.key or key in tensor.inputs
