"""Record what the probes of a correction have shown: before wrong, after right, or neither.

A probe is asked to insist, since it is the fix that says what must hold. Where after violates it all the same, the
probe is asked once more, whether the property is one that the code means to have: if it is, after is refuted; if it is
not, the probe says nothing about this code.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from msgspec import Struct, field

from mha_lint.findings import Axes
from mha_lint.validation.child import imports
from mha_lint.validation.probes import Observation, observe
from mha_lint.validation.trials import drawing
from mha_lint.validation.trials.case import Case
from mha_lint.validation.trials.pairing import Refuted
from mha_lint.validation.trials.record import Noting

_ANSWERS = 2  # that a probe has to give of one setup and device
_OF_EVAL = "eval determinism"  # the probe of what eval mode alone has to have


class Shown(Struct):
    """Record, by probe, the devices on which before was shown wrong and after right, and what before did."""

    axes: tuple[Axes, ...] = ()
    devices: dict[str, set[str]] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    counterexample: str = ""
    _pending: dict[str, tuple[str, str]] = field(default_factory=dict)  # device and counterexample, of one setup
    _answers: dict[str, int] = field(default_factory=dict)  # how often the probe told wrong from right, of one setup
    _void: set[str] = field(default_factory=set)  # probes of what the code does not mean to have under that setup

    def wants(self, probe: str) -> bool:
        """Tell whether the probe is to be asked once more: two answers of one setup suffice."""
        return self._answers.get(probe, 0) < _ANSWERS

    def on(self, devices: Iterable[str]) -> bool:
        """Tell whether one probe has shown on all of them that before is wrong, and after right."""
        return any(seen >= set(devices) for seen in self.devices.values())

    def in_words(self) -> str:
        return "; ".join(f"{probe}: {words}" for probe, words in self.words.items())

    def judge(self, case: Case, seen: tuple[Observation, Observation], note: Noting) -> str:
        """Keep what one probe says of both texts, and say it in words. Raise Refuted where after violates it."""
        before, after = seen
        probe = before.probe
        wrong = before.outcome == "violated"
        if after.outcome == "violated":
            meant = observed(case, probe, self.axes, insist=False)
            if not any(each.outcome == "violated" for each in meant):
                self._void.add(probe)
                self.words.setdefault(probe, f"neither text has it, nor means to ({meant[1].words})")
                return f"{probe}: {self.words[probe]}"
            if wrong:
                self.counterexample = self.counterexample or note.counterexample(before.words)
            detail = f"after {'still ' if wrong else ''}violates {probe}: {after.words}"
            note("differ", None, detail)
            raise Refuted(note.counterexample(detail))
        if probe not in self.words or before.outcome != "not applicable":  # to one token, most are not
            self.words[probe] = _told(before)
        if wrong and after.outcome == "holds":
            self._answers[probe] = self._answers.get(probe, 0) + 1
            self._pending.setdefault(probe, (case.conditions.device, note.counterexample(before.words)))
            return f"before violates {probe}: {before.words}"
        return f"{probe}: {_told(before)}" + (f"; after: {_told(after)}" if wrong else "")

    def pass_by(self, seen: Iterable[tuple[Observation, Observation]]) -> None:
        """Keep that nothing is wrong in eval mode where the flagged lines, which run in train mode, do not run.

        That says nothing of a property that code has to have in train mode too.
        """
        for before, _ in seen:
            if before.probe == _OF_EVAL and before.outcome == "holds":
                self.words.setdefault(before.probe, f"{_told(before)}; the flagged lines do not run there")

    def close(self) -> None:
        """The trials of one setup on one device are over: what was shown counts, unless after failed it elsewhere."""
        for probe, (device, counterexample) in self._pending.items():
            if probe not in self._void:
                self.devices.setdefault(probe, set()).add(device)
                self.counterexample = self.counterexample or counterexample
        self._answers.clear()
        self._pending.clear()
        self._void.clear()


def _told(seen: Observation) -> str:
    return f"{seen.outcome} ({seen.words})" if seen.words else seen.outcome


def observed(
    case: Case,
    probe: str,
    known: Iterable[Axes],
    tell: Callable[[str], None] = lambda _: None,
    *,
    insist: bool = True,
) -> tuple[Observation, Observation]:
    """Return what the probe says of before and of after. ``known`` is what the rule knows of the inputs."""
    found: list[Observation] = []
    for text, copies in zip(("before", "after"), case.copies, strict=True):
        tell(f"{text}: probing {probe} on {case.conditions.device}")
        named, axes = named_arguments(case), named_axes(case, known)
        with default_dtype(case.conditions), imports.quiet():
            module, seed = copies.lend(training=False), case.conditions.seed
            found.append(observe(probe, module, named, seed=seed, insist=insist, axes=axes))
    return found[0], found[1]


def named_arguments(case: Case) -> dict[str, Any]:
    """The arguments of the call as probes take them: what is given by place stands under its number."""
    arguments = case.make().arguments
    places = places_of(case.positional, arguments)
    return {places.get(name, name): value for name, value in arguments.items()}


def named_axes(case: Case, known: Iterable[Axes]) -> dict[str, Axes]:
    """What is known of the arguments' dimensions, under the names that probes know the arguments by."""
    places = places_of(case.positional, case.make().arguments)
    return {places.get(axes.parameter, axes.parameter): axes for axes in known}


def places_of(positional: Iterable[str], arguments: Iterable[str]) -> dict[str, str]:
    """The numbers of those arguments that are given by place."""
    given = [name for name in positional if name in arguments]
    return {name: str(place) for place, name in enumerate(given)}


@contextlib.contextmanager
def default_dtype(conditions: drawing.Conditions) -> Iterator[None]:
    """The default dtype that the conditions ask for."""
    usual = torch.get_default_dtype()
    try:
        if conditions.default:
            torch.set_default_dtype(conditions.dtype)
        yield
    finally:
        torch.set_default_dtype(usual)
