"""Symbolic shapes of ``forward``'s parameters, for whoever has to find inputs that a class can be run with."""

from __future__ import annotations

from collections.abc import Iterator

from mha_lint.model import keys
from mha_lint.model.attention import ClassModel, FileModel
from mha_lint.model.keys import Key, Kind
from mha_lint.model.sizes import Size, symbol
from mha_lint.model.values import Int, Layer, State, Unknown, as_size
from mha_lint.syntax.nodes import Function, every_parameter

Hint = tuple[str | int, ...]
_LETTERS = tuple("btsHW")  # free sizes: what is no head count and no head width


def input_hints(model: FileModel, symbol_name: str, *, tokens: Size | None = None) -> dict[str, Hint]:
    """Parameter to shape, for the ``forward`` of the class in ``Class.method``.

    A dimension is a number, ``self.attribute`` (or ``self.layer.in_features``) whose value it has, or a letter: the
    same letter, the same size, and what comes first is taken to be the batch, ``tokens`` where that is their number.
    Parameters of which nothing but the rank is known are left out.
    """
    name = symbol_name.partition(".")[0]
    for each in model.classes:
        if each.cls.name == name and each.returns:
            return _hints(each, tokens)
    return {}


def _hints(model: ClassModel, tokens: Size | None) -> dict[str, Hint]:
    forward = model.cls.method("forward")
    if forward is None:
        return {}
    given = [parameter.arg for parameter in every_parameter(forward)[1:]]
    built = model.built[0]
    state = max((state for state, _ in model.returns), key=lambda state: _freedom(state, forward, given, built))
    known = {state.normal(size): text for text, size in reversed(list(_named(built)))}
    letters: dict[Size, str] = {}
    time = None if tokens is None else state.normal(tokens).symbol
    time_first = time is not None and time.kind is Kind.DIMENSION and time.number == 0
    in_front, behind = ("t", "b") if time_first else ("b", "t")
    hints: dict[str, Hint] = {}
    for parameter in every_parameter(forward)[1:]:
        name = parameter.arg
        key = _key(forward, name, built)
        rank = _rank(state, key)
        dims: list[str | int] = []
        for dim in range(rank):
            size = state.normal(symbol(keys.dimension(key, dim)))
            if size not in known and size.constant is None and size not in letters:
                used = max(len(set(letters.values())), 1)
                if used == len(_LETTERS) and dim:
                    break
                later = behind if used == 1 else _LETTERS[min(used, len(_LETTERS) - 1)]
                letters[size] = in_front if dim == 0 else later
            part = size.constant if size.constant is not None else known.get(size, letters.get(size))
            if part is None:
                break
            dims.append(part)
        if len(dims) == rank and not all(part in _LETTERS for part in dims):
            hints[parameter.arg] = tuple(dims)
    return hints


def _freedom(state: State, forward: Function, given: list[str], built: State) -> tuple[int, int]:
    """Rank a path by what it leaves open and says: sizes of parameters that a branch fixed count against it."""
    fixed = 0
    for name in given:
        key = _key(forward, name, built)
        known = [state.normal(symbol(keys.dimension(key, dim))) for dim in range(_rank(state, key))]
        fixed += sum(size.constant is not None for size in known)
    return -fixed, len(state.definitions)


def _key(forward: Function, name: str, built: State) -> Key:
    """The key of a parameter of ``forward``."""
    return keys.parameter(forward.name, name) if name in built.own_names else keys.named(name)


def _rank(state: State, key: Key) -> int:
    """The number of dimensions of which the path knows, counted from the end."""
    return sum(keys.dimension(key, -dim) in state.definitions for dim in range(1, 7))


def _named(built: State) -> Iterator[tuple[str, Size]]:
    """Attributes that hold a size, and layers that have one; those that come first are preferred."""
    for name, value in built.attributes.items():
        match value:
            case Int() | Unknown():
                size = as_size(value)
                if size is not None and size.constant is None:
                    yield f"self.{name}", size
            case Layer(kind="Linear", width_in=Size() as width):
                yield f"self.{name}.in_features", width
