"""Finds arguments with which a built module, or a function, can be called so that wanted statements run."""

from __future__ import annotations

import ast
import heapq
import inspect
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from msgspec import Struct
from msgspec.structs import replace

from mha_lint.validation.child.imports import Loaded, quiet
from mha_lint.validation.child.stubs import StubTouched
from mha_lint.validation.search import learning
from mha_lint.validation.search.clock import now
from mha_lint.validation.search.combinations import combinations, has_tensor, ordered
from mha_lint.validation.search.inputs import candidates
from mha_lint.validation.search.inspection import Evidence, inspect_module, read_forward
from mha_lint.validation.search.obstacles import Obstacles
from mha_lint.validation.search.plan import Plan
from mha_lint.validation.search.reading import keyword_texts, keywords_beside, nodes_of
from mha_lint.validation.search.setups import Meaning, Setup
from mha_lint.validation.search.specs import Assignment, Constant, Spec, TensorSpec, describe, families
from mha_lint.validation.search.targets import Target, function_of, signature_of
from mha_lint.validation.trials import drawing, trial
from mha_lint.validation.trials.coverage import Rows, Statement
from mha_lint.validation.trials.pristine import Pristine

_NAMED_SIDES = 5  # rows by which sides of an image that a message names are preferred to other arguments
_CHANCE = 12  # rows by which lengths that a layer has as its width come after other arguments
_UNDIVIDED = 16  # calls in which a size can't be divided; where they don't help, the module must have other sizes
_MENDED = 3  # changes to an optional argument that an exception may ask for

Family = tuple[Assignment, ...]


class Aim(Struct, frozen=True):
    """State what calls are made for. ``wanted`` statements are to run; with ``any_of``, one of them suffices.

    ``trained`` collects setups that run more of them in train mode; None counts what runs in either mode.
    """

    loaded: Loaded
    wanted: frozenset[Statement]
    any_of: bool
    meaning: Meaning
    met: set[Statement]  # where ``meaning`` notes what it met
    hints: Mapping[str, tuple[str | int | None, ...]]
    trained: list[Setup] | None = None

    def suffices(self, covered: frozenset[Statement]) -> bool:
        return covered >= self.wanted or (self.any_of and bool(covered))


