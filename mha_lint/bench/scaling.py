"""Builds what a setup of the trials builds, at the sizes of a preset: the code's own widths where it says them."""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from msgspec import Struct
from msgspec.structs import replace

from mha_lint.bench.wanted import Preset
from mha_lint.validation.child.imports import Loaded, in_one_line, quiet
from mha_lint.validation.child.stubs import StubTouched
from mha_lint.validation.search import targets
from mha_lint.validation.search.harness import Search
from mha_lint.validation.search.parameters import is_whole, parameters_of
from mha_lint.validation.search.plan import SIZES, ConfigClass, Layer, OpenConfig, Part, Plan
from mha_lint.validation.search.reading import literal_calls
from mha_lint.validation.search.setups import Setup
from mha_lint.validation.search.specs import Assignment, TensorSpec, TupleSpec, size_of
from mha_lint.validation.search.vocabulary import Sizing, role_of, value_of
from mha_lint.validation.trials import drawing, trial
from mha_lint.validation.trials.coverage import watch

_OF_ANYTHING = ("", "length")  # roles of numbers that may limit the tokens
_LONGEST = 1 << 14  # a length by default; tables and masks of a longer one take too much memory


class Refusal(Exception):
    """The code does not take the sizes of a preset; the message says why."""


class Fitted(Struct, frozen=True):
    """A way to run the code at the sizes of a preset."""

    setup: Setup
    assignment: Assignment

    def inputs(self, conditions: drawing.Conditions) -> drawing.Inputs:
        inspected = self.setup.inspected
        return drawing.make_inputs(self.setup.specs, self.assignment, inspected.sizes, inspected.vocabulary, conditions)


def resized(search: Search, setup: Setup, preset: Preset, deadline: float) -> Setup:
    """The setup with the widths of the code or of the preset. Raises :class:`Refusal`."""
    if setup.plan.written or setup.plan.factory:
        return setup  # the user says how it is built
    for plan in _plans(setup, preset, search.loaded):
        found = search.resized(setup, plan, deadline)
        if found is not None and (found.covered or not setup.covered):
            return found
    raise Refusal(f"it cannot be built and called at this width{search.notes.in_words()}")


def lengthened(search: Search, setup: Setup, preset: Preset, conditions: drawing.Conditions, deadline: float) -> Setup:
    """The setup with numbers of its constructor raised that keep it from the tokens of the preset.

    Such a number is that of the rows of a mask or a table, by a name that says nothing of it: ``longest=4``. Each is
    raised alone, then all of them. Where that does not help, the setup is as it was.
    """
    if setup.plan.written or setup.plan.factory or not setup.target.is_class:
        return setup
    limits = _limits(targets.lookup(search.loaded.module, setup.target.name), setup.plan, preset)
    if not limits or _takes_tokens(search, setup, preset, conditions):
        return setup
    for names in dict.fromkeys([*((name,) for name in limits), limits]):
        raised = {**setup.plan.arguments, **dict.fromkeys(names, preset.tokens)}
        longer = search.resized(setup, replace(setup.plan, arguments=raised), deadline)
        is_covered = longer is not None and (longer.covered or not setup.covered)
        if longer is not None and is_covered and _takes_tokens(search, longer, preset, conditions):
            return longer
    return setup


def _limits(cls: Any, plan: Plan, preset: Preset) -> tuple[str, ...]:
    """The parameters of a constructor that get a number below the tokens, and whose names do not say of what."""
    given = {item.name: item.default for item in parameters_of(cls)} | dict(plan.arguments)
    return tuple(
        name
        for name, value in given.items()
        if is_whole(value) and 1 < value < preset.tokens and role_of(name) in _OF_ANYTHING
    )


def _takes_tokens(search: Search, setup: Setup, preset: Preset, conditions: drawing.Conditions) -> bool:
    """Tell whether a call of one item with as many tokens as the preset has runs the changed statements."""
    try:
        with quiet():
            module = module_of(setup, search.loaded.module).to(device=conditions.device, dtype=conditions.dtype)
        alone = replace(preset, batch=1)
        made = fitted(search, setup, module, alone, conditions)
    except (Exception, StubTouched):  # the user's own code, or a refusal
        return False
    return _tokens(setup, {**setup.inspected.sizes, **made.assignment.sizes, "b": 1}) >= preset.tokens


def fitted(search: Search, setup: Setup, module: Any, preset: Preset, conditions: drawing.Conditions) -> Fitted:
    """The batch and the tokens of the preset, or as many as the code takes. Raises :class:`Refusal`.

    The module is on the device of the conditions. It is called once, and has to run the changed statements.
    """
    positional = trial.positional_only(targets.signature_of(module))
    first: BaseException | None = None
    for assignment in _assignments(setup, preset):
        try:
            with torch.no_grad(), quiet(), watch(search.loaded.pseudo) as rows:
                made = Fitted(setup, assignment)
                for training in (True, False):
                    module.train(training)
                    trial.call(module, made.inputs(conditions), positional)
        except (Exception, StubTouched) as error:
            if _lacks_memory(error):  # other lengths would hide that
                raise Refusal("there is not enough memory") from error
            first = first or error
            continue
        seen = rows.of(search.loaded.pseudo)
        if setup.covered and not any(statement.ran(seen) for statement in setup.covered):
            raise Refusal("the changed lines do not run at this size")
        return made
    assert first is not None
    raise Refusal(f"calling it raised {in_one_line(first)}")


