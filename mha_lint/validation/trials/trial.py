"""One execution of a module under one (device, dtype, shapes, mode), and the comparison of two of them."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import itertools
import math
import random
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from msgspec import Struct, field

from mha_lint.validation.child.imports import quiet
from mha_lint.validation.trials import kernels, numpy_state
from mha_lint.validation.trials.coverage import unwatched
from mha_lint.validation.trials.drawing import Conditions, Inputs
from mha_lint.validation.trials.pristine import Pristine
from mha_lint.validation.trials.widened import Casts, widened


class Seen(Struct):
    """Hold what one execution left behind; ``error`` instead, where it raised."""

    outputs: list[tuple[str, Any]] = field(default_factory=list)
    gradients: list[tuple[str, Any]] = field(default_factory=list)
    effects: list[tuple[str, Any]] = field(default_factory=list)  # inputs, buffers and random states afterwards
    form: Any = None  # the kinds of the containers and tensors that were returned
    shared: dict[str, tuple[str, ...]] = field(default_factory=dict)  # outputs, and what they share memory with
    error: BaseException | None = None


class Way(Struct, frozen=True):
    """Define how a module is called. Without ``learns`` it is under ``no_grad``, and no input needs a gradient.

    Without ``inputs_learn``, parameters alone need one. With ``frozen``, no parameter learns. With ``by_place``,
    arguments are given by their place as far as they can be. Cotangents are multiplied by ``weight``, and lie in memory
    with their last two dims ``turned``.
    """

    learns: bool = True
    inputs_learn: bool = True
    turned: bool = False
    inference: bool = False
    frozen: bool = False
    backward: bool = True
    by_place: tuple[str, ...] = ()
    weight: float = 1.0  # of the cotangents

    def places(self, inputs: Inputs, positional: tuple[str, ...]) -> tuple[str, ...]:
        """The names of the arguments that are given by their place."""
        given = tuple(itertools.takewhile(lambda name: name in inputs.arguments, self.by_place))
        return given if len(given) > len(positional) else positional


TRAINED = Way()
_CLEAR = 1e-3  # of the largest value of a tensor: a difference of more than that is no rounding


def call(module: Any, inputs: Inputs, positional: tuple[str, ...]) -> Any:
    """Call the module; parameters that only take positions get them."""
    named = dict(inputs.arguments)
    places = [named.pop(name) for name in positional if name in named]
    return module(*places, **named)


def positional_only(signature: inspect.Signature) -> tuple[str, ...]:
    kind = inspect.Parameter.POSITIONAL_ONLY
    return tuple(item.name for item in signature.parameters.values() if item.kind is kind)


def seed_everything(seed: int) -> None:
    torch.default_generator.manual_seed(seed)  # torch.manual_seed also records a stack for a CUDA that may never start
    cuda: Any = torch.cuda
    if cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    random.seed(seed)
    numpy_state.seed(seed)


class Lends(Protocol):
    """Hands out a module for one call, in train or eval mode."""

    def lend(self, training: bool = False) -> Any:
        """The module."""
        ...


def run(
    module: torch.nn.Module | Lends,
    make: Callable[[], Inputs],
    positional: tuple[str, ...],
    conditions: Conditions,
    meaning: contextlib.AbstractContextManager[None] | None = None,
    like: Seen | None = None,
    way: Way = TRAINED,
) -> Seen:
    """Forward and backward on a copy of ``module``, or one that it lends.

    Exceptions, StubTouched too, become part of what is seen.

    The cotangents take the values that they took in ``like``, whose outputs may have narrower dtypes.
    """
    seen = Seen()
    usual = torch.get_default_dtype()
    try:
        if conditions.default:
            torch.set_default_dtype(conditions.dtype)
        copies = Pristine(module) if isinstance(module, torch.nn.Module) else module
        subject = copies.lend(conditions.training)
        with torch.set_grad_enabled(way.learns and way.inputs_learn):
            inputs = make()
        if way.frozen:
            subject.requires_grad_(False)
        modes = [part.training for part in subject.modules()]
        earlier = _gradients_before(subject) if way.backward else []
        seed_everything(conditions.seed)
        wide = widened(Casts(), also_of_integers=True) if conditions.widened else contextlib.nullcontext()
        with wide, quiet(), torch.inference_mode(way.inference), torch.set_grad_enabled(way.learns):
            cast = torch.autocast(conditions.device, torch.float16) if conditions.autocast else contextlib.nullcontext()
            with cast, meaning or contextlib.nullcontext(), kernels.chosen(conditions.kernel):
                result = call(subject, inputs, way.places(inputs, positional))
            seen.effects.append(("whether gradients are on", torch.is_grad_enabled()))
            seen.outputs = flatten(result, "output")
            seen.form = form_of(result)
            seen.shared = _sharing(seen.outputs, subject, inputs)
            seen.effects.append(("the modes of its modules", [part.training for part in subject.modules()] == modes))
            seen.effects.append(("gradients that parameters had", all(one.grad is other for one, other in earlier)))
            seen.effects.append(("the names that tensors carry", _carried(seen.outputs, subject, inputs)))
            if way.backward:
                for value, _ in earlier:
                    value.grad = None
                _backward(seen, subject, inputs, conditions, like or seen, way)
        seen.effects += flatten(inputs.arguments, "input")
        seen.effects += [(f"buffer {name}", value) for name, value in subject.named_buffers()]
        seen.effects.append(("random state", torch.get_rng_state()))
        seen.effects.append(("Python's random state", random.getstate()))
        if conditions.device == "cuda":
            seen.effects.append(("CUDA random state", torch.cuda.get_rng_state()))
            torch.cuda.synchronize()
    except (KeyboardInterrupt, SystemExit) as error:
        seen.error = RuntimeError(f"raised {type(error).__name__}")
    except BaseException as error:
        seen.error = error
    finally:
        torch.set_default_dtype(usual)
    return seen


def drew(seen: Seen, conditions: Conditions) -> bool:
    """Tell whether torch's random state after a run is another one than before it."""
    states = dict(seen.effects)
    seed_everything(conditions.seed)
    if not torch.equal(states["random state"], torch.get_rng_state()):
        return True
    on_cuda = states.get("CUDA random state")
    return on_cuda is not None and not torch.equal(on_cuda, torch.cuda.get_rng_state())


