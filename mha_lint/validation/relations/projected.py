"""Check a new projection with weights other than the identity: it gives W · (what the result was) + b, applied once.

Gradients go back the same way: those of before, for cotangents that are put through W.

Where the code goes on after the projection (a residual, a norm), the result need not be that, and nothing is said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from msgspec import Struct, field

from mha_lint.validation.child.imports import quiet
from mha_lint.validation.trials import trial
from mha_lint.validation.trials.pristine import copied
from mha_lint.validation.trials.uses import Lasting

_CLOSE = 1e-4  # of the largest value, in float32
_CLOSE_BACK = 1e-3  # of the largest gradient
_ROWS = 4096  # of which each is held against each


class _Call(Struct):
    """One call of a class that gains a projection: its arguments, the random state, and what the layer was given."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    state: torch.Tensor
    handed: list[torch.Tensor] = field(default_factory=list)
    result: Any = None


class _Layer(Struct, frozen=True):
    """The projection of the owner at ``path``: names of its matrix and of its bias, "" for none, within the owner."""

    path: str
    weight: str
    bias: str

    def within(self, module: Any, name: str) -> Any:
        """The parameter of this name of the owner."""
        return module.get_submodule(self.path).state_dict(keep_vars=True)[name]

    def holder(self, owner: Any) -> Any:
        """The layer that holds the matrix; the owner itself where the matrix is a parameter of its own."""
        return owner.get_submodule(self.weight.rpartition(".")[0])


def misapplied(
    before: Any, after: Any, owners: frozenset[str], names: tuple[str, ...], run: Callable[[Any], trial.Seen]
) -> str:
    """In words, how an announced projection is applied otherwise than once to each token; "" where that isn't seen.

    ``run`` calls a module that is lent to it. ``names`` are those announced, relative to the classes ``owners``.
    """
    for layer in _layers(after, owners, names):
        subject, original = copied(after), copied(before)
        matrix, bias = _draw(subject, layer)
        calls = _watched(subject, layer, run)
        for call in calls:
            part = original.get_submodule(layer.path)
            if found := _judge(part, call, layer, subject, matrix, bias):
                return found
        if calls and (found := _backwards(original.get_submodule(layer.path), calls[0], layer, subject, matrix, bias)):
            return found
    return ""


def _layers(module: Any, owners: frozenset[str], names: tuple[str, ...]) -> list[_Layer]:
    """The owners that gain one square matrix, and perhaps one bias."""
    found: list[_Layer] = []
    for path, child in module.named_modules():
        if not any(base.__qualname__ in owners for base in type(child).__mro__):
            continue
        state = child.state_dict(keep_vars=True)
        present = [name for name in names if name in state]
        squares = [name for name in present if state[name].dim() == 2 and len(set(state[name].shape)) == 1]
        vectors = [name for name in present if state[name].dim() == 1]
        if len(squares) == 1 and len(vectors) == len(present) - 1 <= 1:
            found.append(_Layer(path, squares[0], "".join(vectors)))
    return found


def _draw(module: Any, layer: _Layer) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(23)
    weight = layer.within(module, layer.weight)
    matrix = torch.randn(weight.shape, generator=generator)
    bias = torch.randn(weight.shape[:1], generator=generator) if layer.bias else torch.zeros(weight.shape[:1])
    with torch.no_grad():
        weight.copy_(matrix)
        if layer.bias:
            layer.within(module, layer.bias).copy_(bias)
    return matrix, bias