class Calling:
    """The search for arguments for one module. ``rows`` are those that building it ran, watched ever since.

    ``given`` are arguments that are settled.
    """

    def __init__(
        self, aim: Aim, target: Target, plan: Plan, module: Any, rows: Rows, given: Mapping[str, Spec], notes: Obstacles
    ) -> None:
        self.aim, self.target, self.plan, self.given, self.notes = aim, target, plan, given, notes
        self.module = module
        self.fresh = Pristine(module)
        self.rows = rows.of(aim.loaded.pseudo)
        self.built = {statement for statement in aim.wanted if statement.ran(self.rows)}
        self.function = function_of(aim.loaded.tree, target, module)
        self.evidence = read_forward(self.function)
        self.inspected = inspect_module(module, plan.sizing)
        self.signature = signature_of(module)
        self.positional = trial.positional_only(self.signature)
        parameters = _parameters(self.signature)
        self.options = {item.name: self._candidates(item) for item in parameters}
        self.options |= {name: [spec] for name, spec in given.items()}
        optional = {item.name for item in parameters if item.default is not item.empty} - given.keys()
        self.required = [name for name in self.options if name not in optional]
        self.extra = [name for name in self.options if name in optional]
        self._add_written()
        self.groups = families(self.inspected.fixed)
        self.attempts = 0
        self.raised: BaseException | None = None  # by the last attempt
        self.ran_last = 0  # rows of the file that the last failure ran
        self.best: Setup | None = None

    def find(self, deadline: float, lessons: int, attempts: int) -> Setup | None:
        """The setup that suffices, or else the one that covers most.

        Of the calls, ``lessons`` follow what exceptions teach, then ``attempts`` go through the candidates.
        """
        furthest, lacking = 0, False
        for setup in self._learnt(deadline, lessons):
            if setup is not None:
                self.best = setup
                break
            if self.ran_last > furthest and self.raised is not None:
                furthest, lacking = self.ran_last, self._lacks_a_part(self.raised)
                self.notes.stopped = self.raised
        if (self.best and self.aim.suffices(self.best.covered)) or not attempts or (lacking and not self.best):
            return self.best
        self.attempts = 0
        for setup in itertools.chain(self._searched(deadline, attempts), self._with_more(deadline, 2 * attempts)):
            if self.best is None or len(setup.covered) > len(self.best.covered):
                self.best = setup
            if self.aim.suffices(setup.covered):
                return setup
        return self.best

    def _attempt(self, specs: dict[str, Spec], family: Family) -> Setup | None:
        self.attempts += 1
        self.raised = None
        self.rows.clear()
        self.aim.met.clear()
        conditions = drawing.Conditions("cpu", torch.float32, False, seed=0)
        inspected = self.inspected
        try:
            inputs = drawing.make_inputs(specs, family[0], inspected.sizes, inspected.vocabulary, conditions)
            trial.seed_everything(0)
            with quiet(), torch.no_grad(), self.aim.meaning():
                trial.call(self.fresh.lend(), inputs, self.positional)
        except MemoryError:
            raise  # trying on would take the machine's memory again and again
        except (Exception, StubTouched) as error:
            self.raised = error
            self.ran_last = len(self.rows)
            shown = ", ".join(f"{name}={describe(spec)}" for name, spec in specs.items())
            words = f"calling {self.target} with ({shown}) raised {self.notes.told(error)}"
            reached = sum(1 for item in self.aim.wanted if item.ran(self.rows))
            sketch = None if self.target.method else (self.target, self.plan, dict(specs))
            self.notes.note(words, reached, self.ran_last, sketch)
            return None
        setup = Setup(self.target, self.plan, dict(specs), family, inspected, self._covered(), frozenset(self.aim.met))
        if not self.aim.suffices(setup.covered):
            return self._train(setup, inputs)
        return setup

    def _covered(self) -> frozenset[Statement]:
        return frozenset(item for item in self.aim.wanted if item in self.built or item.ran(self.rows))

    def _train(self, setup: Setup, inputs: drawing.Inputs) -> Setup:
        """The setup with what it runs in train mode.

        Where those that run more in train mode are collected, it stays as it is, and a copy is kept there.
        """
        kept = self.aim.trained or []
        known = frozenset[Statement]().union(*(each.covered for each in kept))
        if self.aim.suffices(known):
            return setup
        try:
            trial.seed_everything(0)
            with quiet(), torch.no_grad(), self.aim.meaning():
                trial.call(self.fresh.lend(training=True), inputs, self.positional)
        except (Exception, StubTouched):
            return setup  # it works in eval mode, which is enough
        covered = self._covered()
        if self.aim.trained is None:
            return replace(setup, covered=setup.covered | covered)
        if covered - known - setup.covered:
            self.aim.trained.append(replace(setup, covered=covered))
        return setup

    def _learnt(self, deadline: float, lessons: int) -> Iterator[Setup | None]:
        """Yield the result of each attempt that changes what an exception blames, from the call that ran furthest."""
        known: set[str] = set()
        queue: list[tuple[int, int, dict[str, Spec], Family]] = []

        def consider(ran: int, specs: dict[str, Spec], family: Family) -> None:
            text = f"{specs} {family[0]}"
            if text not in known and has_tensor(specs):
                known.add(text)
                heapq.heappush(queue, (-ran, len(known), specs, family))

        undivided = 0
        for specs in itertools.islice(ordered(self.required, self.options), 4):
            consider(0, specs, self.groups[0])
        while queue and self.attempts < lessons and now() < deadline:
            _, _, specs, family = heapq.heappop(queue)
            yield self._attempt(specs, family)
            if self.raised is None:
                continue
            if learning.divisors(self.raised):
                undivided += 1
                if undivided > _UNDIVIDED:
                    return
            ran = self.ran_last
            if key := learning.missing_key(self.raised, self.function):
                parameter = inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY)
                self.options.setdefault(key, self._candidates(parameter))
                for spec in self.options[key][:4]:
                    consider(ran + 1, {**specs, key: spec}, family)
                continue
            names = learning.blamed(self.raised, self.aim.loaded.pseudo, self.function) or list(specs)
            names = [name for name in names if name in self.options and name not in self.given]
            sizes = {**self.inspected.sizes, **family[0].sizes}
            for place, (name, spec) in enumerate(learning.others(self.raised, names, specs, self.options, sizes)):
                consider(ran - 2 * place, {**specs, name: spec}, family)
            for other_family in learning.other_sides(self.raised):
                consider(ran + _NAMED_SIDES, specs, other_family)
            for other_family in learning.other_sizes(self.raised, family) if family is self.groups[0] else ():
                is_width = other_family[0].sizes["H"] in self.inspected.widths  # as many places as features, by chance
                consider(ran - _CHANCE if is_width else ran, specs, other_family)

    def _searched(self, deadline: float, attempts: int) -> Iterator[Setup]:
        """The first combination of candidates that works, then others for what has a default."""
        for specs, family in combinations(self.required, self.options, self.groups, lambda: self.ran_last):
            if self.attempts >= attempts or now() > deadline:
                return
            found = self._attempt(specs, family)
            if found is None:
                continue
            yield found
            self.notes.ran_without_reaching = found.describe()
            limit = self.attempts + 120
            for name in self.extra:  # the wanted statements may depend on an argument that has a default
                for spec in self.options[name][:14]:
                    if self.attempts > limit or now() > deadline:
                        return
                    for mended in self._mended({**specs, name: spec}, name, family):
                        other = self._attempt(mended, family)
                        if other is not None:
                            yield other
                            break
            return

    def _mended(self, specs: dict[str, Spec], name: str, family: Family) -> Iterator[dict[str, Spec]]:
        """The arguments, then what the last exception says that one of them ought to be instead."""
        yield specs
        error = self.raised
        if error is not None:
            sizes = {**self.inspected.sizes, **family[0].sizes}
            others = itertools.chain(
                learning.lengthened(specs[name], error, sizes), learning.resized(specs[name], error, sizes)
            )
            for spec in itertools.islice(others, _MENDED):
                yield {**specs, name: spec}

    def _with_more(self, deadline: float, attempts: int) -> Iterator[Setup]:
        """Where nothing works: perhaps an argument that has a default is needed after all."""
        if self.best is not None:
            return
        tensors = [name for name in self.extra if any(isinstance(spec, TensorSpec) for spec in self.options[name])]
        for specs in itertools.islice(ordered(self.required, self.options), 3):
            for name, family in itertools.product(tensors[:4], self.groups):
                for spec in [spec for spec in self.options[name] if spec != Constant(None)][:3]:
                    if self.attempts >= attempts or now() > deadline:
                        return
                    found = self._attempt({**specs, name: spec}, family)
                    if found is not None:
                        yield found

    def _candidates(self, parameter: inspect.Parameter) -> list[Spec]:
        hint = self.aim.hints.get(parameter.name)
        return candidates(parameter, self.evidence, self.module, self.inspected, hint, self.signature)

    def _add_written(self) -> None:
        """Put first what the file's own calls hand over in texts, with the numbers that they name beside them."""
        tree = self.aim.loaded.tree
        is_open = self.function is not None and self.function.args.kwarg is not None
        for name in [name for name in self.required if name not in self.given]:
            texts = keyword_texts(name, tree)
            if not texts or self.evidence.get(name, Evidence()).is_used_as_tensor:
                continue
            self.options[name] = [*map(Constant, texts), *self.options[name]]
            for beside in keywords_beside(name, tree) if is_open else ():
                if beside not in self.options:  # the axes of a pattern: 1 divides all sizes
                    self.options[beside] = [Constant(1), Constant(2)]
                    self.required.append(beside)

    def _lacks_a_part(self, error: BaseException) -> bool:
        """Tell whether no input can mend the call: the code needs an attribute of the module that is None."""
        if "'NoneType' object is not callable" in str(error):
            return True
        if not isinstance(error, AttributeError) or "'NoneType'" not in str(error):
            return False
        holders = [
            node.value.attr
            for node in nodes_of(self.aim.loaded.tree)
            if isinstance(node, ast.Attribute) and node.attr == error.name and isinstance(node.value, ast.Attribute)
        ]
        return any(getattr(self.module, holder, self.module) is None for holder in holders)


def _parameters(signature: inspect.Signature) -> list[inspect.Parameter]:
    """The parameters to find arguments for; for ``*args`` alone, a first one."""
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = [item for item in signature.parameters.values() if item.kind not in variadic]
    takes_any = any(item.kind is inspect.Parameter.VAR_POSITIONAL for item in signature.parameters.values())
    if not parameters and takes_any:
        return [inspect.Parameter("x", inspect.Parameter.POSITIONAL_ONLY)]
    return parameters
