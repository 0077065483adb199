"""Finds a way to run the changed statements with no help from the user, or says why there is none."""

from __future__ import annotations

import inspect
import itertools
from collections import deque
from collections.abc import Iterator, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any

import torch
from msgspec import Struct, field
from msgspec.structs import replace

from mha_lint.declared import Declared, stub
from mha_lint.validation.child.imports import Loaded, quiet
from mha_lint.validation.child.stubs import StubTouched, missing_base
from mha_lint.validation.search import factories, learning
from mha_lint.validation.search.branches import flags_before
from mha_lint.validation.search.calling import Aim, Calling
from mha_lint.validation.search.clock import now
from mha_lint.validation.search.construct import (
    apart,
    by_other_kernels,
    divided,
    filled,
    multiplied,
    part_of,
    plans,
    rounded,
    variants,
    without_dropout,
)
from mha_lint.validation.search.inspection import inspect_module
from mha_lint.validation.search.mending import completed, mended, with_parts
from mha_lint.validation.search.obstacles import Obstacles
from mha_lint.validation.search.plan import Answers, Plan, in_eval
from mha_lint.validation.search.setups import Meaning, Setup, workable
from mha_lint.validation.search.specs import (
    Constant,
    MadeSpec,
    Spec,
    TensorSpec,
    WrittenSpec,
    as_python,
    is_of_any_size,
)
from mha_lint.validation.search.targets import (
    Target,
    has_forward,
    instantiate,
    is_handed_its_arguments,
    lookup,
    owner_of,
    signature_of,
    targets,
)
from mha_lint.validation.search.vocabulary import SIZINGS
from mha_lint.validation.trials import trial
from mha_lint.validation.trials.coverage import Statement, watch

_ATTEMPTS = 320  # calls of forward for one built instance
_LEARNING = 80  # of them, those that follow what exceptions teach
_LIKELY, _GLANCE = 3, 40  # ways to build a class that are looked at before any gets all of its calls
_COMPLETIONS = 8  # settings of a made-up configuration that exceptions may ask for, one after the other
_TAUGHT = 16  # of them, for one class, those that calls ask for
_OF_SETTINGS = (TypeError, ZeroDivisionError)  # what a setting of the wrong kind raises; shapes are another matter

_LARGEST = 40_000_000  # parameters; beyond, trials take too long


