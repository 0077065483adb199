"""A way to run the user's code, once it is found: what is built, and what it is called with."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from msgspec import Struct
from msgspec.structs import replace

from mha_lint.validation.child.imports import quiet
from mha_lint.validation.child.stubs import StubTouched
from mha_lint.validation.search.inspection import Inspected
from mha_lint.validation.search.plan import ConfigClass, OpenConfig, Part, Plan
from mha_lint.validation.search.specs import (
    Assignment,
    Constant,
    DictSpec,
    SizeSpec,
    Spec,
    TensorSpec,
    TupleSpec,
    describe,
    families,
)
from mha_lint.validation.search.targets import Target, signature_of
from mha_lint.validation.trials import drawing, trial
from mha_lint.validation.trials.coverage import Statement
from mha_lint.validation.trials.pristine import Pristine

Meaning = Callable[[], Any]  # makes the context in which before runs


def as_it_is() -> contextlib.AbstractContextManager[None]:
    """The meaning of code that runs: its own."""
    return contextlib.nullcontext()


class Setup(Struct, frozen=True):
    """A way to run it that works on *before*."""

    target: Target
    plan: Plan
    specs: Mapping[str, Spec]
    assignments: tuple[Assignment, ...]
    inspected: Inspected
    covered: frozenset[Statement]
    met: frozenset[Statement] = frozenset()  # flagged statements at which before was seen to raise
    declared: bool = False  # by the user

    @property
    def level(self) -> str:
        """Return the kind of code that runs around the changed statements; "declared" where the user declares it."""
        if self.declared:
            return "declared"
        if self.target.method:
            return "method"
        return "module" if self.target.is_class else "function"

    @property
    def can_be_used_again(self) -> bool:
        """For another text of the same file: nothing in it was made by the code of this one."""
        plain = all(_is_plain(value) for value in self.plan.arguments.values())
        return plain and not self.plan.written and not self.plan.factory and all(map(_is_drawn, self.specs.values()))

    def describe(self) -> str:
        arguments = ", ".join(f"{name}={describe(spec)}" for name, spec in self.specs.items())
        flags = self.plan.told_flags()
        if not self.target.is_class:
            return f"{self.target.name}({arguments}){flags}"
        if self.target.method:
            return f"{self.target.name}({self.plan.describe()}).{self.target.method}({arguments}){flags}"
        return f"{self.target.name}({self.plan.describe()}) called with ({arguments}){flags}"


def _is_plain(value: Any) -> bool:
    match value:
        case tuple() | list():
            return all(map(_is_plain, value))
        case ConfigClass() | Part():
            return all(map(_is_plain, value.arguments.values()))
        case type():
            return value.__module__.partition(".")[0] == "torch"
    return value is None or type(value) in (bool, int, float, str, OpenConfig)


def _is_drawn(spec: Spec) -> bool:
    match spec:
        case Constant(value):
            return _is_plain(value)
        case DictSpec(items):
            return all(_is_drawn(item) for _, item in items)
    return isinstance(spec, (TensorSpec, TupleSpec, SizeSpec))


def materialise(module: Any, setup: Setup, meaning: Meaning) -> None:
    """Let lazy layers take their sizes from one call; whatever that raises passes through."""
    if any(torch.nn.parameter.is_lazy(value) for value in module.parameters()):
        conditions = drawing.Conditions("cpu", torch.float32, False, seed=0)
        inspected = setup.inspected
        inputs = drawing.make_inputs(
            setup.specs, setup.assignments[0], inspected.sizes, inspected.vocabulary, conditions
        )
        trial.seed_everything(0)
        with quiet(), torch.no_grad(), meaning():
            trial.call(module, inputs, trial.positional_only(signature_of(module)))


def depends_on_inputs(
    module: Any,
    setup: Setup,
    assignment: Assignment,
    conditions: drawing.Conditions,
    positional: tuple[str, ...],
    meaning: Meaning,
) -> bool:
    """For outputs that no gradient ties to the inputs (token ids, detached): other inputs must give other outputs."""
    one, other = _for_two_inputs(module, setup, assignment, conditions, positional, meaning)
    one.gradients, one.effects, other.gradients, other.effects = [], [], [], []
    if one.error is not None or other.error is not None:
        return False
    tensors = [value for _, value in one.outputs if isinstance(value, torch.Tensor) and value.numel()]
    finite = any(bool(torch.isfinite(value).any()) for value in tensors)
    return finite and bool(trial.compare(one, other, frozenset()).difference)


_OTHER_INPUTS = ((1, 2), (3, 4), (5, 6))  # seeds


def unmoved_rows(
    module: Any,
    setup: Setup,
    assignment: Assignment,
    conditions: drawing.Conditions,
    positional: tuple[str, ...],
    meaning: Meaning,
) -> frozenset[tuple[int, int]]:
    """Rows of the first output, (b, …, c), that are the same for other inputs, though others of their item are not.

    Each is told by its item and its place in it.
    """
    found: frozenset[tuple[int, int]] | None = None
    for others in _OTHER_INPUTS:  # few indices may be alike by chance
        seen = _for_two_inputs(module, setup, assignment, conditions, positional, meaning, others)
        rows = _same_rows(*seen)
        found = rows if found is None else found & rows
        if not found:
            break
    return found or frozenset()


def _same_rows(one: trial.Seen, other: trial.Seen) -> frozenset[tuple[int, int]]:
    outputs = (one.outputs, other.outputs)
    first, second = (next((item for _, item in each if isinstance(item, torch.Tensor)), None) for each in outputs)
    if first is None or second is None or first.dim() < 3 or first.shape != second.shape or not first.numel():
        return frozenset()
    same = (first == second).flatten(1, -2).all(-1)
    partly = same & ~same.all(-1, keepdim=True)
    return frozenset((int(item), int(row)) for item, row in partly.nonzero())


def _for_two_inputs(
    module: Any,
    setup: Setup,
    assignment: Assignment,
    conditions: drawing.Conditions,
    positional: tuple[str, ...],
    meaning: Meaning,
    seeds: tuple[int, int] = (1, 2),
) -> tuple[trial.Seen, trial.Seen]:
    inspected = setup.inspected

    def outputs(input_seed: int) -> trial.Seen:
        drawn = replace(conditions, training=False, seed=input_seed)
        made = drawing.make_inputs(setup.specs, assignment, inspected.sizes, inspected.vocabulary, drawn)
        return trial.run(module, lambda: made, positional, conditions, meaning(), way=trial.Way(backward=False))

    return outputs(seeds[0]), outputs(seeds[1])


def workable(
    setup: Setup, module: Any, meaning: Meaning, signature: inspect.Signature, wanted: int
) -> list[Assignment]:
    """Assignments that *before* accepts, at most ``wanted``, with shapes that differ wherever they can."""
    conditions = drawing.Conditions("cpu", torch.float32, False, seed=0)
    inspected = setup.inspected
    accepted: list[Assignment] = []
    fresh = Pristine(module, careful=True)
    known: set[tuple[str, ...]] = set()
    first = setup.assignments[0]
    batches = [Assignment({**first.sizes, "b": size}, "contiguous") for size in (1, 2, 5, 4, 6, 8)]
    for assignment in [*setup.assignments, *families(())[0], *batches]:
        if len(accepted) >= wanted:
            break
        try:
            inputs = drawing.make_inputs(setup.specs, assignment, inspected.sizes, inspected.vocabulary, conditions)
            if inputs.shapes in known:
                continue
            trial.seed_everything(0)
            with quiet(), torch.no_grad(), meaning():
                trial.call(fresh.lend(None), inputs, trial.positional_only(signature))
        except (Exception, StubTouched):
            continue
        known.add(inputs.shapes)
        accepted.append(assignment)
    return accepted