@unwatched
def _gradients_before(subject: Any) -> list[tuple[Any, torch.Tensor]]:
    """The parameters that learn, each with a gradient as an earlier ``backward`` would have left it."""
    found: list[tuple[Any, torch.Tensor]] = []
    for value in sized(subject):
        if value.requires_grad and value.is_leaf and value.layout is torch.strided:
            value.grad = value.new_zeros(()).expand(value.shape)
            found.append((value, value.grad))
    return found


def _backward(seen: Seen, subject: Any, inputs: Inputs, conditions: Conditions, like: Seen, way: Way) -> None:
    """Gradients of inputs and parameters for random cotangents, the same for every run with this seed."""
    generator = torch.Generator().manual_seed(conditions.seed + 1)
    roots: list[torch.Tensor] = []
    cotangents: list[torch.Tensor] = []
    for (_, value), (_, model) in zip(seen.outputs, like.outputs, strict=True):
        if isinstance(value, torch.Tensor) and value.requires_grad:
            drawn = torch.randn(value.shape, generator=generator, dtype=torch.float64)
            roots.append(value)
            drawn = (way.weight * drawn).to(value.device, model.dtype).to(value.dtype)
            cotangents.append(drawn.mT.contiguous().mT if way.turned and value.dim() >= 2 else drawn)
    if roots:
        run_backward(roots, cotangents)
    seen.gradients += [(f"gradient of input {name}", leaf.grad) for name, leaf in inputs.leaves.items()]
    seen.gradients += [(f"gradient of {name}", value.grad) for name, value in subject.named_parameters()]


def run_backward(roots: list[torch.Tensor], cotangents: list[torch.Tensor]) -> None:
    """Do what ``torch.autograd.backward`` does, whose checks of shapes import sympy: half a second in each child."""
    run = getattr(torch.autograd.graph, "_engine_run_backward", None)
    if run is None:  # torch before 2.2
        torch.autograd.backward(roots, cotangents)
    else:
        run(tuple(roots), tuple(cotangents), False, False, (), allow_unreachable=True, accumulate_grad=True)


