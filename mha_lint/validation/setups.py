"""A way to run the user's code, once it is found: what is built, and what it is called with."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from mha_lint.validation import trial
from mha_lint.validation.coverage import Statement
from mha_lint.validation.imports import quiet
from mha_lint.validation.inspection import Inspected
from mha_lint.validation.plan import Plan
from mha_lint.validation.specs import Assignment, Spec, describe, families
from mha_lint.validation.stubs import StubTouched
from mha_lint.validation.targets import Target, signature_of

Meaning = Callable[[], Any]  # makes the context in which before runs


@dataclass(frozen=True, slots=True)
class Setup:
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
        """How much of the code around the changed statements runs."""
        if self.declared:
            return "declared"
        if self.target.method:
            return "method"
        return "module" if self.target.is_class else "function"

    def describe(self) -> str:
        arguments = ", ".join(f"{name}={describe(spec)}" for name, spec in self.specs.items())
        if not self.target.is_class:
            return f"{self.target.name}({arguments})"
        if self.target.method:
            return f"{self.target.name}({self.plan.describe()}).{self.target.method}({arguments})"
        return f"{self.target.name}({self.plan.describe()}) called with ({arguments})"


def materialise(module: Any, setup: Setup, meaning: Meaning) -> None:
    """Let lazy layers take their sizes from one call; whatever that raises passes through."""
    if any(torch.nn.parameter.is_lazy(value) for value in module.parameters()):
        conditions = trial.Conditions("cpu", torch.float32, False, seed=0)
        inspected = setup.inspected
        inputs = trial.make_inputs(setup.specs, setup.assignments[0], inspected.sizes, inspected.vocabulary, conditions)
        trial.seed_everything(0)
        with quiet(), torch.no_grad(), meaning():
            trial.call(module, inputs, trial.positional_only(signature_of(module)))


def workable(
    setup: Setup, module: Any, meaning: Meaning, signature: inspect.Signature, wanted: int
) -> list[Assignment]:
    """Assignments that *before* accepts, at most ``wanted``, with shapes that differ wherever they can."""
    conditions = trial.Conditions("cpu", torch.float32, False, seed=0)
    inspected = setup.inspected
    accepted: list[Assignment] = []
    known: set[tuple[str, ...]] = set()
    first = setup.assignments[0]
    batches = [Assignment({**first.sizes, "b": size}, "contiguous") for size in (1, 2, 5, 4, 6, 8)]
    for assignment in [*setup.assignments, *families(())[0], *batches]:
        if len(accepted) >= wanted:
            break
        try:
            inputs = trial.make_inputs(setup.specs, assignment, inspected.sizes, inspected.vocabulary, conditions)
            if inputs.shapes in known:
                continue
            trial.seed_everything(0)
            with quiet(), torch.no_grad(), meaning():
                trial.call(copy.deepcopy(module), inputs, trial.positional_only(signature))
        except (Exception, StubTouched):
            continue
        known.add(inputs.shapes)
        accepted.append(assignment)
    return accepted
