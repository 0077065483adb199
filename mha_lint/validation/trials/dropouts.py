"""Dropout: its rates, all of one value, of a way to run a module and of the module once it is built; what it draws."""

from __future__ import annotations

import contextlib
import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from msgspec.structs import replace
from torch.overrides import TorchFunctionMode

from mha_lint.validation.child.stubs import StubTouched
from mha_lint.validation.search import targets
from mha_lint.validation.search.plan import ConfigClass, OpenConfig, Plan
from mha_lint.validation.search.setups import Setup, as_it_is, materialise, workable
from mha_lint.validation.search.specs import Constant
from mha_lint.validation.search.vocabulary import role_of

RATE = 0.25  # of every dropout, where it is to be at work


def dropping(setup: Setup, module: types.ModuleType, rate: float = RATE) -> Setup | None:
    """The setup with every dropout at work, or at another rate; None where the class does not take that."""
    thing = targets.lookup(module, setup.target.name)
    active = at_rate(setup, thing, rate)
    try:
        built = targets.instantiate(setup.target, active.plan, module, seed=7)
        materialise(built, active, as_it_is)
        set_rate(built, rate, active.plan)
    except (Exception, StubTouched):  # whatever a constructor raises
        return None
    return active if workable(active, built, as_it_is, targets.signature_of(built), 1) else None


def is_idle(setup: Setup, module: types.ModuleType) -> bool:
    """Tell whether the setup has dropouts, and none is at work."""
    built = targets.instantiate(setup.target, setup.plan, module, seed=7)
    parts = [value for part in built.modules() for name, value in vars(part).items() if _is_rate(name, value)]
    given = [spec.value for name, spec in setup.specs.items() if isinstance(spec, Constant) and role_of(name) == "rate"]
    rates = [*parts, *given]
    return bool(rates) and not any(rates)


def _is_rate(name: str, value: Any) -> bool:
    return isinstance(value, float) and 0 <= value < 1 and role_of(name) == "rate"


def at_rate(setup: Setup, thing: Any, rate: float) -> Setup:
    """The setup with every rate that the constructor of ``thing``, or the call, takes at ``rate``."""
    specs = dict(setup.specs)
    if setup.target.is_class:
        called = getattr(thing, setup.target.method or "forward", None)
        setup = replace(setup, plan=_planned(setup.plan, thing, rate))
    else:
        called = thing
    for name in _rates(called):
        specs[name] = Constant(rate)
    return replace(setup, specs=specs)


def set_rate(module: Any, rate: float, plan: Plan) -> None:
    """Put every attribute of the built module, and of its parts, that conventionally holds a rate at ``rate``.

    One that is zero though the arguments that ``plan`` names have a rate is zero for good, and stays so.
    """
    settled = rate > 0 and not plan.written and not plan.factory
    for part in module.modules():
        for name, value in vars(part).items():
            if _is_rate(name, value) and not (settled and value == 0):
                setattr(part, name, rate)


def _planned(plan: Plan, cls: Any, rate: float) -> Plan:
    if plan.written or plan.factory:
        return plan
    return replace(plan, arguments=_arguments(plan.arguments, cls, rate))


def _arguments(given: Mapping[str, Any], cls: Any, rate: float) -> dict[str, Any]:
    changed = {**given, **dict.fromkeys(_rates(cls), rate)}
    for name, value in given.items():
        match value:
            case OpenConfig():
                overrides = {key: rate if role_of(key) == "rate" else item for key, item in value.overrides.items()}
                changed[name] = replace(value, rate=rate, overrides=overrides)
            case ConfigClass():
                changed[name] = replace(value, arguments=_arguments(value.arguments, value.cls, rate))
            case float() if role_of(name) == "rate":
                changed[name] = rate
    return changed


def _rates(called: Any) -> list[str]:
    """The parameters that hold a rate by their names, and a number by default."""
    try:
        parameters = inspect.signature(called).parameters.values()
    except (ValueError, TypeError):
        return []
    return [
        item.name
        for item in parameters
        if role_of(item.name) == "rate"
        and isinstance(item.default, (int, float))
        and not isinstance(item.default, bool)
        and 0 <= item.default < 1
    ]


@contextlib.contextmanager
def dropping_alike(dtype: torch.dtype) -> Iterator[None]:
    """Let dropout of float64 tensors draw the mask that it draws for ``dtype``: CUDA's kernels differ by width."""
    functions = (torch.nn.functional.dropout, torch.dropout)

    class Alike(TorchFunctionMode):
        def __torch_function__(
            self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            named = kwargs or {}
            rate = named.get("p", args[1] if len(args) > 1 else 0.5)
            if func not in functions or not args or args[0].dtype != torch.float64 or rate >= 1 or named.get("inplace"):
                return func(*args, **named)
            kept = func(torch.ones_like(args[0], dtype=dtype), *args[1:], **named)
            if bool((kept == 1).all()):  # no training
                return args[0] * 1
            return args[0] * (kept != 0) / (1 - rate)

    with Alike():
        yield