def gradients(
    roots: list[torch.Tensor], cotangents: list[torch.Tensor], leaves: list[torch.Tensor], *, create_graph: bool
) -> tuple[torch.Tensor | None, ...]:
    """Do what ``torch.autograd.grad`` does, without its checks; None for what is not reached."""
    run = getattr(torch.autograd.graph, "_engine_run_backward", None)
    if run is None:  # torch before 2.2
        return torch.autograd.grad(roots, leaves, cotangents, create_graph=create_graph, allow_unused=True)
    found: tuple[torch.Tensor | None, ...] = run(
        tuple(roots), tuple(cotangents), create_graph, create_graph, tuple(leaves), True, accumulate_grad=False
    )
    return found


def flatten(value: Any, path: str) -> list[tuple[str, Any]]:
    """The leaves of nested outputs, with where each was: tuples, lists, mappings, dataclasses."""
    if isinstance(value, Mapping):
        return [leaf for key, item in value.items() for leaf in flatten(item, f"{path}[{key!r}]")] or [(path, "empty")]
    if isinstance(value, (tuple, list)):
        return [leaf for at, item in enumerate(value) for leaf in flatten(item, f"{path}[{at}]")] or [(path, "empty")]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return [leaf for item in fields for leaf in flatten(getattr(value, item.name), f"{path}.{item.name}")]
    if isinstance(value, torch.Tensor) or value is None or isinstance(value, (int, float, str, bool, complex)):
        return [(path, value)]
    kind = (path, type(value).__qualname__)
    if callable(value) or path.count(".") > 3:  # nested deeper, an object may well contain itself
        return [kind]
    attributes = getattr(value, "__dict__", {})
    return [kind, *(leaf for name, item in attributes.items() for leaf in flatten(item, f"{path}.{name}"))]


class Comparison(Struct, frozen=True):
    """``difference`` is empty where everything agrees, to the last bit; ``largest`` is over outputs and gradients.

    It names the first value that differs by more than rounding could put apart, and where there is none the first.
    """

    difference: str
    largest: float


def compare(before: Seen, after: Seen, gained: frozenset[str], applied: frozenset[str] = frozenset()) -> Comparison:
    """Everything that the two executions left, where names in ``gained`` exist in after alone.

    Parameters in ``applied`` exist in both, and only after gives them a gradient. What a subclass of Tensor makes of
    an operation has no say in this.
    """
    with torch._C.DisableTorchFunctionSubclass():
        return _compare(before, after, gained, applied)


def _compare(before: Seen, after: Seen, gained: frozenset[str], applied: frozenset[str]) -> Comparison:
    largest = 0.0
    first = clear = ""
    expected = {f"gradient of {name}" for name in gained | applied}
    unused = {f"gradient of {name}" for name in applied}
    sides = (
        ("outputs", before.outputs, after.outputs),
        (
            "gradients",
            [item for item in before.gradients if item[0] not in unused],
            [item for item in after.gradients if item[0] not in expected],
        ),
        ("effects", before.effects, [item for item in after.effects if item[0].removeprefix("buffer ") not in gained]),
    )
    for kind, ours, theirs in sides:
        if [path for path, _ in ours] != [path for path, _ in theirs]:
            return Comparison(first or f"the structure of the {kind} differs", float("inf"))
        for (path, left), (_, right) in zip(ours, theirs, strict=True):
            problem, distance = differ(left, right)
            if kind != "effects":
                largest = max(largest, distance)
            if problem:
                first = first or f"{path} {problem}"
                clear = clear or (f"{path} {problem}" if distance > _CLEAR * _size(left) else "")
    return Comparison(clear or first, largest)


def _size(value: Any) -> float:
    """The largest absolute value of a tensor; zero for anything else, and where it is not finite."""
    if not isinstance(value, torch.Tensor) or not value.numel():
        return 0.0
    wide = torch.complex128 if value.is_complex() else torch.float64
    size = float(value.detach().to(wide).abs().max())
    return size if math.isfinite(size) else 0.0


