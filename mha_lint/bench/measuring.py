"""Measures one job inside the isolated child: both texts are built at each preset, and called in turns."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import torch
from msgspec import Struct, field
from msgspec.structs import replace

from mha_lint.bench import compiling, memory, scaling, timing
from mha_lint.bench.results import Bench, Left, Timed
from mha_lint.bench.wanted import Preset, presets
from mha_lint.findings import Way
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
_NOT_AGAIN = "no time was left to measure it once more"
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
        measuring = _Measuring(sources, search, setup, tell, measured, presets(device, asked.shapes))
        measuring.measure(device, _limit(device, deadline), compiled=False)
        if device == "cuda" if asked.compiled is None else asked.compiled:
            measuring.measure(device, lambda: time.monotonic() > deadline, compiled=True)
        else:
            measured.left.append(Left(_NOT_COMPILED, device, compiled=True))
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


class _Measured(Struct):
    timed: list[Timed] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    called: str = ""


class _At(Struct, frozen=True):
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


class _Sized(Struct, frozen=True):
    """The module of each text at one preset, and how it is called in each dtype; a text says why it cannot be."""

    setup: Setup
    modules: dict[Side, Any]
    fitted: dict[torch.dtype, scaling.Fitted | str] = field(default_factory=dict)


class _Unsure(Struct, frozen=True):
    """A difference so small that it is measured once more, and where it stands among what was timed."""

    at: _At
    way: Way
    place: int
    seconds: list[list[float]]


class _Measuring(Struct, frozen=True):
    sources: Sources
    search: Search
    setup: Setup
    tell: Tell
    measured: _Measured
    presets: tuple[Preset, ...]

    def measure(self, device: str, is_over: timing.IsOver, *, compiled: bool) -> None:
        """Measure at each preset, in each dtype of the device, as long as there is time.

        The presets take turns: each is measured in one dtype and one way before any is in the next. All are measured
        before one is measured once more.
        """
        sized: dict[str, _Sized | str] = {}
        unsure: list[_Unsure] = []
        first = len(self.measured.timed)
        for dtype in _DTYPES[device]:
            for way in _WAYS:
                for preset in self.presets:
                    at = _At(device, dtype, preset, compiled, is_over)
                    unsure += self._turn(at, way, sized)
        for each in unsure:
            self._once_more(each, sized)
        names = [preset.name for preset in self.presets]
        self.measured.timed[first:] = sorted(self.measured.timed[first:], key=lambda each: names.index(each.preset))

    def _turn(self, at: _At, way: Way, sized: dict[str, _Sized | str]) -> list[_Unsure]:
        """Measure at one preset, in one dtype and way. What is not measured is told, what is refused only once."""
        name = at.preset.name
        if at.is_over():
            self.measured.left.append(at.left(_LATE, way))
            return []
        if name not in sized:
            sized[name] = self._sized(at)
            if isinstance(refused := sized[name], str):
                self.measured.left.append(Left(refused, at.device, preset=name, compiled=at.compiled))
        built = sized[name]
        if isinstance(built, str):
            return []
        try:
            return self._measured(at, way, built)
        finally:
            self._put_away(at, built)

    def _measured(self, at: _At, way: Way, built: _Sized) -> list[_Unsure]:
        is_new = at.dtype not in built.fitted
        fitted = self._fitted(at, built)
        if isinstance(fitted, str):
            if is_new:
                self.measured.left.append(at.left(fitted))
            return []
        self.measured.called = built.setup.describe()
        try:
            with self._maybe_compiled(at, built.modules) as modules:
                timed, seconds = self._timed(at, fitted, modules, way)
        except (timing.TooSlow, _NoGradient) as error:
            self.measured.left.append(at.left(str(error), way))
            return []
        except (Exception, stubs.StubTouched) as error:  # the user's own code, or no memory
            self.measured.left.append(at.left(f"it raised {imports.in_one_line(error)}", way))
            return []
        self.measured.timed.append(timed)
        is_near = timed.difference != "no difference" and 1 / _NEAR < timed.ratio < _NEAR
        return [_Unsure(at, way, len(self.measured.timed) - 1, seconds)] if is_near else []

    def _once_more(self, unsure: _Unsure, sized: dict[str, _Sized | str]) -> None:
        """Measure a small difference once more, at another place in memory; where no time is left, tell so."""
        at, way, built = unsure.at, unsure.way, sized[unsure.at.preset.name]
        assert isinstance(built, _Sized)
        if at.is_over():
            self.measured.left.append(at.left(_NOT_AGAIN, way))
            return
        earlier = self.measured.timed[unsure.place]
        try:
            fitted = self._fitted(at, built)
            assert not isinstance(fitted, str)
            with self._maybe_compiled(at, built.modules) as modules, _quiet(way):
                both = self._ready(at, fitted, modules, way)
                for call in both:
                    call()
                again = timing.in_turns(both, at.device, at.is_over, again=True)
        except (Exception, stubs.StubTouched):  # it ran before: no memory, or no time, is left
            self.measured.left.append(at.left(_NOT_AGAIN, way))
            return
        finally:
            self._put_away(at, built)
        seconds = [one + more for one, more in zip(unsure.seconds, again, strict=True)]
        before, after = map(timing.spread, seconds)
        self.measured.timed[unsure.place] = replace(earlier, before=before, after=after)

    def _sized(self, at: _At) -> _Sized | str:
        """Both texts at the size of a preset, or why they cannot be built."""
        self.tell(f"before: building {self.setup.target} at the size {at.preset.name}")
        until = now() + _FITTING
        try:
            setup = scaling.resized(self.search, self.setup, at.preset, until)
            conditions = drawing.Conditions(at.device, at.dtype, False, seed=0)
            setup = scaling.lengthened(self.search, setup, at.preset, conditions, until)
            return _Sized(setup, self._built(setup))
        except scaling.Refusal as error:
            return str(error)
        except (Exception, stubs.StubTouched) as error:  # the user's own code
            return f"building it raised {imports.in_one_line(error)}"

    def _fitted(self, at: _At, built: _Sized) -> scaling.Fitted | str:
        """How the modules, which are moved to the device, are called in a dtype, or why they cannot be."""
        try:
            for module in built.modules.values():
                module.to(device=at.device, dtype=at.dtype)
            if at.dtype not in built.fitted:
                conditions = drawing.Conditions(at.device, at.dtype, False, seed=0)
                before = built.modules["before"]
                built.fitted[at.dtype] = scaling.fitted(self.search, built.setup, before, at.preset, conditions)
        except scaling.Refusal as error:
            built.fitted[at.dtype] = str(error)
        except RuntimeError as error:
            built.fitted[at.dtype] = f"moving the module raised {imports.in_one_line(error)}"
        return built.fitted[at.dtype]

    def _put_away(self, at: _At, built: _Sized) -> None:
        """Leave the device to the preset whose turn it is next."""
        if at.device != "cpu":
            for module in built.modules.values():
                module.to(device="cpu")
        _let_memory_go(at.device)

    @contextlib.contextmanager
    def _maybe_compiled(self, at: _At, modules: dict[Side, Any]) -> Iterator[dict[Side, Any]]:
        if not at.compiled:
            yield modules
            return
        with compiling.compilation() as compiled:
            yield {side: compiled(module) for side, module in modules.items()}

    def _built(self, setup: Setup) -> dict[Side, Any]:
        """The module of each text, with the same weights: those that the constructor leaves."""
        before = scaling.module_of(setup, self.sources.before.module)
        after = scaling.module_of(setup, self.sources.after.module)
        after.load_state_dict(before.state_dict())
        return {"before": before, "after": after}

    def _timed(
        self, at: _At, fitted: scaling.Fitted, modules: Mapping[Side, Any], way: Way
    ) -> tuple[Timed, list[list[float]]]:
        """What was measured, and the seconds of each measurement, of before and of after."""
        with _quiet(way):
            both = self._ready(at, fitted, modules, way)
            peaks = [memory.peak(call, at.device) for call in both]
            seconds = timing.in_turns(both, at.device, at.is_over)
        before, after = map(timing.spread, seconds)
        shapes = both[0].shapes
        timed = Timed(at.device, at.dtype_name, at.preset.name, shapes, way, at.compiled, before, after, *peaks)
        return timed, seconds

    def _ready(self, at: _At, fitted: scaling.Fitted, modules: Mapping[Side, Any], way: Way) -> list[_Called]:
        """The calls of both sides, compiled if they are to be."""
        both = self._calls(at, fitted, modules, way)
        if at.compiled:
            for call in both:
                compiling.warm_up(call)
        return both

    def _calls(self, at: _At, fitted: scaling.Fitted, modules: Mapping[Side, Any], way: Way) -> list[_Called]:
        calls = []
        for side, module in modules.items():
            self.tell(f"{side}: {way} at the size {at.preset.name} on {at.device}")
            calls.append(_Called.of(side, module, at, fitted, way))
        _let_memory_go(at.device)
        return calls


class _Called(Struct, frozen=True):
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


@contextlib.contextmanager
def _quiet(way: Way) -> Iterator[None]:
    with imports.quiet(), torch.set_grad_enabled(way == "training"):
        yield


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
