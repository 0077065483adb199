"""Finds a way to run a class or function, and tries every property of attention on it, on every device."""

from __future__ import annotations

import copy
import inspect
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from msgspec.structs import replace

from mha_lint.observation import Observation
from mha_lint.parsing import parse
from mha_lint.validation.child import imports, isolation, stubs, torch_settings
from mha_lint.validation.job import Probed, Probing
from mha_lint.validation.probes import PROBES, observe
from mha_lint.validation.search import harness, obstacles, targets
from mha_lint.validation.search.calling import Aim, Calling
from mha_lint.validation.search.clock import now
from mha_lint.validation.search.plan import Plan, in_eval
from mha_lint.validation.search.reach import BUDGET, scoring_statements
from mha_lint.validation.search.setups import Setup, as_it_is, materialise, workable
from mha_lint.validation.search.specs import Assignment
from mha_lint.validation.search.vocabulary import SIZINGS
from mha_lint.validation.trials import drawing, pairing, trial
from mha_lint.validation.trials.coverage import watch

_OWN_WEIGHTS = "half safety"  # other weights than the module's own may overflow where those don't
_LENGTHS = range(4, 33)  # tokens: enough for a triangle to show, few enough to be changed one by one
_CALLS = 80, 320  # that follow exceptions, and that go through candidates


class NoInputs(Exception):
    """No arguments were found with which the module can be called; the message says what stood in the way."""


def probe(asked: Probing, devices: Mapping[str, str], deadline: float, tell: Callable[[str], None]) -> Probed:
    """Return what the probes see of ``asked``; where it can't be built and called, the reason."""
    torch_settings.make_deterministic()
    tell("the import of the file")
    try:
        loaded = pairing.load_alone(asked.path, asked.text)
    except imports.CannotLoad as error:
        return Probed(reason=str(error))
    stubs.arm()
    tell("the search for a way to run it")
    search = harness.Search(
        loaded,
        scoring_statements(loaded.source, loaded.tree, asked.symbols),
        as_it_is,
        asked.hints,
        now() + BUDGET,
        methods=False,
        any_of=True,
        declared=asked.declared,
    )
    setup = _found(search, asked)
    if setup is None:
        name = imports.place_of(asked.path).name.removeprefix("_mha_lint_subject_")
        return Probed(reason=f"no way was found to run it{search.notes.in_words()}", stub=search.stub(name))
    observations: dict[str, tuple[Observation, ...]] = {}
    shapes: tuple[str, ...] = ()
    for device in sorted(devices):
        if device == "cuda":
            isolation.release_memory()
        tell(f"running {setup.target} on {device}")
        observations[device], shapes = _observed(loaded, setup, device, deadline)
    return Probed(observations, setup.describe(), shapes, setup.level)


def _found(search: harness.Search, asked: Probing) -> Setup | None:
    """The first setup that runs the attention of the target itself; one that runs the target at all where none does."""
    for setup in search.setups((asked.target,)):
        if setup.target.name == asked.target:
            return setup
    anything = replace(search, wanted=frozenset(), deadline=search.deadline + BUDGET / 2)
    return next((setup for setup in anything.setups((asked.target,)) if setup.target.name == asked.target), None)


def _observed(
    loaded: imports.Loaded, setup: Setup, device: str, deadline: float
) -> tuple[tuple[Observation, ...], tuple[str, ...]]:
    """Run each probe on one device. Parameters are drawn anew, so that gates that start at zero hide nothing."""
    own = targets.instantiate(setup.target, setup.plan, loaded.module, seed=7)
    materialise(own, setup, as_it_is)
    own.eval()
    assignment = _suited(workable(setup, own, as_it_is, targets.signature_of(own), 8)) or setup.assignments[0]
    moved = copy.deepcopy(own)
    trial.randomise(moved, seed=11)
    inputs, shapes = _inputs(setup, own, assignment, device)
    seen: list[Observation] = []
    for name in PROBES:
        module = own if name == _OWN_WEIGHTS else moved
        if time.monotonic() > deadline:
            seen.append(Observation(name, "not applicable", "time ran out"))
            continue
        with imports.quiet():
            seen.append(observe(name, module.to(device), inputs))
    return tuple(seen), shapes


def _inputs(setup: Setup, module: Any, assignment: Assignment, device: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    conditions = drawing.Conditions(device, torch.float32, False, seed=1000)
    inspected = setup.inspected
    made = drawing.make_inputs(setup.specs, assignment, inspected.sizes, inspected.vocabulary, conditions)
    positional = trial.positional_only(targets.signature_of(module))
    places = {name: str(place) for place, name in enumerate(positional)}
    return {places.get(name, name): value for name, value in made.arguments.items()}, made.shapes


def _suited(assignments: list[Assignment]) -> Assignment | None:
    """The assignment that shows most: several entries of a batch, some tokens, lengths that are told apart."""

    def rank(assignment: Assignment) -> tuple[bool, ...]:
        sizes = assignment.sizes
        return (
            sizes.get("b", 2) > 1 and sizes.get("t", 4) in _LENGTHS,
            sizes.get("t", 4) != sizes.get("s", 5),
            sizes.get("b", 2) != sizes.get("t", 4),
        )

    return max(assignments, key=rank, default=None)


def found_inputs(module: torch.nn.Module) -> dict[str, Any]:
    """Arguments with which ``module``, as it is, can be called: found by what exceptions teach. Raises NoInputs."""
    cls = type(module)
    try:
        source = Path(inspect.getsourcefile(cls) or "").read_text(encoding="utf-8")
        tree = parse(source)
    except (OSError, TypeError, SyntaxError, UnicodeDecodeError) as error:
        raise NoInputs(f"the source of {cls.__qualname__} can't be read") from error
    loaded = imports.Loaded(sys.modules[cls.__module__], inspect.getsourcefile(cls) or "", source, tree)
    target = targets.Target(cls.__qualname__, True)
    notes = obstacles.Obstacles(loaded)
    aim = Aim(loaded, frozenset(), False, as_it_is, set(), {})
    with watch(loaded.pseudo) as rows:
        calling = Calling(aim, target, Plan(SIZINGS[0], {}), in_eval(copy.deepcopy(module)), rows, {}, notes)
        setup = calling.find(now() + BUDGET, *_CALLS)
    if setup is None:
        raise NoInputs(f"no arguments were found to call {cls.__qualname__} with{notes.in_words()}")
    signature = targets.signature_of(module)
    assignment = _suited(workable(setup, module, as_it_is, signature, 8)) or setup.assignments[0]
    return _inputs(setup, module, assignment, "cpu")[0]
