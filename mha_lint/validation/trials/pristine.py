"""One copy of a module for many calls, made afresh only after a call that changed it."""

from __future__ import annotations

import copy
import copyreg
import operator
import types
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import torch
from msgspec import Struct

from mha_lint.validation.trials.coverage import unwatched

_PLAIN = (bool, int, float, complex, str, bytes, type(None), type, types.FunctionType, types.BuiltinFunctionType)
_ATOMS = frozenset({bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device})
_TABLES = frozenset({dict, OrderedDict})
_CONTAINERS = frozenset({dict, OrderedDict, list, set})
_OF_EVERY_MODULE = frozenset(vars(torch.nn.Module()))  # its tables, which no two attributes share
# By which a class says how its instances are copied, or that they keep something outside of their ``__dict__``.
_SAYING_HOW = frozenset({
    "__deepcopy__", "__reduce__", "__reduce_ex__", "__getstate__", "__getnewargs__", "__getnewargs_ex__",
    "__slots__",
})  # fmt: skip


class Pristine:
    """Lends a copy of ``module``, the same one for each mode as long as no call changed it.

    The search makes hundreds of calls and takes changes for what :class:`_State` sees. With ``careful``, as trials need
    it, a module that keeps an object of a kind unknown here, which might change inside, is copied for each call.
    """

    def __init__(self, module: Any, *, careful: bool = False) -> None:
        self._module = module
        self._copies: dict[bool | None, tuple[Any, _State]] = {}
        self._is_shared = not careful or all(
            _is_plain(value)
            for part in module.modules()
            for name, value in vars(part).items()
            if name not in ("_parameters", "_buffers", "_modules")
        )

    def lend(self, training: bool | None = False) -> Any:
        """A copy in the state of ``module``, with no gradients: in train or eval mode, or for None as it is."""
        known = self._copies.get(training) if self._is_shared else None
        if known is not None and known[1].lasts():
            known[1].drop_gradients()
            return known[0]
        made = copied(self._module)
        if training is not None:
            made.train(training)
        if self._is_shared:
            self._copies[training] = (made, _State.of(made))
        return made


def copied(module: Any) -> Any:
    """Copy a module as ``copy.deepcopy`` does, without a look at each of the many tables that are empty."""
    return _copied(module, {})


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    kind: Any = type(value)
    if kind in _ATOMS:
        return value
    if id(value) in memo:
        return memo[id(value)]
    if kind in _TABLES and (kind is dict or not vars(value)):
        memo[id(value)] = table = kind()
        for key, item in value.items():
            table[_copied(key, memo)] = _copied(item, memo)
        return table
    if isinstance(value, torch.nn.Module) and _is_copied_by_its_attributes(kind):
        memo[id(value)] = made = kind.__new__(kind)
        as_it_is: Any = getattr(value, "__getstate__", lambda: vars(value))  # Python before 3.11 may have none
        state: dict[str, Any] = {}
        for name, item in as_it_is().items():
            if type(item) in _ATOMS:
                state[name] = item
            elif type(item) in _CONTAINERS and name in _OF_EVERY_MODULE and not item:
                state[name] = type(item)()
            else:
                state[name] = _copied(item, memo)
        made.__setstate__(state)
        return made
    return copy.deepcopy(value, memo)


def _is_copied_by_its_attributes(kind: type) -> bool:
    """Tell whether a class of modules leaves it to ``copy`` what its state is, and keeps all in its ``__dict__``."""
    if kind in copyreg.dispatch_table:
        return False
    others = (each for each in kind.__mro__ if each not in (torch.nn.Module, object))
    return all(vars(each).keys().isdisjoint(_SAYING_HOW) for each in others)


def _is_plain(value: Any) -> bool:
    if isinstance(value, (tuple, list, set, frozenset)):
        return all(_is_plain(item) for item in value)
    if isinstance(value, dict):
        return all(_is_plain(item) for item in value.values())
    return isinstance(value, (*_PLAIN, torch.dtype, torch.device))


class _State(Struct, frozen=True):
    """Record the attributes of all modules, the versions of their tensors and what their containers hold."""

    parts: list[Any]
    tables: list[tuple[dict[str, Any], list[str], list[Any]]]  # of attributes: names and values as they were
    unsized: list[Any]
    versions: list[tuple[torch.Tensor, int]]
    filled: list[tuple[Any, list[int]]]  # containers, with the ids of what they hold
    empty: list[Any]  # containers that hold nothing

    @classmethod
    @unwatched
    def of(cls, module: Any) -> _State:
        state = cls(list(module.modules()), [], [], [], [], [])
        for table in state._tables_now():
            state.tables.append((table, list(table), list(table.values())))
            for value in table.values():
                state._note(value)
        return state

    def _tables_now(self) -> Iterator[dict[str, Any]]:
        for part in self.parts:
            yield from (vars(part), part._parameters, part._buffers, part._modules)

    def _note(self, value: Any) -> None:
        if isinstance(value, torch.Tensor):
            if torch.nn.parameter.is_lazy(value):
                self.unsized.append(value)
            elif not value.is_inference():
                self.versions.append((value, value._version))
        elif isinstance(value, (list, dict, set)):
            if value:
                self.filled.append((value, _ids(value)))
            else:
                self.empty.append(value)

    def drop_gradients(self) -> None:
        for part in self.parts:
            for value in part._parameters.values():
                if value is not None:
                    value.grad = None

    @unwatched
    def lasts(self) -> bool:
        """Tell whether all is as it was. Where every table holds the same, the parts are the same."""
        if any(self.empty) or not all(map(torch.nn.parameter.is_lazy, self.unsized)):
            return False
        if any(value._version != version for value, version in self.versions):
            return False
        for now, (table, names, values) in zip(self._tables_now(), self.tables, strict=True):
            if now is not table or list(now) != names or not all(map(operator.is_, now.values(), values)):
                return False
        return all(_ids(container) == ids for container, ids in self.filled)


def _ids(container: Any) -> list[int]:
    return list(map(id, container.values() if isinstance(container, dict) else container))
