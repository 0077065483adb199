"""Compare a rewrite that calls ``F.scaled_dot_product_attention`` under each kernel that this function can take.

Code that computes attention by hand has one order of sums; torch chooses among the kernels by device, dtype, shapes,
mask and dropout. So each kernel is forced in trials of its own, with every dropout at zero. With dropout at work only
the math kernel draws the random numbers that code by hand draws, and both are compared under that one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from msgspec import Struct, field
from msgspec.structs import replace

from mha_lint.validation.child.imports import in_one_line
from mha_lint.validation.relations.claim import Extra
from mha_lint.validation.search.setups import Setup
from mha_lint.validation.trials import dropouts, kernels, spread, trial
from mha_lint.validation.trials.case import Case
from mha_lint.validation.trials.pairing import Pair
from mha_lint.validation.trials.record import DTYPES, HALF, Noting

_SETUPS = 4  # ways to run it in which each kernel is tried: inputs and masks decide which of them serve
_SHAPES = 2
_ON_CPU = (*DTYPES["cpu"], torch.bfloat16)
_STATE = "CUDA random state"
_TAKING_ALL = ("", kernels.MATH)  # torch chooses, or the kernel takes all inputs
_FORWARD = trial.Way(backward=False)
NO_SECOND = "its gradients have no gradients of their own, except under attention's math kernel: torch raises an error"


class _Asked(Struct, frozen=True):
    """The modes (true for training) in which each text calls the fused function, and in which before draws numbers."""

    by_before: frozenset[bool]
    by_after: frozenset[bool]
    drawn: frozenset[bool]


class Fused(Struct):
    """What was learnt of the kernels so far: the setups that ask for one, and what ran and was refused."""

    setups: list[Setup] = field(default_factory=list)
    ran: dict[tuple[str, str], set[str]] = field(default_factory=dict)  # dtypes, by device and kernel
    raised: dict[tuple[str, str], str] = field(default_factory=dict)  # errors that refuse no inputs, by the same
    has_drawn: bool = False  # a trial with dropout at work was compared under the math kernel
    spreads: bool = False  # before spreads the scores of one token over a mask for several, and after raises
    loses_second: bool = False  # before has gradients of gradients, and after has them under the math kernel alone
    _last: tuple[Pair, _Asked] | None = None

    def prepared(self, case: Case, tell: Callable[[str], None]) -> Case:
        """The case, with the kernel under which both texts draw the same random numbers."""
        asked = self._asked(case, tell)
        training = case.conditions.training
        if training not in asked.by_after:
            return case
        if self.takes(case) and not case.conditions.kernel and case.setup not in self.setups:
            self.setups.append(case.setup)
        if case.conditions.kernel or training not in asked.drawn:
            return case
        self.has_drawn = True
        return _under(case, kernels.MATH)

    def takes(self, case: Case) -> bool:
        """Tell whether after takes a kernel of attention in the mode of the case, and before takes none."""
        asked = self._asked(case)
        return case.conditions.training in asked.by_after - asked.by_before

    def takes_kernel(self, pair: Pair) -> bool:
        """Tell whether after takes a kernel of attention, in one mode at least, where before takes none."""
        asked = self._known(pair)
        return asked is not None and bool(asked.by_after - asked.by_before)

    def kernel_in_training(self, pair: Pair) -> str:
        """The kernel that after has to take in train mode to draw what before draws; "" for any."""
        asked = self._known(pair)
        return kernels.MATH if asked is not None and True in asked.drawn & asked.by_after else ""

    def extras(self, module: Any, device: str) -> Iterator[Extra]:
        """The trials of each kernel of the device, in both modes, with every dropout at zero."""
        dtypes = _ON_CPU if device == "cpu" else DTYPES[device]
        for setup in self.setups[:_SETUPS]:
            undropped = dropouts.dropping(setup, module, rate=0.0) or setup
            yield Extra(undropped, dtypes, shapes=_SHAPES, rate=0.0, kernels=kernels.on(device))

    def draws_otherwise(self, case: Case, before: trial.Seen) -> bool:
        """Tell whether a kernel is forced that does not draw the random numbers which before draws.

        The math kernel computes in float32 what is in half precision, and CUDA draws otherwise for that.
        """
        at = case.conditions
        in_half = at.kernel == kernels.MATH and at.device == "cuda" and at.dtype in HALF
        return (in_half or at.kernel not in _TAKING_ALL) and trial.drew(before, at)

    def as_compared(self, case: Case, before: trial.Seen, after: trial.Seen) -> trial.Seen:
        """The run of after with CUDA's random state of before, under a forced kernel that has nothing to draw.

        A kernel may count numbers that it does not draw. Where torch itself chooses that kernel, this is compared.
        """
        if case.conditions.kernel in _TAKING_ALL or before.error is not None:
            return after
        states = dict(before.effects)
        effects = [(name, states[name] if name == _STATE else value) for name, value in after.effects]
        return replace(after, effects=effects)

    def agrees(self, case: Case) -> None:
        """Note that the case agreed, under the kernel that it forces."""
        at = case.conditions
        if at.kernel:
            self.ran.setdefault((at.device, at.kernel), set()).add(at.name)

    def refuses(self, note: Noting, after: BaseException | None) -> bool:
        """Note an error of a forced kernel that torch might never choose; the math kernel takes all inputs."""
        at = note.conditions
        if at.kernel in _TAKING_ALL or after is None:
            return False
        words = "does not take these inputs"
        if not kernels.is_refused(after):
            words = f"raises {in_one_line(after)}"
            self.raised[at.device, at.kernel] = words
        note("skipped", None, f"attention's {at.kernel} kernel {words}")
        return True

    def caveats(self) -> str:
        """What after does not do that before does, in words."""
        return "; ".join([NO_SECOND] * self.loses_second + [spread.TOLD] * self.spreads)

    def told(self, devices: list[str]) -> str:
        """Under which kernels the two were compared, and under which they were not, in words."""
        if not self.setups:
            return ""
        parts = []
        for device in devices:
            ran, never = [], []
            for kernel in kernels.on(device):
                dtypes = self.ran.get((device, kernel))
                if dtypes:
                    ran.append(f"{kernel} ({', '.join(sorted(dtypes))})")
                else:
                    raised = self.raised.get((device, kernel))
                    never.append(f"{kernel} ({raised})" if raised else kernel)
            parts.append(f"attention's kernels on {device}, each forced: {', '.join(ran) or 'none'}")
            parts += [f"never ran there: {', '.join(never)}"] if never else []
        if self.has_drawn:
            parts.append("with dropout at work the math kernel alone was compared, since others draw other numbers")
        return "; ".join(parts)

    def _known(self, pair: Pair) -> _Asked | None:
        """What was found out of a pair; None where none of its cases was prepared."""
        return self._last[1] if self._last is not None and self._last[0] is pair else None

    def _asked(self, case: Case, tell: Callable[[str], None] = lambda words: None) -> _Asked:
        if self._last is None or self._last[0] is not case.pair:
            self._last = case.pair, _found_out(case, tell)
        return self._last[1]


def _found_out(case: Case, tell: Callable[[str], None]) -> _Asked:
    """Run both texts with no kernel to take: what asks for one raises."""
    modes = (True, False)
    tell("after: asking for a kernel of attention")
    by_after = frozenset(training for training in modes if _is_without(case, 1, training))
    tell("before: asking for a kernel of attention")
    by_before = frozenset(training for training in by_after if _is_without(case, 0, training))
    drawn = frozenset(training for training in by_after if _draws(case, training))
    return _Asked(by_before, by_after, drawn)


def _is_without(case: Case, which: int, training: bool) -> bool:
    at = replace(case.conditions, training=training, kernel=kernels.NONE)
    return kernels.is_refused(_run(replace(case, conditions=at), which).error)


def _draws(case: Case, training: bool) -> bool:
    at = replace(case, conditions=replace(case.conditions, training=training, kernel=""))
    seen = _run(at, 0)
    return seen.error is None and trial.drew(seen, at.conditions)


def _run(case: Case, which: int) -> trial.Seen:
    return trial.run(case.copies[which], case.make, case.positional, case.conditions, way=_FORWARD)


def _under(case: Case, kernel: str) -> Case:
    return replace(case, conditions=replace(case.conditions, kernel=kernel))