def form_of(value: Any, depth: int = 0) -> Any:
    """The kinds of nested containers and of the tensors in them, by name."""
    kind = type(value).__qualname__
    if isinstance(value, Mapping):
        return kind, [form_of(item, depth + 1) for item in value.values()]
    if isinstance(value, (tuple, list)):
        return kind, [form_of(item, depth + 1) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type) and depth < 4:
        return kind, [form_of(getattr(value, item.name), depth + 1) for item in dataclasses.fields(value)]
    return kind


@unwatched
def _sharing(outputs: list[tuple[str, Any]], subject: Any, inputs: Inputs) -> dict[str, tuple[str, ...]]:
    """The inputs, parameters, buffers and earlier outputs that each output shares memory with."""
    held = [*flatten(inputs.arguments, "input"), *subject.named_parameters(), *subject.named_buffers()]
    names: dict[int | None, list[str]] = {}  # by where the memory begins
    for name, item in held:
        names.setdefault(_storage(item), []).append(name)
    found: dict[str, tuple[str, ...]] = {}
    for path, value in outputs:
        if (at := _storage(value)) is not None:
            sharing = names.setdefault(at, [])
            found[path] = tuple(sharing)
            sharing.append(path)
    return found


def _carried(outputs: list[tuple[str, Any]], subject: Any, inputs: Inputs) -> list[str]:
    """The attributes that a call set on tensors: its results, its inputs and the parameters."""
    held = [*outputs, *flatten(inputs.arguments, "input"), *subject.named_parameters()]
    tensors = [(path, value) for path, value in held if isinstance(value, torch.Tensor)]
    return [f"{path}.{name}" for path, value in tensors for name in getattr(value, "__dict__", ())]


def _storage(value: Any) -> int | None:
    """Where the memory of a tensor begins; None for what has none."""
    if not isinstance(value, torch.Tensor) or torch.nn.parameter.is_lazy(value) or value.layout is not torch.strided:
        return None
    return value.untyped_storage().data_ptr() or None


def handed_on(before: Seen, after: Seen, relation: str) -> str:
    """In words, what code that takes the results could tell apart though their values agree; "" where nothing.

    These are the kinds of containers, the memory that results share, and strides which allow fewer views than before.
    What is repaired or extended may copy where before did not; what is corrected may lie in memory as it likes.
    """
    if before.form != after.form:
        return f"the results are {_kinds(before.form)} before and {_kinds(after.form)} after"
    if relation == "corrected":
        return ""
    with torch._C.DisableTorchFunctionSubclass():
        for (path, left), (_, right) in zip(before.outputs, after.outputs, strict=False):
            ours, theirs = set(before.shared.get(path, ())), set(after.shared.get(path, ()))
            if theirs - ours or (ours != theirs and relation == "equivalent"):
                names = [", ".join(sorted(each)) or "nothing" for each in (ours, theirs)]
                return f"{path} shares memory with {names[0]} before and with {names[1]} after"
            tensors = isinstance(left, torch.Tensor) and isinstance(right, torch.Tensor)
            if relation == "equivalent" and tensors and _views(left) - _views(right):
                return f"{path} has strides {tuple(left.stride())} before and {tuple(right.stride())} after"
    return ""


def _kinds(form: Any) -> str:
    return f"{form[0]}({', '.join(_kinds(item) for item in form[1])})" if isinstance(form, tuple) else str(form)


def _views(value: torch.Tensor) -> frozenset[int]:
    """The dims that a view can merge with the next one of more than one element."""
    if value.layout is not torch.strided or not value.numel():
        return frozenset()
    dims = [place for place, size in enumerate(value.shape) if size > 1]
    sizes, strides = value.shape, value.stride()
    merged = {one for one, two in itertools.pairwise(dims) if strides[one] == strides[two] * sizes[two]}
    return frozenset(merged | ({-1} if dims and strides[dims[-1]] == 1 else set()))


def laid_apart(before: Seen, after: Seen) -> str:
    """In words, the first output that lies otherwise in memory, or shares it with other inputs; "" where none does."""
    for (path, left), (_, right) in zip(before.outputs, after.outputs, strict=True):
        if not isinstance(left, torch.Tensor) or not isinstance(right, torch.Tensor):
            continue
        strides = [
            tuple(stride for size, stride in zip(value.shape, value.stride(), strict=True) if size > 1)
            for value in (left, right)
        ]
        if strides[0] != strides[1]:
            return f"{path} has strides {tuple(left.stride())} before and {tuple(right.stride())} after"
        if _shared_with(left, before) != _shared_with(right, after):
            return f"{path} shares memory with its inputs in one of the two only"
    return ""