def _lacks_memory(error: BaseException) -> bool:
    """Tell whether torch, or Python, could not allocate: on the CPU, torch has no class of errors for that."""
    return isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) or "allocate memory" in str(error)


def _assignments(setup: Setup, preset: Preset) -> Iterator[Assignment]:
    """The sizes of the preset, then lengths that the trials found to be taken, with as many tokens in all."""
    side = math.isqrt(preset.tokens)
    area = {"H": side, "W": side}
    likely = [{"t": length, "s": length, **area} for length in (preset.tokens, side)]
    others = sorted((item.sizes for item in setup.assignments), key=lambda sizes: sizes.get("t", 0), reverse=True)
    for sizes in [*likely, *others]:
        tokens = _tokens(setup, {**setup.inspected.sizes, **sizes, "b": 1})
        if tokens <= 2 * preset.tokens:  # each pair of two lengths may be a token
            batch = preset.batch * preset.tokens // max(1, tokens)
            yield Assignment({**sizes, "b": max(1, batch)}, "contiguous")


def _tokens(setup: Setup, sizes: Mapping[str, int]) -> int:
    """The vectors of the model's width in one item of the first tensor input; 1 where no input is a tensor."""
    for spec in setup.specs.values():
        tensor = spec.items[0] if isinstance(spec, TupleSpec) and spec.items else spec
        if isinstance(tensor, TensorSpec):
            numbers = [size_of(dim, sizes) for dim in tensor.dims]
            literal = [dim for dim in tensor.dims if isinstance(dim, int)]
            width = literal[-1] if literal else sizes["h"] * sizes["d"] if "d" in tensor.dims else 1
            return math.prod(numbers) // max(1, width)
    return 1


def _plans(setup: Setup, preset: Preset, loaded: Loaded) -> Iterator[Plan]:
    """The plan with the code's own sizes and the preset's beside them, then with those of the preset alone."""
    heads = preset.heads
    fewer = setup.plan.sizing.kv_heads < setup.plan.sizing.heads and heads % 2 == 0
    sizing = replace(
        setup.plan.sizing,
        heads=heads,
        head_dim=preset.width // heads,
        kv_heads=heads // 2 if fewer else heads,
        apart=0,
    )
    resizing = _Resizing(sizing, setup.plan.sizing, preset, loaded)
    seen: list[Plan] = []
    for is_own in (True, False):
        plan = replace(setup.plan, sizing=sizing)
        if setup.target.is_class:
            cls = targets.lookup(loaded.module, setup.target.name)
            plan = replace(plan, arguments=resizing.arguments(cls, setup.plan.arguments, is_own=is_own))
        if plan not in seen:
            seen.append(plan)
            yield plan


class _Resizing(Struct, frozen=True):
    """Replaces the small sizes of a plan."""

    sizing: Sizing
    earlier: Sizing
    preset: Preset
    loaded: Loaded

    def arguments(self, cls: Any, arguments: Mapping[str, Any], *, is_own: bool) -> dict[str, Any]:
        """The arguments of a constructor; with ``is_own``, sizes that its file says come first."""
        parameters = parameters_of(cls)
        said = literal_calls(cls.__name__, parameters, self.loaded.tree) if is_own else {}
        known = {item.name: item for item in parameters}
        changed: dict[str, Any] = {}
        for name, value in arguments.items():
            item = known.get(name, inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY))
            changed[name] = self._argument(item, value, said.get(name, ()), is_own=is_own)
        for item in parameters:
            is_short = is_whole(item.default) and item.default < self.preset.tokens
            if item.name not in arguments and role_of(item.name) == "length" and is_short:
                changed[item.name] = self.preset.tokens
        return changed

    def _argument(self, item: inspect.Parameter, value: Any, said: Sequence[Any], *, is_own: bool) -> Any:
        match value:
            case OpenConfig():
                return replace(value, sizing=self.sizing)
            case ConfigClass():
                return replace(value, arguments=self.arguments(value.cls, value.arguments, is_own=is_own))
            case Part():
                part = targets.lookup(self.loaded.module, value.cls)
                return replace(value, arguments=self.arguments(part, value.arguments, is_own=is_own))
            case Layer():
                return Layer(self._width(value.takes), self._width(value.gives))
        role = role_of(item.name)
        if role == "rate" and isinstance(item.default, (int, float)):
            return item.default  # trials must draw random numbers, and measurements need not
        if role not in SIZES or role in ("layers", "vocab") or not is_whole(value):
            return value
        own = [each for each in (item.default, *said) if is_whole(each)] if is_own else []
        if role == "length":
            return max([self.preset.tokens, *(each for each in own if each <= _LONGEST)])
        if own and not (role == "heads" and own[0] == 1):
            return own[0]
        return value_of(role, self.sizing)

    def _width(self, value: int) -> int:
        """The width that a layer has in the place of one that it had among small sizes."""
        old, new = self.earlier, self.sizing
        widths = {
            old.kv_heads * old.head_dim: new.kv_heads * new.head_dim,
            old.heads * old.head_dim: new.heads * new.head_dim,
            old.width: new.width,
        }
        return widths.get(value, value)


def module_of(setup: Setup, module: types.ModuleType) -> Any:
    """The target, built from the text that is loaded as ``module``."""
    return targets.instantiate(setup.target, setup.plan, module, seed=0)