def _watched(module: Any, layer: _Layer, run: Callable[[Any], trial.Seen]) -> list[_Call]:
    """The calls of the owner in one call of the whole module; none where that raises."""
    owner = module.get_submodule(layer.path)
    holder = layer.holder(owner)
    calls: list[_Call] = []

    def begin(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.append(_Call(_kept(args), _kept(kwargs), torch.get_rng_state()))

    def end(_: Any, args: tuple[Any, ...], result: Any) -> None:
        if calls:
            calls[-1].result = _kept(result)

    def handed(_: Any, args: tuple[Any, ...]) -> None:
        if calls and args and isinstance(args[0], torch.Tensor):
            calls[-1].handed.append(args[0].detach().clone())

    hooks = [owner.register_forward_pre_hook(begin, with_kwargs=True), owner.register_forward_hook(end)]
    if holder is not owner:
        hooks.append(holder.register_forward_pre_hook(handed))
    seen = run(Lasting(module))
    for hook in hooks:
        hook.remove()
    return calls if seen.error is None else []


def _kept(value: Any) -> Any:
    """The value with its tensors copied as they are now, apart from any graph."""
    match value:
        case torch.Tensor():
            return value.detach().clone()
        case tuple() | list() if type(value) in (tuple, list):
            return type(value)(_kept(item) for item in value)
        case dict() if type(value) is dict:
            return {name: _kept(item) for name, item in value.items()}
    return value


def _judge(original: Any, call: _Call, layer: _Layer, subject: Any, matrix: torch.Tensor, bias: torch.Tensor) -> str:
    owner = subject.get_submodule(layer.path)
    original.train(owner.training)
    torch.set_rng_state(call.state)
    with quiet(), torch.no_grad():
        was = trial.flatten(original(*call.args, **call.kwargs), "output")
    now = trial.flatten(call.result, "output")
    pairs = [(path, one, two) for (path, one), (_, two) in zip(was, now, strict=False) if _is_float(one, two)]
    is_linear = isinstance(layer.holder(owner), torch.nn.Linear)
    ways = [matrix.mT] if is_linear else [matrix.mT, matrix]
    applied = 0
    for path, one, two in pairs:
        if _close(one, two):
            continue
        fits = one.shape[-1:] == matrix.shape[:1]
        if fits and any(_close(one @ way + bias, two) for way in ways):
            applied += 1
        elif fits and (any(_rows_within(each, one) for each in call.handed) or _close(one @ matrix + bias, two)):
            return f"{path} is not W · (what it was) + b, with W and b of {layer.weight} drawn at random"
    if is_linear and not call.handed:
        return f"the layer of {layer.weight} is never called"
    untouched = bool(pairs) and not applied and all(_close(one, two) for _, one, two in pairs)
    return f"the result is what it was: {layer.weight} is not applied" if untouched else ""


def _backwards(
    original: Any, call: _Call, layer: _Layer, subject: Any, matrix: torch.Tensor, bias: torch.Tensor
) -> str:
    """In words, a gradient that is not that of before with its cotangents put through the matrix.

    It is asked where each result is W · (what it was) + b, or what it was.
    """
    owner = subject.get_submodule(layer.path)
    is_linear = isinstance(layer.holder(owner), torch.nn.Linear)
    runs: list[tuple[list[tuple[str, Any]], dict[str, torch.Tensor]]] = []
    for module in (original, owner):
        module.train(owner.training)
        leaves: dict[str, torch.Tensor] = {}
        args, kwargs = _learning(call.args, "input", leaves), _learning(call.kwargs, "input", leaves)
        named = {name: value for name, value in module.named_parameters() if value.requires_grad}
        torch.set_rng_state(call.state)
        with quiet(), torch.enable_grad():
            results = trial.flatten(module(*args, **kwargs), "output")
        runs.append((results, {**leaves, **{f"parameter {name}": value for name, value in named.items()}}))
    (was, ours), (now, theirs) = runs
    generator = torch.Generator().manual_seed(29)
    roots: tuple[list[torch.Tensor], list[torch.Tensor]] = [], []
    cotangents: tuple[list[torch.Tensor], list[torch.Tensor]] = [], []
    for (_, one), (_, two) in zip(was, now, strict=False):
        if not _is_float(one, two) or not one.requires_grad:
            continue
        drawn = torch.randn(two.shape, generator=generator)
        through = _through(one.detach(), two.detach(), drawn, matrix, bias, is_linear)
        if through is None:
            return ""
        if not two.requires_grad:
            return f"no gradient goes back through {layer.weight}"
        roots[0].append(one)
        cotangents[0].append(through)
        roots[1].append(two)
        cotangents[1].append(drawn)
    names = [name for name in ours if name in theirs]
    if not roots[0] or not names:
        return ""
    found = [
        trial.gradients(roots[side], cotangents[side], [each[name] for name in names], create_graph=False)
        for side, each in enumerate((ours, theirs))
    ]
    size = max((float(value.abs().max()) for value in found[0] if value is not None and value.numel()), default=0.0)
    for name, one, two in zip(names, *found, strict=True):
        if one is None or not one.numel():
            continue
        if two is None or not float((one - two).abs().max()) <= _CLOSE_BACK * size:
            return f"the gradient of {name} is not that of before, put through {layer.weight}"
    return ""


def _through(
    one: torch.Tensor, two: torch.Tensor, drawn: torch.Tensor, matrix: torch.Tensor, bias: torch.Tensor, is_linear: bool
) -> torch.Tensor | None:
    """The cotangent of what a result was, given that of what it is; None where the code goes on after the layer."""
    if _close(one, two):
        return drawn
    if one.shape[-1:] != matrix.shape[:1]:
        return None
    for way in [matrix.mT] if is_linear else [matrix.mT, matrix]:
        if _close(one @ way + bias, two):
            return drawn @ way.mT
    return None


def _learning(value: Any, path: str, leaves: dict[str, torch.Tensor]) -> Any:
    """The value with each float tensor in it a leaf that needs a gradient, which is put into ``leaves``."""
    match value:
        case torch.Tensor() if value.is_floating_point():
            leaves[path] = value.clone().requires_grad_()
            return leaves[path] * 1  # no leaf itself, so that the code may write into it
        case tuple() | list() if type(value) in (tuple, list):
            return type(value)(_learning(item, f"{path}[{place}]", leaves) for place, item in enumerate(value))
        case dict() if type(value) is dict:
            return {name: _learning(item, f"{path} {name}", leaves) for name, item in value.items()}
    return value


def _is_float(*values: Any) -> bool:
    return all(isinstance(value, torch.Tensor) and value.is_floating_point() and value.numel() for value in values)


def _close(one: torch.Tensor, two: torch.Tensor) -> bool:
    if one.shape != two.shape or not bool(torch.isfinite(one).all()):
        return False
    return float((one - two).abs().max()) <= _CLOSE * float(one.abs().max())


def _rows_within(handed: torch.Tensor, result: torch.Tensor) -> bool:
    """Tell whether each row that the projection was given is one of the result's: then nothing came after it."""
    if handed.shape[-1] != result.shape[-1] or not handed.numel():
        return False
    rows, others = handed.reshape(-1, handed.shape[-1]), result.reshape(-1, result.shape[-1])
    if max(len(rows), len(others)) > _ROWS:
        return False
    distance = (rows[:, None] - others[None]).abs().amax(-1).amin(-1)
    return float(distance.max()) <= _CLOSE * float(others.abs().max())
