"""Calls at the edges of what a module takes: sizes that coincide, odd values and storage, half types, wrong inputs.

Each odd thing is met in one call. What before does not accept is left out, and so is what it computes too
inexactly to tell anything. Results may differ by rounding; all else that a call leaves is the same.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from msgspec import Struct, field
from msgspec.structs import replace
from torch.nn.parameter import is_lazy

from mha_lint.validation.child.imports import in_one_line, quiet
from mha_lint.validation.relations import reruns, rounding, roundings
from mha_lint.validation.search.setups import Meaning, Setup
from mha_lint.validation.search.specs import Assignment
from mha_lint.validation.trials import arguments, drawing, kernels, process_state, refusals, spread, trial, wrong_inputs
from mha_lint.validation.trials.odd_inputs import (
    ALL_ONE,
    MASKS,
    NOT_FINITE,
    PLAIN,
    WEIGHTS,
    Row,
    Valued,
    conditions_of,
    in_words,
    masked,
    masks_of,
    one_for_all,
    stored,
    way_of,
)
from mha_lint.validation.trials.odd_results import (
    is_nowhere_a_number,
    swallowed,
    unlike,
    where_finite,
    with_empty_gradients,
)
from mha_lint.validation.trials.pairing import Pair
from mha_lint.validation.trials.pristine import Pristine, copied
from mha_lint.validation.trials.second_derivatives import derived, far_apart
from mha_lint.validation.trials.uses import Misuse
from mha_lint.validation.trials.widened import Casts, widened

_WIDE = 128  # tokens in a batch of 9, where there are to be as many as features
_WIDEST = 1024  # tokens in a batch of 1
_UNDIFFERENTIABLE = "derivative for aten::"  # how torch says that a kernel of its own has no second derivative


class _Ran(Struct):
    """Hold what one call left of the module and of the process."""

    seen: trial.Seen
    left: process_state.Left


class Extremes(Struct, frozen=True):
    """Compare before, as it means, and after in calls with odd sizes, values, dtypes and layouts in memory."""

    setup: Setup
    pair: Pair
    assignments: list[Assignment]
    meaning: Meaning
    relation: str
    usual: process_state.Settings  # those of torch and the process before the user's code ran
    device: str = "cpu"
    only_floats: bool = False  # what is changed has a meaning for inputs that are floats alone
    kernel_of_nan: str = ""  # that attention has to take where an input is not finite: others may give 0 for NaN
    kernel_in_training: str = ""  # that it has to take in train mode, to draw the random numbers that before draws
    by_kernel: bool = False  # after takes a kernel of attention that before does not
    copies: dict[tuple[str, bool, float], Pristine] = field(default_factory=dict)
    spread: list[Row] = field(default_factory=list)  # in which before spread the scores of one token over a mask

    def difference(self) -> Misuse | None:
        """The first call in which both differ, in words; None where they agree in all."""
        sizes = self._sizes()
        for row in self._rows(sizes):
            if found := self._at(row, sizes[row["sizes"]]):
                return found
        return self.odd_gradients() or self.left_settings() or self.second_derivative() or self.removed_check()

    def under_autocast(self) -> Misuse | None:
        """Return the difference of both under autocast, in words; None where they agree."""
        return self._at({**PLAIN, "dtype": "autocast"}, self.assignments[0])

    def odd_masks(self) -> Misuse | None:
        """The first call in which both differ though masks alone are odd: they hide all, nothing, or a part."""
        first = self.assignments[0]
        if not masks_of(self._made(first, conditions_of(PLAIN))):
            return None
        for values, mode in itertools.product(MASKS, ("train", "eval")):
            if found := self._at({**PLAIN, "values": values, "mode": mode}, first):
                return found
        return None

    def _rows(self, sizes: Mapping[str, Assignment]) -> Iterator[Row]:
        """One call for each odd size, odd value and odd dtype; ways to lie in memory, and modes, take turns.

        Two that are odd never meet: each hides where an element comes from, and a half type rounds what they show.
        """
        # A repair may put a mask value within the range of a half type: scores beyond that range would tell it apart.
        huge = () if self.relation == "repaired" else ("spike", "spike in float64", "large")
        # A new projection mixes all features, at the identity too: what is not finite spreads.
        unbounded = () if self.relation == "extended" else NOT_FINITE
        odd = [{"sizes": name} for name in sizes if name != PLAIN["sizes"]]
        odd += [{"values": name} for name in (*huge, *unbounded, "zeros", "ones", "tiny")]
        odd += [{"values": name} for name in WEIGHTS] if huge else []
        alike = [name for name, each in sizes.items() if self._are_several(each)]
        odd += [{"storage": "one for all", "sizes": name} for name in alike[:1]]
        odd += [{"storage": "expanded"}, {"dtype": "bfloat16"}, {"dtype": "autocast"}, {"dtype": "float16"}]
        storages = itertools.cycle(("plain", "offset", "strided", *self._of_images()))
        modes = itertools.cycle(("eval", "train"))
        for each in odd:
            row = {**PLAIN, "storage": next(storages), "mode": next(modes), **each}
            if row["dtype"] != "float32":  # dropout may be drawn otherwise
                row["mode"] = "eval"
            yield row

    def _at(self, row: Row, assignment: Assignment) -> Misuse | None:
        """Return how both differ in this call; where before does not accept it, in a plainer one of the same sizes."""
        plainer = {**row, "storage": "plain", "dtype": "float32"}
        for each in [row] if plainer == row else [row, plainer]:
            before = self._run(each, assignment, of_after=False)
            if before.seen.error is not None:
                continue
            if each["values"] in NOT_FINITE and not self._is_finite({**each, "values": "drawn"}, assignment):
                return None
            words = self._apart(each, assignment, before, self._run(each, assignment, of_after=True))
            if words and self._repeats(each, assignment, before):
                return f"{in_words(each)}: {words}", self._conditions(each), assignment
            return None
        return None

    def _is_finite(self, row: Row, assignment: Assignment) -> bool:
        """Tell whether before gives nothing but numbers there."""
        outputs = self._run(row, assignment, of_after=False).seen.outputs
        return all(bool(left.isfinite().all()) for _, left in outputs if isinstance(left, torch.Tensor))

    def _repeats(self, row: Row, assignment: Assignment, before: _Ran) -> bool:
        """Tell whether before, called alike once more, does the same."""
        again = self._run(row, assignment, of_after=False)
        return not unlike(before.seen, again.seen) and not process_state.apart(before.left, again.left)

    # --- sizes, values and storage

    def _sizes(self) -> dict[str, Assignment]:
        """Assignments in which sizes coincide, by name. Those that change no shape are left out."""
        first = self.assignments[0]
        own = self.setup.inspected.sizes
        heads = own.get("h", 1)
        made = self._made(first, conditions_of(PLAIN))
        width = next((value.shape[-1] for value in made.leaves.values() if value.dim()), 1)
        wanted: dict[str, dict[str, int]] = {
            "b = t = s = heads": {"b": heads, "t": heads, "s": heads},
            "t = s = width": {"b": 9 if width <= _WIDE else 1, "t": width, "s": width},
            "b = 0": {"b": 0},
            "t = 0": {"t": 0, "s": 0},
            "b = 9": {"b": 9},
            "b = t": {"b": first.sizes["t"]},
            ALL_ONE: {"b": 1, "t": 1, "s": 1},
        }
        found = {"as found": first}
        known = {self._shapes(first)}
        for name, sizes in wanted.items():
            assignment = Assignment({**first.sizes, **sizes}, "contiguous")
            if max(assignment.sizes.values()) > _WIDEST:
                continue
            shapes = self._shapes(assignment)
            if shapes not in known:
                known.add(shapes)
                found[name] = assignment
        return found

    def _shapes(self, assignment: Assignment) -> tuple[str, ...]:
        try:
            return self._made(assignment, conditions_of(PLAIN)).shapes
        except (RuntimeError, ValueError, ZeroDivisionError):  # there are no such inputs
            return self._made(self.assignments[0], conditions_of(PLAIN)).shapes

    def _of_images(self) -> tuple[str, ...]:
        made = self._made(self.assignments[0], conditions_of(PLAIN))
        has_images = any(isinstance(value, torch.Tensor) and value.dim() == 4 for value in made.arguments.values())
        return ("channels last",) if has_images else ()

    def _made(self, assignment: Assignment, conditions: drawing.Conditions) -> drawing.Inputs:
        inspected = self.setup.inspected
        return drawing.make_inputs(self.setup.specs, assignment, inspected.sizes, inspected.vocabulary, conditions)

    def _inputs(self, row: Row, assignment: Assignment, conditions: drawing.Conditions) -> drawing.Inputs:
        made = self._made(assignment, conditions)
        valued = (
            masked(made, row["values"]) if row["values"] in MASKS else arguments.changed(made, Valued(row["values"]))
        )
        if row["storage"] == "one for all":
            return one_for_all(valued)
        return arguments.changed(valued, lambda value: stored(value, row["storage"]))

    def _are_several(self, assignment: Assignment) -> bool:
        """Tell whether two inputs of these sizes could be one tensor."""
        made = self._made(assignment, conditions_of(PLAIN))
        shared = one_for_all(made).arguments
        return any(value is not shared[name] for name, value in made.arguments.items())

    # --- calls

    def _module(self, dtype: torch.dtype, *, of_after: bool, values: str = "") -> Pristine:
        factor = WEIGHTS.get(values, 1.0)
        key = str(dtype), of_after, factor
        if key not in self.copies:
            module = self.pair.after if of_after else self.pair.before
            if dtype != torch.float32 or factor != 1.0:
                module = copied(module).to(dtype)
                _enlarge(module, factor, self.pair.gained | self.pair.applied)
            self.copies[key] = Pristine(module, careful=True)
        return self.copies[key]

    def _run(
        self,
        row: Row,
        assignment: Assignment,
        *,
        of_after: bool,
        usual: process_state.Settings | None = None,
    ) -> _Ran:
        conditions = self._conditions(row)
        left = process_state.Left()
        seen = trial.run(
            self._module(conditions.dtype, of_after=of_after, values=row["values"]),
            lambda: self._inputs(row, assignment, conditions),
            self._positional(),
            conditions,
            self._context(row, left, usual or self.usual, of_after=of_after),
            way=way_of(row),
        )
        gained = self.pair.gained | self.pair.applied
        seen.gradients = [item for item in seen.gradients if item[0].removeprefix("gradient of ") not in gained]
        seen.effects = [item for item in seen.effects if item[0].removeprefix("buffer ") not in self.pair.new]
        return _Ran(seen, left)

    def _conditions(self, row: Row) -> drawing.Conditions:
        kernel = self.kernel_in_training if row["mode"] == "train" else ""
        if row["values"] in NOT_FINITE:
            kernel = self.kernel_of_nan
        return replace(conditions_of(row), device=self.device, kernel=kernel)

    def _positional(self) -> tuple[str, ...]:
        return self.pair.positional

    @contextlib.contextmanager
    def _context(
        self, row: Row, left: process_state.Left, usual: process_state.Settings, *, of_after: bool
    ) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._casting(row))
            stack.enter_context(process_state.observed(left, usual))
            if not of_after:
                stack.enter_context(self.meaning())
            yield

    def _casting(self, row: Row) -> contextlib.AbstractContextManager[None]:
        if row["dtype"] != "autocast":
            return contextlib.nullcontext()
        return torch.autocast(self.device, dtype=torch.bfloat16 if self.device == "cpu" else torch.float16)

    # --- comparing

    def _apart(self, row: Row, assignment: Assignment, before: _Ran, after: _Ran) -> str:
        """Describe how two calls differ beyond rounding. Return "" where they do not, or nothing can be told."""
        ours, theirs = before.seen, after.seen
        if isinstance(theirs.error, refusals.NO_ANSWER):
            return ""
        if spread.spreads_scores(theirs.error, partial(self._run, row, assignment, of_after=False)):
            self.spread.append(row)
            return ""
        if theirs.error is not None:
            return f"only after raises {in_one_line(theirs.error)}"
        if words := process_state.apart(before.left, after.left):
            return words
        theirs = with_empty_gradients(ours, theirs)
        words = unlike(ours, theirs)
        if not words:
            return ""
        if lost := swallowed(row["values"], ours, theirs):
            return lost
        subject = copied(self.pair.before)
        _enlarge(subject, WEIGHTS.get(row["values"], 1.0), self.pair.gained | self.pair.applied)
        other = copied(self.pair.after)
        _enlarge(other, WEIGHTS.get(row["values"], 1.0), self.pair.gained | self.pair.applied)
        rerun = reruns.Rerun(
            subject, other, lambda at: self._inputs(row, assignment, at), self._positional(), way_of(row)
        )
        conditions = self._conditions(row)
        if conditions.dtype == torch.float64:
            told = rounding.told_in_float64(rerun, conditions, ours, theirs)
            return words if told == "" else ""
        reference = rounding.in_float64(rerun, conditions, conditions.dtype, ours)
        if reference is None:
            return ""
        first, second, exact = where_finite(ours, theirs, reference)
        # A mask of large numbers leaves scores no digits. What is far off all the same is told.
        is_far = row["values"] in MASKS and not rounding.is_exact_enough(second, first)
        if not rounding.is_exact_enough(first, exact):
            return unlike(first, second) if is_far else ""

        cast = partial(self._casting, row)
        further = (where_finite(seen, theirs, reference)[0] for seen in rerun.rounded_otherwise(conditions, cast))
        if rounding.account(first, second, exact, further, by_kernel=True):
            return ""
        summed = (where_finite(seen, theirs, reference)[0] for seen in rerun.summed_otherwise(conditions, cast))
        if not is_far and not all(rounding.is_exact_enough(seen, exact) for seen in summed):  # before was lucky
            return ""
        return unlike(first, second)

    # --- gradients that are not a number

    def odd_gradients(self) -> Misuse | None:
        """Gradients of after that are numbers where those of before are not, though none is handed in."""
        assignment, conditions = self.assignments[0], conditions_of({**PLAIN, "mode": "train"})
        way = trial.Way(weight=float("nan"))

        def unnumbered(*, of_after: bool) -> list[str] | None:
            """The gradients that are no numbers; None where there is no answer, since the call raises."""
            module = self._module(torch.float32, of_after=of_after)
            context = contextlib.nullcontext() if of_after else self.meaning()

            def make() -> drawing.Inputs:
                return self._made(assignment, conditions)

            ran = trial.run(module, make, self._positional(), conditions, context, way=way)
            if isinstance(ran.error, refusals.NO_ANSWER):
                return None
            gained = self.pair.gained | self.pair.applied
            names = [name for name, value in ran.gradients if is_nowhere_a_number(value)]
            return [name for name in names if name.removeprefix("gradient of ") not in gained]

        ours, theirs = unnumbered(of_after=False), unnumbered(of_after=True)
        lost = [name for name in ours or () if theirs is not None and name not in theirs]
        again = unnumbered(of_after=False) if lost else None
        for name in lost:
            if again is not None and name in again:
                return f"{name} is a number in after alone, where none is handed back", conditions, assignment
        return None

    def left_settings(self) -> Misuse | None:
        """Settings that after alone leaves otherwise, called with those of a process in which nobody set any."""
        left: list[process_state.Left] = []
        for of_after in (False, True):
            with process_state.untouched():
                ran = self._run({**PLAIN}, self.assignments[0], of_after=of_after, usual=process_state.settings())
            left.append(ran.left)
        words = process_state.apart(*left)
        return (words, conditions_of(PLAIN), self.assignments[0]) if words else None

    # --- second derivatives

    def second_derivative(self) -> Misuse | None:
        """Return how gradients of gradients differ, where before has them; None where they agree.

        Some have no digits in float32. So where after takes a kernel, and runs of before that are rounded otherwise are
        about as far apart, they are compared in float64, if before has them there.
        """
        found = self._second_in(torch.float32)
        if found is None or not self.by_kernel:
            return found
        if far := self._second_in(torch.float32, by_chance=True):
            return far
        wide, error = self._second(self.assignments[0], of_after=False, dtype=torch.float64)
        return self._second_in(torch.float64) if wide and error is None else found

    def _second_in(self, dtype: torch.dtype, *, by_chance: bool = False) -> Misuse | None:
        """The same in one dtype; ``by_chance`` allows for as much as runs of before show that are rounded otherwise."""
        assignment, at = self.assignments[0], partial(self._second, dtype=dtype)
        ours, error = at(assignment, of_after=False)
        if error is not None or not ours:
            return None
        theirs, error = at(assignment, of_after=True)
        if isinstance(error, refusals.NO_ANSWER) or _UNDIFFERENTIABLE in str(error):
            return None
        otherwise: list[dict[str, torch.Tensor]] = []
        for rounded in roundings.SEVERAL if by_chance else ():
            with rounded():
                otherwise.append(at(assignment, of_after=False)[0])
        words = far_apart(ours, theirs, otherwise) if error is None else f"only after raises {in_one_line(error)}"
        if not words:
            return None
        again, error = at(assignment, of_after=False)
        if error is not None or far_apart(ours, again):
            return None
        return f"the gradient of a gradient: {words}", replace(conditions_of(PLAIN), dtype=dtype), assignment

    def loses_second_derivative(self) -> bool:
        """Tell whether after has no gradients of gradients by the kernel that torch chooses, where before has some."""
        ours, failed = self._second(self.assignments[0], of_after=False, kernel="")
        if failed is not None or not ours:
            return False
        error = self._second(self.assignments[0], of_after=True, kernel="")[1]
        return _UNDIFFERENTIABLE in str(error)

    def _second(
        self,
        assignment: Assignment,
        *,
        of_after: bool,
        kernel: str = kernels.MATH,
        dtype: torch.dtype = torch.float32,
    ) -> tuple[dict[str, torch.Tensor], BaseException | None]:
        """Second derivatives for inputs and parameters, each weighted at random, or what was raised instead."""
        conditions = replace(conditions_of(PLAIN), dtype=dtype)
        module = self._module(dtype, of_after=of_after).lend()
        inputs = self._made(assignment, conditions)
        trial.seed_everything(conditions.seed)
        generator = torch.Generator().manual_seed(conditions.seed + 1)
        context = contextlib.nullcontext() if of_after else self.meaning()
        try:
            wide = widened(Casts(), also_of_integers=True) if dtype == torch.float64 else contextlib.nullcontext()
            with wide, quiet(), context, kernels.chosen(kernel):  # the math kernel alone has second derivatives
                results = trial.flatten(trial.call(module, inputs, self._positional()), "output")
                named = {**inputs.leaves, **{f"parameter {name}": value for name, value in module.named_parameters()}}
                own = {f"parameter {name}" for name in self.pair.gained | self.pair.applied}
                named = {name: value for name, value in named.items() if value.requires_grad and name not in own}
                learning = [value for _, value in results if isinstance(value, torch.Tensor) and value.requires_grad]
                roots = [value * value for value in learning]  # the gradient that is handed back is to have one as well
                if not roots:
                    return {}, None
                first = derived(roots, list(named.values()), generator, create_graph=True)
                graded = [value if value is None or value.requires_grad else None for value in first]
                if not any(value is not None for value in graded):
                    return {}, None
                second = derived(graded, list(named.values()), generator, create_graph=False)
        except (KeyboardInterrupt, SystemExit) as error:
            return {}, RuntimeError(f"raised {type(error).__name__}")
        except BaseException as error:
            return {}, error
        return {name: value for name, value in zip(named, second, strict=True) if value is not None}, None

    # --- wrong inputs

    def removed_check(self) -> Misuse | None:
        """Return how both differ in what they do with wrong inputs, in words; None where they do not."""
        if self.setup.level == "method":  # its callers may well never hand it what is wrong
            return None
        assignment, conditions = self.assignments[0], conditions_of(PLAIN)
        wrong = wrong_inputs.WrongInputs(
            self.pair.signature,
            lambda: self._made(assignment, conditions),
            self._called_wrong,
            only_floats=self.only_floats,
            by_kernel=self.by_kernel,
        )
        words = wrong.difference()
        return (words, conditions, assignment) if words else None

    def _called_wrong(self, make: Callable[[], drawing.Inputs], of_after: bool, dtype: torch.dtype) -> trial.Seen:
        context = contextlib.nullcontext() if of_after else self.meaning()
        module = self._module(dtype, of_after=of_after)
        conditions = replace(conditions_of(PLAIN), dtype=dtype, widened=dtype == torch.float64)
        way = trial.Way(learns=False, backward=False)
        return trial.run(module, make, self._positional(), conditions, context, way=way)


def _enlarge(module: Any, factor: float, gained: frozenset[str]) -> None:
    """Multiply the parameters, so that results, and scores, grow which a norm bounds whatever the inputs are.

    Those that only after uses, and that are ``gained``, stay the identity.
    """
    with torch.no_grad():
        for name, value in module.named_parameters():
            if name not in gained and value.is_floating_point() and not is_lazy(value):
                value.mul_(factor)