def _shared_with(value: torch.Tensor, seen: Seen) -> list[str]:
    own = value.untyped_storage().data_ptr()
    others = [(path, item) for path, item in seen.effects if isinstance(item, torch.Tensor)]
    return [path for path, item in others if item.untyped_storage().data_ptr() == own]


def differ(left: Any, right: Any) -> tuple[str, float]:
    """Return how two values differ, in words ("" where they are the same to the last bit), and by how much at most."""
    if not isinstance(left, torch.Tensor) or not isinstance(right, torch.Tensor):
        same = type(left) is type(right) and (left == right or (left != left and right != right))
        return ("", 0.0) if same else (f"is {_short(left)} before and {_short(right)} after", float("inf"))
    for name in ("shape", "dtype", "device"):
        if getattr(left, name) != getattr(right, name):
            return f"has {name} {getattr(left, name)} before and {getattr(right, name)} after", float("inf")
    if left.requires_grad != right.requires_grad:
        return "requires a gradient in one of the two only", float("inf")
    left, right = left.detach(), right.detach()
    if torch.equal(left, right):
        return "", 0.0
    unequal = (left != right) & ~((left != left) & (right != right))
    if not bool(unequal.any()):
        return "", 0.0
    wide = torch.complex128 if left.is_complex() else torch.float64
    distance = float((left.to(wide) - right.to(wide))[unequal].abs().max())
    return f"differs by up to {distance:.3g}", distance if distance == distance else float("inf")


def _short(value: Any) -> str:
    return "a tensor" if isinstance(value, torch.Tensor) else repr(value)[:60]


def sized(module: Any) -> list[torch.Tensor]:
    """The parameters whose size is known: those of lazy layers have none before the first call."""
    return [value for value in module.parameters() if not torch.nn.parameter.is_lazy(value)]


def says_something(seen: Seen, source: str) -> bool:
    """Tell whether an execution can tell right from wrong: finite somewhere, and depending on its inputs.

    ``source`` begins the names of what counts as an input: "input ", or "" where there are parameters alone.
    """
    tensors = [value for _, value in seen.outputs if isinstance(value, torch.Tensor) and value.numel()]
    floats = [value for value in tensors if value.is_floating_point() or value.is_complex()]
    if not tensors or (floats and not any(bool(torch.isfinite(value).any()) for value in floats)):
        return False
    arrived = [value for name, value in seen.gradients if name.startswith(f"gradient of {source}")]
    gradients = [value for value in arrived if isinstance(value, torch.Tensor)]
    return any(bool((torch.isfinite(value) & (value != 0)).any()) for value in gradients)


def tells_places(seen: Seen) -> bool:
    """Tell whether some output is finite and has several values."""
    tensors = [value for _, value in seen.outputs if isinstance(value, torch.Tensor) and value.is_floating_point()]
    filled = [value for value in tensors if value.numel() and bool(torch.isfinite(value).all())]
    return any(bool((value != value.flatten()[0]).any()) for value in filled)


def randomise(module: Any, seed: int) -> None:
    """Move float parameters and persistent float buffers off special values: zeros and ones hide differences.

    Masks (buffers of zeros, ones and infinities only) and integer buffers keep their meaning. What was allocated and
    never filled, which is NaN in deterministic mode, is filled.
    """
    generator = torch.Generator().manual_seed(seed)
    persistent = set(module.state_dict(keep_vars=True))
    with torch.no_grad():
        for name, value in [*module.named_parameters(), *module.named_buffers()]:
            if not value.is_floating_point() or name not in persistent or value.numel() == 0:
                continue
            is_parameter = isinstance(value, torch.nn.Parameter)
            if not is_parameter and bool(((value == 0) | (value == 1) | value.isinf()).all()) and value.dim() >= 2:
                continue
            noise = torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value.dtype)
            moved = value.masked_fill(value.isnan(), 0.0) + 0.2 * noise
            value.copy_(moved.abs() + 0.1 if name.endswith("running_var") else moved)
