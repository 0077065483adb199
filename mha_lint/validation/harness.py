"""Finds a way to run the changed statements with no help from the user, or says why there is none."""

from __future__ import annotations

import ast
import heapq
import inspect
import itertools
import time
import traceback
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import torch

from mha_lint.declared import Declared, stub
from mha_lint.validation import learning, trial
from mha_lint.validation.combinations import combinations, has_tensor, ordered
from mha_lint.validation.construct import completed, filled, plans, variants, without_dropout
from mha_lint.validation.coverage import Rows, Statement, watch
from mha_lint.validation.imports import Loaded, in_one_line, quiet
from mha_lint.validation.inputs import candidates
from mha_lint.validation.inspection import inspect_module, read_forward
from mha_lint.validation.plan import Answers, Plan
from mha_lint.validation.pristine import Pristine
from mha_lint.validation.reading import nodes_of
from mha_lint.validation.setups import Meaning, Setup, workable
from mha_lint.validation.specs import (
    Assignment,
    Constant,
    Spec,
    TensorSpec,
    WrittenSpec,
    as_python,
    describe,
    families,
)
from mha_lint.validation.stubs import StubTouched
from mha_lint.validation.targets import (
    Target,
    function_of,
    has_forward,
    instantiate,
    lookup,
    signature_of,
    targets,
)
from mha_lint.validation.vocabulary import SIZINGS

_ATTEMPTS = 320  # calls of forward for one built instance
_LEARNING = 80  # of them, those that follow what exceptions teach
_LIKELY, _GLANCE = 3, 40  # ways to build a class that are looked at before any gets all of its calls
_COMPLETIONS = 8  # settings of a made-up configuration that exceptions may ask for, one after the other
_TAUGHT = 16  # of them, for one class, those that calls ask for

_LARGEST = 40_000_000  # parameters; beyond, trials take too long


