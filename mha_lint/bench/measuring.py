"""Measures one job inside the isolated child: both texts are built at each preset, and called in turns."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch

from mha_lint.bench import compiling, memory, scaling, timing
from mha_lint.bench.results import Bench, Left, Timed, Way
from mha_lint.bench.wanted import Preset, presets
from mha_lint.validation.child import imports, isolation, stubs
from mha_lint.validation.child.messages import Time
from mha_lint.validation.search import targets
from mha_lint.validation.search.clock import now
from mha_lint.validation.search.harness import Search
from mha_lint.validation.search.setups import Setup, as_it_is
from mha_lint.validation.trials import drawing, trial
from mha_lint.validation.trials.pairing import AfterBroken, Sources, load_sources

_DTYPES = {"cpu": (torch.float32,), "cuda": (torch.bfloat16, torch.float32)}
_WAYS: tuple[Way, ...] = ("forward", "training")
_SEARCH = 10.0  # seconds for a way to run it, which the trials have found before
_FITTING = 5.0  # seconds for one preset
_EAGER = {"cpu": 15.0, "cuda": 60.0}  # seconds for one fix, so that a run with many of them ends
_NEAR = 1.5  # medians that differ by less than this factor are measured once more before they are said to differ
_LATE = "no time was left"
_NOT_COMPILED = "--bench-compile asks for it"

Tell = Callable[[str], None]
Side = Literal["before", "after"]


def bench(asked: Time, deadline: float, tell: Tell, known: list[Setup]) -> Bench:
    """Before and after, timed. ``known`` are ways in which the file was run."""
    job, devices = asked.job, asked.devices
    found = Bench(device_names=tuple(sorted(devices.items())), torch_version=str(torch.__version__))
    stubs.disarm()
    tell("the import of the file")
    try:
        sources = load_sources(job)
    except (imports.CannotLoad, AfterBroken) as error:
        return replace(found, reason=str(error))
    stubs.arm()
    memory.keep_freed()
    torch.set_deterministic_debug_mode("default")  # a user does not compute the same each time either
    tell("the search for a way to run it")
    search = Search(
        sources.before,
        sources.wanted,
        as_it_is,
        job.hints,
        now() + _SEARCH,
        declared=job.declared,
        known=tuple(known),
    )
    setup = next(iter(search.find(job.symbols)), None)
    if setup is None:
        return replace(found, reason=f"no way was found to run the changed lines as a whole{search.notes.in_words()}")
    measured = _Measured()
    for device in sorted(devices):
        if device == "cuda":
            isolation.release_memory()
        is_over = _limit(device, deadline)
        measuring = _Measuring(sources, search, setup, tell, measured)
        for preset in presets(device, asked.shapes):
            measuring.preset(device, preset, is_over, compiled=False)
        if not (device == "cuda" if asked.compiled is None else asked.compiled):
            measured.left.append(Left(_NOT_COMPILED, device, compiled=True))
            continue
        for preset in presets(device, asked.shapes):
            measuring.preset(device, preset, lambda: time.monotonic() > deadline, compiled=True)
    return replace(found, timed=tuple(measured.timed), left=tuple(measured.left), called=measured.called)


def _limit(device: str, deadline: float) -> timing.IsOver:
    """The limit of what is timed eagerly.

    On the CPU it is one of processor time, so that a busy machine times what a quiet one does.
    """
    clock = now if device == "cpu" else time.monotonic
    until = clock() + _EAGER[device]
    return lambda: clock() > until or time.monotonic() > deadline


class _NoGradient(Exception):
    """Nothing can be trained."""


@dataclass(slots=True)
class _Measured:
    timed: list[Timed] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    called: str = ""


@dataclass(frozen=True, slots=True)
class _At:
    """The conditions of a measurement, in words where something is left out."""

    device: str
    dtype: torch.dtype
    preset: Preset
    compiled: bool
    is_over: timing.IsOver

    @property
    def dtype_name(self) -> str:
        return str(self.dtype).removeprefix("torch.")

    def left(self, why: str, way: Way | Literal[""] = "") -> Left:
        return Left(why, self.device, self.dtype_name, self.preset.name, way, self.compiled)


@dataclass(frozen=True, slots=True)
class _Measuring:
    sources: Sources
    search: Search
    setup: Setup
    tell: Tell
    measured: _Measured

    def preset(self, device: str, preset: Preset, is_over: timing.IsOver, *, compiled: bool) -> None:
        """Measure at one preset, in each dtype of the device, as long as there is time."""

        def leave_out(why: str) -> None:
            self.measured.left.append(Left(why, device, preset=preset.name, compiled=compiled))

        if is_over():
            leave_out(_LATE)
            return
        self.tell(f"before: building {self.setup.target} at the size {preset.name}")
        try:
            setup = scaling.resized(self.search, self.setup, preset, now() + _FITTING)
            modules = self._built(setup)
        except scaling.Refusal as error:
            leave_out(str(error))
            return
        except (Exception, stubs.StubTouched) as error:  # the user's own code
            leave_out(f"building it raised {imports.in_one_line(error)}")
            return
        for dtype in _DTYPES[device]:
            self._dtype(_At(device, dtype, preset, compiled, is_over), setup, modules)
        modules.clear()
        _let_memory_go(device)

    def _built(self, setup: Setup) -> dict[Side, Any]:
        """The module of each text, with the same weights: those that the constructor leaves."""
        before = scaling.module_of(setup, self.sources.before.module)
        after = scaling.module_of(setup, self.sources.after.module)
        after.load_state_dict(before.state_dict())
        return {"before": before, "after": after}

    def _dtype(self, at: _At, setup: Setup, modules: dict[Side, Any]) -> None:
        conditions = drawing.Conditions(at.device, at.dtype, False, seed=0)
        try:
            for module in modules.values():
                module.to(device=at.device, dtype=at.dtype)
            fitted = scaling.fitted(self.search, setup, modules["before"], at.preset, conditions)
        except scaling.Refusal as error:
            self.measured.left.append(at.left(str(error)))
            return
        except RuntimeError as error:
            self.measured.left.append(at.left(f"moving the module raised {imports.in_one_line(error)}"))
            return
        self.measured.called = setup.describe()
        for way in _WAYS:
            if not at.compiled:
                self._measure(at, fitted, modules, way)
                continue
            with compiling.compilation() as compiled:
                self._measure(at, fitted, {side: compiled(module) for side, module in modules.items()}, way)

    def _measure(self, at: _At, fitted: scaling.Fitted, modules: Mapping[Side, Any], way: Way) -> None:
        if at.is_over():
            self.measured.left.append(at.left(_LATE, way))
            return
        try:
            self.measured.timed.append(self._timed(at, fitted, modules, way))
        except (timing.TooSlow, _NoGradient) as error:
            self.measured.left.append(at.left(str(error), way))
        except (Exception, stubs.StubTouched) as error:  # the user's own code, or no memory
            self.measured.left.append(at.left(f"it raised {imports.in_one_line(error)}", way))

    def _timed(self, at: _At, fitted: scaling.Fitted, modules: Mapping[Side, Any], way: Way) -> Timed:
        with imports.quiet(), torch.set_grad_enabled(way == "training"):
            both = self._calls(at, fitted, modules, way)
            if at.compiled:
                for call in both:
                    compiling.warm_up(call)
            peaks = [memory.peak(call, at.device) for call in both]
            seconds = timing.in_turns(both, at.device, at.is_over)
            timed = self._with(at, way, both, seconds)
            if timed.difference != "no difference" and 1 / _NEAR < timed.ratio < _NEAR:
                both = self._calls(at, fitted, modules, way)  # at another place in memory
                again = timing.in_turns(both, at.device, at.is_over)
                timed = self._with(at, way, both, [one + more for one, more in zip(seconds, again, strict=True)])
        return replace(timed, memory_before=peaks[0], memory_after=peaks[1])

    def _calls(self, at: _At, fitted: scaling.Fitted, modules: Mapping[Side, Any], way: Way) -> list[_Called]:
        calls = []
        for side, module in modules.items():
            self.tell(f"{side}: {way} at the size {at.preset.name} on {at.device}")
            calls.append(_Called.of(side, module, at, fitted, way))
        _let_memory_go(at.device)
        return calls

    def _with(self, at: _At, way: Way, calls: list[_Called], seconds: list[list[float]]) -> Timed:
        before, after = map(timing.spread, seconds)
        return Timed(at.device, at.dtype_name, at.preset.name, calls[0].shapes, way, at.compiled, before, after)


@dataclass(frozen=True, slots=True)
class _Called:
    """One call of a module with the same inputs each time; in train mode, with the backward pass."""

    side: Side
    module: Any
    places: tuple[Any, ...]
    named: Mapping[str, Any]
    leaves: tuple[torch.Tensor, ...]  # where gradients arrive
    cotangents: tuple[torch.Tensor, ...]  # one for each output that has a gradient; none where it runs forward alone
    shapes: tuple[str, ...]

    @classmethod
    def of(cls, side: Side, module: Any, at: _At, fitted: scaling.Fitted, way: Way) -> _Called:
        """The call, ready to be made. Raises what a first call raises, and _NoGradient where it has no gradient."""
        training = way == "training"
        subject = getattr(module, "_orig_mod", module)  # of a compiled one
        subject.train(training)
        with torch.set_grad_enabled(training):
            inputs = fitted.inputs(drawing.Conditions(at.device, at.dtype, training, seed=0))
        named = dict(inputs.arguments)
        places = tuple(
            named.pop(name) for name in trial.positional_only(targets.signature_of(subject)) if name in named
        )
        leaves = (*inputs.leaves.values(), *subject.parameters()) if training else ()
        cotangents: tuple[torch.Tensor, ...] = ()
        if training:
            with imports.quiet():
                cotangents = tuple(map(torch.ones_like, _roots(subject(*places, **named))))
            if not cotangents:
                raise _NoGradient("no output has a gradient")
        return cls(side, module, places, named, leaves, cotangents, inputs.shapes)

    def __call__(self) -> None:
        result = self.module(*self.places, **self.named)
        if self.cotangents:
            trial.run_backward(_roots(result), list(self.cotangents))
            for leaf in self.leaves:  # as the step of an optimizer lets them go
                leaf.grad = None


def _roots(result: Any) -> list[torch.Tensor]:
    """The outputs that a backward pass begins at."""
    return list(_with_gradients(result))


def _with_gradients(result: Any) -> Iterator[torch.Tensor]:
    if isinstance(result, torch.Tensor):
        values = [result]
    else:
        values = [value for _, value in trial.flatten(result, "") if isinstance(value, torch.Tensor)]
    for value in values:
        if value.requires_grad:
            yield value


def _let_memory_go(device: str) -> None:
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