class Search(Struct, dict=True):
    """The search for setups that together run every wanted statement of *before*."""

    loaded: Loaded
    wanted: frozenset[Statement]
    meaning: Meaning
    hints: Mapping[str, tuple[str | int | None, ...]]
    deadline: float
    met: set[Statement] = field(default_factory=set)  # where ``meaning`` notes what it met
    methods: bool = True  # whether a method alone is as good as the module
    as_handed: bool = False  # whether what the file calls itself counts only with the arguments that it is handed there
    any_of: bool = False  # whether one wanted statement is as good as all of them
    declared: tuple[Declared, ...] = ()
    known: tuple[Setup, ...] = ()  # ways in which another text of the file was run
    failed_plans: int = 0  # instances that were built and could not be called
    trained: list[Setup] = field(default_factory=list)  # with ``as_handed``: what reaches more in train mode alone

    @cached_property
    def notes(self) -> Obstacles:
        return Obstacles(self.loaded)

    def find(self, symbols: tuple[str, ...]) -> list[Setup]:
        """Setups that together reach the wanted statements, or as many of them as could be reached."""
        return list(self.setups(symbols))

    def stub(self, module: str) -> str:
        """A declaration of the attempt that got furthest, for the user to correct; "" where nothing was attempted."""
        if self.notes.sketch is None or self.notes.missing_package:
            return ""
        target, plan, specs = self.notes.sketch
        inputs: dict[str, list[str | int] | str] = {}
        for name, spec in specs.items():
            plain = isinstance(spec, TensorSpec) and spec.kind == "float"
            inputs[name] = list(spec.dims) if plain and isinstance(spec, TensorSpec) else as_python(spec)
        if not specs and target.is_class:  # it could not be built: its inputs are anybody's guess
            forward = inspect.signature(lookup(self.loaded.module, target.name).forward)
            for item in list(forward.parameters.values())[1:]:
                if item.default is item.empty and item.kind is item.POSITIONAL_OR_KEYWORD:
                    inputs[item.name] = ["b", "t", plan.sizing.width]
        return stub(module, target.name, plan.as_written() if target.is_class else None, inputs)

    def setups(self, symbols: tuple[str, ...]) -> Iterator[Setup]:
        """Setups, each of which reaches statements that the ones before it did not; with ``any_of``, any of them."""
        missing = set(self.wanted)
        choices = [each for each in targets(self.loaded, symbols) if self._counts(each)]
        reaching = {target.name for target in choices}
        for declared in self.declared:
            if lookup(self.loaded.module, declared.target) is not None and declared.target not in reaching:
                continue  # it is about other code of the file
            for setup in self._as_declared(declared, frozenset(missing)):
                yield setup
                missing -= setup.covered
            if self.notes.broken or (not missing and not self.any_of):
                return
        if not choices and (inherited := self._missing_base(symbols)):
            self.notes.missing_package = inherited
        elif not choices:
            what = ", ".join(symbols) or "the changed place"
            left = f": importing the file ends at line {self.loaded.left} with SystemExit" if self.loaded.left else ""
            self.notes.note(f"{what} is no class or function that can be found{left}")
        for count, target in enumerate(choices):
            if now() > self.deadline:
                break
            share = (self.deadline - now()) / (1 if count + 1 == len(choices) else 2)
            for setup in self._of_target(target, frozenset(missing), now() + share):
                yield setup
                missing -= setup.covered
                if not missing and not self.any_of:
                    return

    def _missing_base(self, symbols: tuple[str, ...]) -> str:
        """The words that name a missing package of which an owner of the symbols inherits a class."""
        owners = [lookup(self.loaded.module, owner_of(self.loaded.module, symbol) or "") for symbol in symbols]
        told = [missing_base(owner) for owner in owners if isinstance(owner, type)]
        return next(filter(None, told), "")

    def _counts(self, target: Target) -> bool:
        """Return True where a call of the target with made-up arguments says something of the code."""
        if target.method and not self.methods:
            return False
        return not (self.as_handed and is_handed_its_arguments(self.loaded.tree, target))

    def _as_declared(self, declared: Declared, wanted: frozenset[Statement]) -> Iterator[Setup]:
        """The setup that the user declared, completed where it leaves something open."""
        thing = lookup(self.loaded.module, declared.target)
        if thing is None:
            self.notes.broken = declared.target
            self.notes.note("the file has no such class or function")
            return
        target = Target(declared.target, isinstance(thing, type))
        given: dict[str, Spec] = {}
        for name, value in (declared.inputs or {}).items():
            shape = isinstance(value, list)
            given[name] = (
                TensorSpec(tuple(value)) if shape else WrittenSpec(value if isinstance(value, str) else repr(value))
            )
        ways: Iterator[Plan] = iter([Plan(SIZINGS[0], {})])
        if declared.factory:
            try:
                with quiet():
                    given |= {
                        name: MadeSpec(declared.factory, thing, name)
                        for name in factories.made(declared.factory, thing, {})[1] or {}
                    }
            except (Exception, StubTouched) as error:
                self.notes.broken = declared.target
                self.notes.note(f"calling {declared.factory} raised {self.notes.told(error)}")
                return
            ways = iter([Plan(SIZINGS[0], {}, factory=declared.factory)])
        elif isinstance(declared.init, str):
            ways = iter([Plan(SIZINGS[0], {}, written=declared.init)])
        elif declared.init is not None:
            ways = iter([Plan(SIZINGS[0], declared.init)])
        elif target.is_class:
            ways = plans(thing, self.loaded.module, self.loaded.tree)
        for plan in ways:
            if now() > self.deadline:
                break
            tried = self._try(target, plan, wanted, self.deadline, given)
            if tried is not None and tried[0] is not None:
                yield replace(tried[0], declared=True)
                return
        self.notes.broken = declared.target

    def _of_target(self, target: Target, wanted: frozenset[Statement], deadline: float) -> Iterator[Setup]:
        missing = set(wanted)
        for known in self._known_of(target, wanted):
            yield known
            missing -= known.covered
            if not missing:
                return
        fruitless = 0
        thing = lookup(self.loaded.module, target.name)
        ways = plans(thing, self.loaded.module, self.loaded.tree) if target.is_class else iter([Plan(SIZINGS[0], {})])
        if target.handed:
            ways = self._handing(target, ways)
        likely = list(itertools.islice(ways, _LIKELY)) if target.is_class else []
        # Before the first is searched through, the others get a glance.
        glances = deque((plan, (_LEARNING if count == 0 else _GLANCE, 0)) for count, plan in enumerate(likely))
        searches: Iterator[tuple[Plan, tuple[int, int]]] = itertools.chain(
            ((plan, (0, _ATTEMPTS)) for plan in likely),
            ((plan, (max(_LEARNING >> self.failed_plans, 20), _ATTEMPTS)) for plan in ways),
        )
        taught: list[Plan] = []
        while (step := glances.popleft() if glances else next(searches, None)) is not None:
            plan, calls = step
            if now() > deadline or fruitless >= 4:
                return
            self.notes.stopped = None
            tried = self._try(target, plan, frozenset(missing), deadline, calls=calls)
            if tried is None or (tried[0] is None and not calls[1]):
                if tried is not None and self.notes.stopped is not None and len(taught) < _TAUGHT:
                    found = self._taught(thing, tried[2], self.notes.stopped)
                    better = [other for other in found if other not in taught]
                    taught += better
                    glances.extend((other, (_GLANCE, 0)) for other in better)
                continue
            setup, asked, plan = tried
            fruitless += 1
            others: Iterator[Plan] = iter(())
            if fruitless <= 2:
                others = self._flagged(target, plan, missing)
            if target.is_class and fruitless <= 2:
                others = itertools.chain(
                    others, variants(thing, plan, self.loaded.module, self.loaded.tree, asked), filled(thing, plan)
                )
            while True:
                if setup is not None and (setup.covered & missing or not self.wanted):
                    yield setup
                    missing -= set() if self.any_of else setup.covered
                if not missing and not self.any_of:
                    return
                other = next(others, None)
                if other is None or now() > deadline:
                    break
                again = self._try(target, other, frozenset(missing), deadline)
                setup = again[0] if again is not None else None

    def _known_of(self, target: Target, wanted: frozenset[Statement]) -> Iterator[Setup]:
        """Known setups of the target that run all that is wanted, or the first of those that run it together."""
        for setup in self.known:
            if setup.target != target:
                continue
            self.met.clear()
            with watch(self.loaded.pseudo) as rows:
                works = self.takes(setup, first=True)
            seen = rows.of(self.loaded.pseudo)
            covered = frozenset(item for item in wanted if item.ran(seen))
            if works and covered:
                yield replace(setup, covered=covered, met=frozenset(self.met))
                wanted -= covered

    def _taught(self, cls: Any, plan: Plan, error: BaseException) -> list[Plan]:
        """Plans that may avoid what a call of the class raised: other settings, sizes that can be divided."""
        better: list[Plan] = []
        if isinstance(error, _OF_SETTINGS):
            names = learning.settings(error, self.loaded.pseudo, self.loaded.tree)
            better += itertools.islice(completed(plan, names, error, self.loaded), _COMPLETIONS)
        for method in learning.methods_that_set(error, self.loaded.module):
            better.append(replace(plan, prepared_by=method))
        if isinstance(cls, type):
            better += with_parts(cls, plan, error, self.loaded)
        for divisor in learning.divisors(error):
            other = divided(cls, plan, learning.undivided(error, divisor), divisor)
            better += [other] if other is not None else []
            better += rounded(cls, plan, divisor)
        better += multiplied(cls, plan, learning.multiple(error)) if isinstance(cls, type) else ()
        return better

    def _handing(self, target: Target, ways: Iterator[Plan]) -> Iterator[Plan]:
        """The plans for a parent, with the part that it is handed."""
        part = part_of(target.part, self.loaded.module, self.loaded.tree)
        for plan in ways:
            yield plan.with_argument(target.handed, part)

    def _flagged(self, target: Target, plan: Plan, missing: set[Statement]) -> Iterator[Plan]:
        """The plan with one of the flags set that decide whether the missing statements run."""
        rows = frozenset(item.first for item in missing)
        try:
            subject = instantiate(target, plan, self.loaded.module, seed=0)
        except (Exception, StubTouched):
            return
        for flag in flags_before(rows, self.loaded.tree, self.loaded.module, subject):
            yield replace(plan, flags=(flag,))

    def elsewhere(self, setup: Setup, deadline: float) -> Iterator[Setup]:
        """The same target with flags off their defaults, or of other sizes, for what the first setup did not show."""
        thing = lookup(self.loaded.module, setup.target.name)
        yield from self._flags_flipped(setup, deadline)
        if not setup.target.is_class:
            return
        known = [setup.plan.arguments]
        settings = variants(thing, setup.plan, self.loaded.module, self.loaded.tree, {})
        ways = plans(thing, self.loaded.module, self.loaded.tree)
        for plan in itertools.chain.from_iterable(itertools.zip_longest(ways, settings)):
            if now() > deadline:
                return
            if plan is None or plan.arguments in known:
                continue
            known.append(plan.arguments)
            tried = self._try(setup.target, plan, setup.covered, deadline)
            if tried is not None and tried[0] is not None:
                yield tried[0]

    def flipped(self, setup: Setup, deadline: float) -> Iterator[Setup]:
        """The class of ``setup`` with one flag the other way round, or other kernels, where some of the same runs."""
        if not setup.target.is_class or setup.plan.written or setup.plan.factory:
            return
        signature = inspect.signature(lookup(self.loaded.module, setup.target.name))
        defaults = {item.name: item.default for item in signature.parameters.values()}
        values = {**defaults, **setup.plan.arguments}
        flags = [name for name, value in values.items() if isinstance(value, bool)]
        ways = itertools.chain(
            by_other_kernels(setup.plan, self.loaded.tree),
            (setup.plan.with_argument(name, not values[name]) for name in flags),
        )
        for plan in ways:
            if now() > deadline:
                return
            try:
                with watch(self.loaded.pseudo) as rows:
                    module = in_eval(instantiate(setup.target, plan, self.loaded.module, seed=0))
                    other = replace(setup, plan=plan, inspected=inspect_module(module, plan.sizing))
                    works = workable(other, module, self.meaning, signature_of(module), 1)
                    ran = any(item.ran(rows.of(self.loaded.pseudo)) for item in setup.covered)
                if works and (ran or not setup.covered):
                    yield other
            except (Exception, StubTouched):
                continue

    def using(self, symbols: tuple[str, ...], setup: Setup, deadline: float) -> Iterator[Setup]:
        """The classes of the file that build the class of ``setup``, run where the same statements run."""
        own = setup.target
        for target in targets(self.loaded, symbols) if own.is_class and not own.method else ():
            if target.is_class and not target.method and target.name != own.name and now() < deadline:
                yield from itertools.islice(self._of_target(target, setup.covered, deadline), 1)

    def apart(self, setup: Setup, deadline: float) -> Iterator[Setup]:
        """The class of ``setup`` with a width that is not heads × head width, where it takes the three apart."""
        plan = apart(lookup(self.loaded.module, setup.target.name), setup.plan) if setup.target.is_class else None
        tried = None if plan is None else self._try(setup.target, plan, setup.covered, deadline)
        if tried is not None and tried[0] is not None:
            yield tried[0]

    def resized(self, setup: Setup, plan: Plan, deadline: float) -> Setup | None:
        """The target of ``setup`` as a plan of other sizes builds it, called alike; None where it cannot be."""
        given = {name: spec for name, spec in setup.specs.items() if is_of_any_size(spec)}
        tried = self._try(setup.target, plan, setup.covered, deadline, given)
        return None if tried is None else tried[0]

    def takes(self, setup: Setup, *, first: bool = False) -> bool:
        """Tell whether the text builds, and accepts a call, as a setup that another text gave.

        With ``first``, it is to accept the very first sizes, as in a search of its own.
        """
        if lookup(self.loaded.module, setup.target.name) is None:
            return False
        try:
            module = in_eval(instantiate(setup.target, setup.plan, self.loaded.module, seed=0))
            accepted = workable(setup, module, self.meaning, signature_of(module), 1)
            return bool(accepted) and (not first or accepted[0] == setup.assignments[0])
        except (Exception, StubTouched):
            return False

    def _flags_flipped(self, setup: Setup, deadline: float) -> Iterator[Setup]:
        """The call of ``setup`` with one boolean argument the other way round."""
        module = in_eval(instantiate(setup.target, setup.plan, self.loaded.module, seed=0))
        signature = signature_of(module)
        flags = {item.name: item.default for item in signature.parameters.values() if isinstance(item.default, bool)}
        flags |= {name: spec.value for name, spec in setup.specs.items() if spec in (Constant(False), Constant(True))}
        for name, value in flags.items():
            if now() > deadline:
                return
            other = replace(setup, specs={**setup.specs, name: Constant(not value)})
            self.met.clear()
            if workable(other, module, self.meaning, signature, 1):
                yield replace(other, met=frozenset(self.met))

    def _try(
        self,
        target: Target,
        plan: Plan,
        wanted: frozenset[Statement],
        deadline: float,
        given: Mapping[str, Spec] = MappingProxyType({}),
        *,
        calls: tuple[int, int] = (_LEARNING, _ATTEMPTS),
    ) -> tuple[Setup | None, dict[str, Any], Plan] | None:
        """None: it cannot be built. Otherwise the best setup, what the configuration was asked, and the plan as built.

        ``calls`` are how many may follow what exceptions teach, and how many may go through the candidates.
        """
        pseudo = self.loaded.pseudo
        with watch(pseudo) as rows:
            if plan.is_full_size() and self._is_too_large(target, plan):
                self.notes.note(f"{target.name}({plan.describe()}) is too large to run")
                return None
            try:
                plan, module = self._built(target, plan, deadline)
            except (Exception, StubTouched) as error:
                words = f"building {target.name}({plan.describe()}) raised {self.notes.told(error)}"
                self.notes.note(words, sketch=(target, plan, given))
                return None
            if not isinstance(module, torch.nn.Module):
                self.notes.note(f"{target.name} builds {type(module).__name__}, which is no module")
                return None
            if sum(value.numel() for value in trial.sized(module)) > _LARGEST:
                self.notes.note(f"{target.name}({plan.describe()}) is too large to run")
                return None
            if not has_forward(module) and type(module).__call__ is torch.nn.Module.__call__:
                self.notes.note(f"{target.name} has no forward")
                return None
            module.eval()
            trained = self.trained if self.as_handed else None
            aim = Aim(self.loaded, wanted, self.any_of, self.meaning, self.met, self.hints, trained)
            try:
                signature_of(module)
            except (ValueError, TypeError):
                return None
            calling = Calling(aim, target, plan, module, rows, given, self.notes)
            best = calling.find(deadline, *calls)
            self.failed_plans += best is None and bool(calls[1])
        configs = [value for value in vars(module).values() if isinstance(value, Answers)]
        asked = {name: value for config in configs for name, value in config.asked().items()}
        return best, asked, plan

    def _built(self, target: Target, plan: Plan, deadline: float) -> tuple[Plan, Any]:
        """The target, built; where its configuration is made up, with the answers that exceptions ask for."""
        first: BaseException | None = None
        for _ in range(_COMPLETIONS):
            try:
                return plan, instantiate(target, plan, self.loaded.module, seed=0)
            except (Exception, StubTouched) as error:
                first = first or error
                names = learning.settings(error, self.loaded.pseudo, self.loaded.tree)
                rows = self.notes.rows(error)
                if target.is_class:
                    cls = lookup(self.loaded.module, target.name)
                    changed = mended(cls, plan, error, self.loaded)
                else:
                    changed = iter(())
                others = itertools.chain([without_dropout(plan)], completed(plan, names, error, self.loaded), changed)
                for other in itertools.islice(others, 20):
                    try:
                        return other, instantiate(target, other, self.loaded.module, seed=0)
                    except (Exception, StubTouched) as next_error:
                        if self.notes.rows(next_error) > rows:
                            plan = other
                            break
                    if now() > deadline:
                        raise first from None
                else:
                    raise first from None
        assert first is not None
        raise first

    def _is_too_large(self, target: Target, plan: Plan) -> bool:
        """Tell whether it has too many parameters to be built in earnest; False where that can't be told without."""
        try:
            with torch.device("meta"):
                module = instantiate(target, plan, self.loaded.module, seed=0)
            return sum(value.numel() for value in trial.sized(module)) > _LARGEST
        except (Exception, StubTouched):
            return False