@dataclass(slots=True)
class Search:
    """The search for setups that together run every wanted statement of *before*."""

    loaded: Loaded
    wanted: frozenset[Statement]
    meaning: Meaning
    hints: Mapping[str, tuple[str | int | None, ...]]
    deadline: float
    met: set[Statement] = field(default_factory=set)  # where ``meaning`` notes what it met
    furthest: tuple[int, int, str] = (-1, 0, "")  # wanted statements and rows that the best failure ran; its words
    ran_without_reaching: str = ""
    missing_package: str = ""
    stopped: BaseException | None = None  # what ended the call that got furthest with the plan at hand
    ran_last: int = 0  # rows of the file that the last attempt ran
    failed_plans: int = 0  # instances that were built and could not be called
    any_of: bool = False  # whether one wanted statement is as good as all of them
    declared: tuple[Declared, ...] = ()
    broken: str = ""  # the target whose declared harness did not work
    sketch: tuple[Target, Plan, Mapping[str, Spec]] | None = None  # the attempt that got furthest

    def find(self, symbols: tuple[str, ...]) -> list[Setup]:
        """Setups that together reach the wanted statements, or as many of them as could be reached."""
        return list(self.setups(symbols))

    def why_not(self) -> str:
        """What stood in the way, after a search without a result."""
        if self.missing_package:
            return f": {self.missing_package}"
        if self.ran_without_reaching:
            return f": they did not run in {self.ran_without_reaching}"
        if self.broken:
            return f"; as declared for {self.broken}, {self.furthest[2]}"
        return f"; the attempt that got furthest: {self.furthest[2]}" if self.furthest[2] else ""

    def stub(self, module: str) -> str:
        """A declaration of the attempt that got furthest, for the user to correct; "" where nothing was attempted."""
        if self.sketch is None or self.missing_package:
            return ""
        target, plan, specs = self.sketch
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
        choices = targets(self.loaded, symbols)
        reaching = {target.name for target in choices}
        for declared in self.declared:
            if lookup(self.loaded.module, declared.target) is not None and declared.target not in reaching:
                continue  # it is about other code of the file
            for setup in self._as_declared(declared, frozenset(missing)):
                yield setup
                missing -= setup.covered
            if self.broken or (not missing and not self.any_of):
                return
        if not choices:
            self._note(f"{', '.join(symbols) or 'the changed place'} is no class or function that can be found")
        for count, target in enumerate(choices):
            if time.monotonic() > self.deadline:
                break
            share = (self.deadline - time.monotonic()) / (1 if count + 1 == len(choices) else 2)
            for setup in self._of_target(target, frozenset(missing), time.monotonic() + share):
                yield setup
                missing -= setup.covered
                if not missing and not self.any_of:
                    return

    def _as_declared(self, declared: Declared, wanted: frozenset[Statement]) -> Iterator[Setup]:
        """The setup that the user declared, completed where it leaves something open."""
        thing = lookup(self.loaded.module, declared.target)
        if thing is None:
            self.broken = declared.target
            self._note("the file has no such class or function")
            return
        target = Target(declared.target, isinstance(thing, type))
        given: dict[str, Spec] = {}
        for name, value in (declared.inputs or {}).items():
            shape = isinstance(value, list)
            given[name] = (
                TensorSpec(tuple(value)) if shape else WrittenSpec(value if isinstance(value, str) else repr(value))
            )
        ways: Iterator[Plan] = iter([Plan(SIZINGS[0], {})])
        if isinstance(declared.init, str):
            ways = iter([Plan(SIZINGS[0], {}, written=declared.init)])
        elif declared.init is not None:
            ways = iter([Plan(SIZINGS[0], declared.init)])
        elif target.is_class:
            ways = plans(thing, self.loaded.module, self.loaded.tree)
        for plan in ways:
            if time.monotonic() > self.deadline:
                break
            tried = self._try(target, plan, wanted, self.deadline, given)
            if tried is not None and tried[0] is not None:
                yield replace(tried[0], declared=True)
                return
        self.broken = declared.target

    def _of_target(self, target: Target, wanted: frozenset[Statement], deadline: float) -> Iterator[Setup]:
        missing = set(wanted)
        fruitless = 0
        thing = lookup(self.loaded.module, target.name)
        ways = plans(thing, self.loaded.module, self.loaded.tree) if target.is_class else iter([Plan(SIZINGS[0], {})])
        likely = list(itertools.islice(ways, _LIKELY)) if target.is_class else []
        # Before the first is searched through, the others get a glance.
        glances = deque((plan, (_LEARNING if count == 0 else _GLANCE, 0)) for count, plan in enumerate(likely))
        searches: Iterator[tuple[Plan, tuple[int, int]]] = itertools.chain(
            ((plan, (0, _ATTEMPTS)) for plan in likely),
            ((plan, (max(_LEARNING >> self.failed_plans, 20), _ATTEMPTS)) for plan in ways),
        )
        taught = 0
        while (step := glances.popleft() if glances else next(searches, None)) is not None:
            plan, calls = step
            if time.monotonic() > deadline or fruitless >= 4:
                return
            self.stopped = None
            tried = self._try(target, plan, frozenset(missing), deadline, calls=calls)
            if tried is None or (tried[0] is None and not calls[1]):
                if tried is not None and self.stopped is not None and taught < _TAUGHT:
                    names = learning.settings(self.stopped, self.loaded.pseudo, self.loaded.tree)
                    better = list(itertools.islice(completed(tried[2], names, self.stopped), _COMPLETIONS))
                    taught += len(better)
                    glances.extendleft((other, (_GLANCE, 0)) for other in reversed(better))
                continue
            setup, asked, plan = tried
            fruitless += 1
            others: Iterator[Plan] = iter(())
            if target.is_class and fruitless <= 2:
                others = itertools.chain(
                    variants(thing, plan, self.loaded.module, self.loaded.tree, asked), filled(thing, plan)
                )
            while True:
                if setup is not None and (setup.covered & missing or not self.wanted):
                    yield setup
                    missing -= set() if self.any_of else setup.covered
                if not missing and not self.any_of:
                    return
                other = next(others, None)
                if other is None or time.monotonic() > deadline:
                    break
                again = self._try(target, other, frozenset(missing), deadline)
                setup = again[0] if again is not None else None

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
            if time.monotonic() > deadline:
                return
            if plan is None or plan.arguments in known:
                continue
            known.append(plan.arguments)
            tried = self._try(setup.target, plan, setup.covered, deadline)
            if tried is not None and tried[0] is not None:
                yield tried[0]

    def flipped(self, setup: Setup, deadline: float) -> Iterator[Setup]:
        """The class of ``setup`` built with one boolean argument the other way round, where that runs what it ran."""
        if not setup.target.is_class or setup.plan.written:
            return
        signature = inspect.signature(lookup(self.loaded.module, setup.target.name))
        defaults = {item.name: item.default for item in signature.parameters.values()}
        for name, value in {**defaults, **setup.plan.arguments}.items():
            if time.monotonic() > deadline:
                return
            if not isinstance(value, bool):
                continue
            plan = setup.plan.with_argument(name, not value)
            try:
                with watch(self.loaded.pseudo) as rows:
                    module = instantiate(setup.target, plan, self.loaded.module, seed=0).eval()
                    other = replace(setup, plan=plan, inspected=inspect_module(module, plan.sizing))
                    works = workable(other, module, self.meaning, signature_of(module), 1)
                    covered = all(item.ran(rows.of(self.loaded.pseudo)) for item in setup.covered)
                if works and covered:
                    yield other
            except (Exception, StubTouched):
                continue

    def _flags_flipped(self, setup: Setup, deadline: float) -> Iterator[Setup]:
        """The call of ``setup`` with one boolean argument the other way round."""
        module = instantiate(setup.target, setup.plan, self.loaded.module, seed=0).eval()
        signature = signature_of(module)
        flags = {item.name: item.default for item in signature.parameters.values() if isinstance(item.default, bool)}
        flags |= {name: spec.value for name, spec in setup.specs.items() if spec in (Constant(False), Constant(True))}
        for name, value in flags.items():
            if time.monotonic() > deadline:
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
                self._note(f"{target.name}({plan.describe()}) is too large to run")
                return None
            try:
                plan, module = self._built(target, plan, deadline)
            except (Exception, StubTouched) as error:
                self._note_missing(error)
                words = f"building {target.name}({plan.describe()}) raised {self._told(error)}"
                self._note(words, sketch=(target, plan, given))
                return None
            if not isinstance(module, torch.nn.Module):
                self._note(f"{target.name} builds {type(module).__name__}, which is no module")
                return None
            if sum(value.numel() for value in trial.sized(module)) > _LARGEST:
                self._note(f"{target.name}({plan.describe()}) is too large to run")
                return None
            if not has_forward(module) and type(module).__call__ is torch.nn.Module.__call__:
                self._note(f"{target.name} has no forward")
                return None
            module.eval()
            best = self._call(target, plan, module, wanted, rows, deadline, given, calls)
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
                rows = self._rows(error)
                others = itertools.chain([without_dropout(plan)], completed(plan, names, error))
                for other in itertools.islice(others, 20):
                    try:
                        return other, instantiate(target, other, self.loaded.module, seed=0)
                    except (Exception, StubTouched) as next_error:
                        if self._rows(next_error) > rows:
                            plan = other
                            break
                    if time.monotonic() > deadline:
                        raise first from None
                else:
                    raise first from None
        assert first is not None
        raise first

    def _lacks_a_part(self, error: BaseException, module: Any) -> bool:
        """Whether no input can mend the call: the code needs an attribute of the module that is None."""
        if "'NoneType' object is not callable" in str(error):
            return True
        if not isinstance(error, AttributeError) or "'NoneType'" not in str(error):
            return False
        holders = [
            node.value.attr
            for node in nodes_of(self.loaded.tree)
            if isinstance(node, ast.Attribute) and node.attr == error.name and isinstance(node.value, ast.Attribute)
        ]
        return any(getattr(module, holder, module) is None for holder in holders)

    def _is_too_large(self, target: Target, plan: Plan) -> bool:
        """Whether it has too many parameters to be built in earnest; False where that can't be told without."""
        try:
            with torch.device("meta"):
                module = instantiate(target, plan, self.loaded.module, seed=0)
            return sum(value.numel() for value in trial.sized(module)) > _LARGEST
        except (Exception, StubTouched):
            return False

    def _rows(self, error: BaseException) -> list[int]:
        """The rows of the file that were running when ``error`` was raised, the outermost first."""
        frames = traceback.extract_tb(error.__traceback__)
        return [frame.lineno or 0 for frame in frames if frame.filename == self.loaded.pseudo]

    def _suffices(self, covered: frozenset[Statement], wanted: frozenset[Statement]) -> bool:
        return covered >= wanted or (self.any_of and bool(covered))

    def _note(
        self,
        words: str,
        reached: int = 0,
        ran: int = 0,
        sketch: tuple[Target, Plan, Mapping[str, Spec]] | None = None,
    ) -> None:
        """Keep the failure that got furthest, the first of its kind: it names what really stands in the way."""
        if (reached, ran) > self.furthest[:2] or not self.furthest[2]:
            self.furthest, self.sketch = (reached, ran, words), sketch

    def _told(self, error: BaseException) -> str:
        rows = self._rows(error)
        return in_one_line(error) + (f" at line {rows[-1]}" if rows else "")

    def _note_missing(self, error: BaseException) -> None:
        if isinstance(error, StubTouched) and not self.missing_package:
            self.missing_package = str(error)

    def _call(
        self,
        target: Target,
        plan: Plan,
        module: Any,
        wanted: frozenset[Statement],
        rows: Rows,
        deadline: float,
        given: Mapping[str, Spec],
        calls: tuple[int, int],
    ) -> Setup | None:
        inspected = inspect_module(module, plan.sizing)
        try:
            signature = signature_of(module)
        except (ValueError, TypeError):
            return None
        built = {statement for statement in wanted if statement.ran(rows.of(self.loaded.pseudo))}
        evidence = read_forward(function_of(self.loaded.tree, target, type(module)))
        variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        parameters = [item for item in signature.parameters.values() if item.kind not in variadic]
        takes_any = any(item.kind is inspect.Parameter.VAR_POSITIONAL for item in signature.parameters.values())
        if not parameters and takes_any:
            parameters = [inspect.Parameter("x", inspect.Parameter.POSITIONAL_ONLY)]
        options = {
            item.name: candidates(item, evidence, module, inspected, self.hints.get(item.name), signature)
            for item in parameters
        } | {name: [spec] for name, spec in given.items()}
        names_of_all = dict.fromkeys([*(item.name for item in parameters), *given])
        optional = {item.name for item in parameters if item.default is not item.empty} - given.keys()
        required = [name for name in names_of_all if name not in optional]
        extra = [name for name in names_of_all if name in optional]
        positional = trial.positional_only(signature)
        attempts = 0
        fresh = Pristine(module)
        best: Setup | None = None
        function = function_of(self.loaded.tree, target, type(module))
        raised: BaseException | None = None  # by the last attempt

        def attempt(specs: dict[str, Spec], family: tuple[Assignment, ...]) -> Setup | None:
            nonlocal attempts, raised
            attempts += 1
            raised = None
            rows.of(self.loaded.pseudo).clear()
            self.met.clear()
            conditions = trial.Conditions("cpu", torch.float32, False, seed=0)
            try:
                inputs = trial.make_inputs(specs, family[0], inspected.sizes, inspected.vocabulary, conditions)
                trial.seed_everything(0)
                with quiet(), torch.no_grad(), self.meaning():
                    trial.call(fresh.lend(), inputs, positional)
            except MemoryError:
                raise  # trying on would take the machine's memory again and again
            except (Exception, StubTouched) as error:
                raised = error
                self._note_missing(error)
                shown = ", ".join(f"{name}={describe(spec)}" for name, spec in specs.items())
                ran = rows.of(self.loaded.pseudo)
                self.ran_last = len(ran)
                reached = sum(1 for item in self.wanted if item.ran(ran))
                words = f"calling {target.name} with ({shown}) raised {self._told(error)}"
                self._note(words, reached, len(ran), (target, plan, dict(specs)))
                return None
            covered = frozenset(item for item in wanted if item in built or item.ran(rows.of(self.loaded.pseudo)))
            return Setup(target, plan, dict(specs), family, inspected, covered, frozenset(self.met))

        furthest = (0, False)  # rows that a call ran, and whether a part that the module lacks stopped it

        def learn() -> Iterator[Setup]:
            """Setups found by changing what an exception blames, from the call that ran furthest."""
            nonlocal furthest
            known: set[str] = set()
            queue: list[tuple[int, int, dict[str, Spec], tuple[Assignment, ...]]] = []

            def consider(ran: int, specs: dict[str, Spec], family: tuple[Assignment, ...]) -> None:
                text = f"{specs} {family[0]}"
                if text not in known and has_tensor(specs):
                    known.add(text)
                    heapq.heappush(queue, (-ran, len(known), specs, family))

            for specs in itertools.islice(ordered(required, options), 4):
                consider(0, specs, groups[0])
            while queue and attempts < calls[0] and time.monotonic() < deadline:
                _, _, specs, family = heapq.heappop(queue)
                found = attempt(specs, family)
                if found is not None:
                    yield found
                    continue
                if raised is None:
                    continue
                ran = self.ran_last
                if ran > furthest[0]:
                    self.stopped = raised
                    furthest = ran, self._lacks_a_part(raised, module)
                if key := learning.missing_key(raised, function):
                    extra_one = inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY)
                    options.setdefault(key, candidates(extra_one, evidence, module, inspected, None, signature))
                    for spec in options[key][:4]:
                        consider(ran + 1, {**specs, key: spec}, family)
                    continue
                names = learning.blamed(raised, self.loaded.pseudo, function) or list(specs)
                names = [name for name in names if name in options and name not in given]
                sizes = {**inspected.sizes, **family[0].sizes}
                for place, (name, spec) in enumerate(learning.others(raised, names, specs, options, sizes)):
                    consider(ran - 2 * place, {**specs, name: spec}, family)
                for other_family in learning.other_sizes(raised) if family is groups[0] else ():
                    consider(ran, specs, other_family)

        groups = families(inspected.fixed)
        for learnt in learn():
            if self._suffices(learnt.covered, wanted):
                return learnt
            best = learnt
            break
        if best is None and (furthest[1] or not calls[1]):
            return None
        attempts = 0
        for specs, family in combinations(required, options, groups, lambda: self.ran_last):
            if attempts >= calls[1] or time.monotonic() > deadline:
                break
            found = attempt(specs, family)
            if found is None:
                continue
            if self._suffices(found.covered, wanted):
                return found
            self.ran_without_reaching = found.describe()
            if best is None or len(found.covered) > len(best.covered):
                best = found
            limit = attempts
            for name in extra:  # the changed statements may depend on an argument that has a default
                for spec in options[name][:14]:
                    if attempts > limit + 120 or time.monotonic() > deadline:
                        break
                    other = attempt({**specs, name: spec}, family)
                    if other is not None and len(other.covered) > len(best.covered):
                        best = other
                    if other is not None and self._suffices(other.covered, wanted):
                        return other
            break
        if best is None:  # perhaps an argument that has a default is needed after all
            tensors = [name for name in extra if any(isinstance(spec, TensorSpec) for spec in options[name])]
            for specs in itertools.islice(ordered(required, options), 3):
                for name, family in itertools.product(tensors[:4], groups):
                    for spec in [spec for spec in options[name] if spec != Constant(None)][:3]:
                        if attempts >= 2 * calls[1] or time.monotonic() > deadline:
                            return best
                        found = attempt({**specs, name: spec}, family)
                        if found is not None and self._suffices(found.covered, wanted):
                            return found
                        if found is not None and (best is None or len(found.covered) > len(best.covered)):
                            best = found
        return best
