"""Calls with what a forward pass may be given or left without: masks, memories, caches, and flags the other way round.

The changed code may depend on an input that it does not sit behind. Few calls serve: of any two such inputs, each is
given with the other and without it.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from msgspec import Struct
from msgspec.structs import replace

from mha_lint.validation.child.stubs import StubTouched
from mha_lint.validation.search.calling import Aim, Calling
from mha_lint.validation.search.clock import now
from mha_lint.validation.search.plan import in_eval
from mha_lint.validation.search.setups import Setup
from mha_lint.validation.search.specs import Constant, Spec, TensorSpec, WrittenSpec
from mha_lint.validation.search.targets import instantiate
from mha_lint.validation.trials import drawing, trial
from mha_lint.validation.trials.coverage import watch

if TYPE_CHECKING:
    from mha_lint.validation.search.harness import Search

_SECONDS = 1.5  # for finding them
_CANDIDATES = 14  # that are tried for one input
_INPUTS = 10  # as many as five calls can pair


class _Choice(Struct, frozen=True):
    """One input that may be given, and what as; of a flag, the other value."""

    name: str
    spec: Spec


def given(search: Search, setup: Setup) -> Iterator[Setup]:
    """The call of ``setup`` with optional inputs given and flags flipped, each pair of them in each way."""
    until = now() + _SECONDS
    if not setup.target.is_class or setup.target.method or setup.declared:
        return
    try:
        tried = _Tried(search, setup)
    except (Exception, StubTouched):  # whatever a constructor raises
        return
    choices = list(itertools.islice(tried.choices(until), _INPUTS))
    for row in paired(len(choices)):
        other = tried.together([choices[place] for place in row], until)
        if other is not None:
            yield other


def paired(count: int) -> list[tuple[int, ...]]:
    """Sets of ``count`` places, at most ten, such that of each pair there are both, and each without the other.

    Each place lies in more than half of the sets, and no two in the same ones: then any two meet, and part.
    """
    if count <= 1:
        return [(0,)] * count
    number, size = (3, 2) if count <= 3 else (5, 3)
    members = list(itertools.islice(itertools.combinations(range(number), size), count))
    rows = [tuple(place for place, sets in enumerate(members) if row in sets) for row in range(number)]
    return [row for row in rows if row]


class _Tried:
    """The module of a setup, and calls of it."""

    def __init__(self, search: Search, setup: Setup) -> None:
        self.search, self.setup = search, setup
        with watch(search.loaded.pseudo) as rows:
            self.module = in_eval(instantiate(setup.target, setup.plan, search.loaded.module, seed=0))
        aim = Aim(search.loaded, frozenset(), True, search.meaning, search.met, search.hints)
        self.calling = Calling(aim, setup.target, setup.plan, self.module, rows, {}, search.notes)

    @functools.cached_property
    def plain(self) -> trial.Seen | None:
        """Return what the setup itself leaves behind."""
        return self._ran(self.setup)

    def choices(self, until: float) -> Iterator[_Choice]:
        """The inputs that the setup leaves out, each as the first candidate that works and makes a difference."""
        for name, options in self.calling.options.items():
            if now() > until:
                return
            spec = self.setup.specs.get(name, Constant(None))
            default = self.calling.signature.parameters[name].default if name not in self.setup.specs else None
            if isinstance(default, bool) or (isinstance(spec, Constant) and isinstance(spec.value, bool)):
                flag = default if isinstance(default, bool) else spec.value if isinstance(spec, Constant) else False
                yield _Choice(name, Constant(not flag))
            elif spec == Constant(None) and default in (None, self.calling.signature.empty):
                found = self._fitting(name, options, self.setup.specs, until)
                if found is not None:
                    yield _Choice(name, found)

    def together(self, choices: Sequence[_Choice], until: float) -> Setup | None:
        """The setup with as many of the choices as work together; None where none does.

        Next to a memory of another length, a mask has another shape.
        """
        specs: dict[str, Spec] = dict(self.setup.specs)
        for choice in choices:
            works = self._ran(self._with({**specs, choice.name: choice.spec})) is not None
            spec = choice.spec if works else self._fitting(choice.name, self.calling.options[choice.name], specs, until)
            if spec is not None:
                specs[choice.name] = spec
        return self._with(specs) if specs != self.setup.specs else None

    def _fitting(self, name: str, options: Sequence[Spec], specs: Mapping[str, Spec], until: float) -> Spec | None:
        """The first candidate that works next to ``specs`` and makes a difference, or else the first that works."""
        works: Spec | None = None
        for spec in [option for option in options if not isinstance(option, Constant)][:_CANDIDATES]:
            if now() > until:
                return works
            for shown in (_wholly_masked(spec), spec):
                seen = None if shown is None else self._ran(self._with({**specs, name: shown}))
                if seen is None or shown is None or not _is_number(seen):
                    continue
                works = works or shown
                if self.plain is None or trial.compare(seen, self.plain, frozenset()).difference:
                    return shown
        return works

    def _with(self, specs: Mapping[str, Spec]) -> Setup:
        return replace(self.setup, specs=specs)

    def _ran(self, setup: Setup) -> trial.Seen | None:
        """Return the outputs of two calls of before with other shapes, as one; None where the first raises."""
        conditions = drawing.Conditions("cpu", torch.float32, False, seed=0)
        inspected, meaning = setup.inspected, self.search.meaning
        way = trial.Way(learns=False, backward=False)
        whole: trial.Seen | None = None
        for assignment in setup.assignments[:2]:

            def make(assignment: Any = assignment) -> drawing.Inputs:
                return drawing.make_inputs(setup.specs, assignment, inspected.sizes, inspected.vocabulary, conditions)

            seen = trial.run(self.calling.fresh, make, self.calling.positional, conditions, meaning(), way=way)
            if seen.error is not None:
                return whole
            seen.effects = []
            if whole is None:
                whole = seen
            else:
                whole.outputs += seen.outputs
        return whole


def _wholly_masked(spec: Spec) -> Spec | None:
    """A mask with rows that are partly masked, one that is so as a whole, and one that is not at all."""
    if not isinstance(spec, TensorSpec) or spec.kind != "bool" or len(spec.dims) < 2:
        return None
    drawn = f"torch.rand(({', '.join(map(str, spec.dims))},)) < 0.7"
    last = f"torch.tensor([{spec.dims[-2]} - 1])"
    return WrittenSpec(f"({drawn}).index_fill(-2, torch.tensor([0]), True).index_fill(-2, {last}, False)")


def _is_number(seen: trial.Seen) -> bool:
    """No output is NaN."""
    tensors = [value for _, value in seen.outputs if isinstance(value, torch.Tensor)]
    return not any(bool(value.isnan().any()) for value in tensors)
