"""Every projection learns: what makes queries, keys and values takes part in what comes out.

A layer that is built and never applied has no gradient, and its numbers change nothing. That alone is no bug: layers
wait for another mode, for old checkpoints, for an input that was left out. It is one where others of the three learn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import torch
from msgspec import Struct

from mha_lint.observation import Observation
from mha_lint.validation.probes.facts import Seen
from mha_lint.validation.probes.sequence import redrawn
from mha_lint.validation.probes.subject import NotApplicable, Subject
from mha_lint.validation.trials import trial
from mha_lint.vocabulary import CACHE, OF_KEYS, OF_QUERIES, OF_VALUES, is_said

NAME = "every projection learns"
_ROLES = {"queries": OF_QUERIES, "keys": OF_KEYS, "values": OF_VALUES}
_LEAST = 3  # entries of a diagonal from which it is no accident that it learns alone

Gradients = Mapping[int, torch.Tensor | None]  # by the id of the parameter


class _Projection(Struct, frozen=True):
    """The layer, or the parameter, that makes queries, keys or values, and its matrices."""

    name: str
    role: str
    matrices: tuple[torch.nn.Parameter, ...]

    def learns(self, gradients: Gradients) -> bool:
        return any(gradients.get(id(each)) is not None for each in self.matrices)


def observe(subject: Subject, seen: Seen | None, insist: bool) -> Observation:
    if not insist and (seen is None or not seen.applied):
        raise NotApplicable("no attention was seen to run")
    _refuse_caches(subject)
    learning = {name: each for name, each in _matrices(subject).items() if each.requires_grad}
    gradients = _gradients(subject, learning.values()) if learning else {}
    for group in _groups(subject):
        lost = [each for each in _lost(group, gradients, insist=insist) if not _counts(subject, each.matrices)]
        if lost:
            learn = _joined([each.name for each in group if each.learns(gradients)], "learns", "learn")
            none = "gets no gradient and changes nothing", "get no gradient and change nothing"
            return Observation(NAME, "violated", f"{_joined([each.name for each in lost], *none)}, while {learn}")
    words = _of_a_diagonal(subject, learning, gradients)
    if words and not insist:
        raise NotApplicable(f"{words}, which may be meant")
    if insist and (words := words or _of_an_input(subject)):
        return Observation(NAME, "violated", words)
    if not learning:
        raise NotApplicable("it has no matrix of parameters that learns: they are frozen, or there are none")
    idle = [name for name, each in learning.items() if gradients[id(each)] is None]
    if idle:
        raise NotApplicable(f"{idle[0]} gets no gradient, and nothing tells that this call is meant to use it")
    return Observation(NAME, "holds", f"each of {len(learning)} matrices of parameters gets a gradient")


def _joined(names: Sequence[str], of_one: str, of_several: str) -> str:
    return f"{' and '.join(names)} {of_several if len(names) > 1 else of_one}"


def _refuse_caches(subject: Subject) -> None:
    """Raise NotApplicable where keys and values may come from an earlier call."""
    for name, value in subject.inputs.items():
        if is_said(CACHE, name) and value is not None and not isinstance(value, (bool, int)):
            raise NotApplicable(f"keys and values may come from {name}, and not from their layers")


# --- parameters ---------------------------------------------------------------------------------------------------


def _matrices(subject: Subject) -> dict[str, torch.nn.Parameter]:
    """The parameters of at least two dims, by name. Of a bias of keys, nothing is left after the softmax."""
    if subject.owner is None:
        return {}
    return {name: each for name, each in subject.owner.named_parameters() if each.dim() > 1 and each.numel()}


def _gradients(subject: Subject, matrices: Iterable[torch.nn.Parameter]) -> Gradients:
    """The gradients that one call and its backward pass give. Raise NotApplicable where nothing has a gradient."""
    leaves: list[torch.Tensor] = list(matrices)
    roots = [
        value
        for _, value in trial.flatten(subject.result(learns=True), "output")
        if isinstance(value, torch.Tensor) and value.requires_grad
    ]
    if not roots:
        raise NotApplicable("nothing that comes out has a gradient")
    generator = torch.Generator().manual_seed(subject.seed + 5)
    drawn = [torch.randn(root.shape, generator=generator, dtype=torch.float64) for root in roots]
    cotangents = [each.to(root.device, root.dtype) for each, root in zip(drawn, roots, strict=True)]
    found = trial.gradients(roots, cotangents, leaves, create_graph=False)
    return {id(leaf): gradient for leaf, gradient in zip(leaves, found, strict=True)}


def _groups(subject: Subject) -> Iterator[list[_Projection]]:
    """The projections that stand beside each other in one module."""
    for path, part in subject.owner.named_modules() if subject.owner is not None else ():
        parts: dict[str, Any] = {**part._modules, **part._parameters}
        group = [_projection(path, name, value) for name, value in parts.items() if value is not None]
        yield [each for each in group if each is not None and each.matrices]


def _projection(path: str, name: str, value: Any) -> _Projection | None:
    role = _role(name)
    if role is None:
        return None
    own = [value] if isinstance(value, torch.nn.Parameter) else value.parameters()
    return _Projection(f"{path}.{name}" if path else name, role, tuple(each for each in own if each.dim() > 1))


def _role(name: str) -> str | None:
    return next((role for role, said in _ROLES.items() if is_said(said, name)), None)


def _lost(group: Sequence[_Projection], gradients: Gradients, *, insist: bool) -> list[_Projection]:
    """The projections without a gradient among others that have one, where that can't be meant.

    Where keys and values are those of an earlier call, the queries learn alone. Who insists knows that they are not.
    """
    learning = {each.role for each in group if each.learns(gradients)}
    roles = {each.role for each in group}
    meant = learning if insist else learning & {"keys", "values"} if len(roles) == len(_ROLES) else set()
    if not meant:
        return []
    idle = [each for each in group if each.role not in learning]
    return [each for each in idle if all(matrix.requires_grad for matrix in each.matrices)]


def _counts(subject: Subject, matrices: Iterable[torch.Tensor], keep: torch.Tensor | None = None) -> bool:
    """Tell whether other numbers in these parameters, but where ``keep`` says so, change anything that comes out."""
    before = _floats(subject)
    with torch.no_grad():
        for number, each in enumerate(matrices):
            other = redrawn(each.detach(), (0,), range(each.shape[0]), subject.seed + 11 * number + 1)
            each.copy_(other if keep is None else torch.where(keep, each, other))
    after = _floats(subject)  # a call puts back what the module had at first
    return len(before) != len(after) or not all(map(_are_same, before, after))


def _floats(subject: Subject) -> list[torch.Tensor]:
    leaves = [value for _, value in trial.flatten(subject.result(), "output")]
    return [each.detach().clone() for each in leaves if isinstance(each, torch.Tensor)]


def _are_same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and bool(((one == other) | (one.isnan() & other.isnan())).all())


# --- diagonals and inputs -------------------------------------------------------------------------------------------


def _of_a_diagonal(subject: Subject, learning: Mapping[str, torch.nn.Parameter], gradients: Gradients) -> str:
    """In words, a parameter of which nothing but a diagonal learns; "" where there is none."""
    for name, matrix in learning.items():
        gradient = gradients[id(matrix)]
        for one, other in combinations(range(matrix.dim()), 2):
            size = matrix.shape[one]
            if gradient is None or size < _LEAST or size != matrix.shape[other]:
                continue
            own = _diagonal(matrix, one, other)
            alone = not bool(gradient[~own].any()) and bool(gradient[own].any())
            if alone and not _counts(subject, [matrix], own):
                shape = tuple(matrix.shape)
                return f"of {name} {shape} the diagonal alone gets a gradient: all else in it changes nothing"
    return ""


def _diagonal(matrix: torch.Tensor, one: int, other: int) -> torch.Tensor:
    """True where the indices along the two dims are the same."""
    identity = torch.eye(matrix.shape[one], dtype=torch.bool, device=matrix.device)
    sizes = [size if dim in (one, other) else 1 for dim, size in enumerate(matrix.shape)]
    return identity.reshape(sizes).expand(matrix.shape)


def _of_an_input(subject: Subject) -> str:
    """In words, an input of queries, keys or values that has no influence while others have; "" for none."""
    known = {name: _role(name) for name, value in subject.tensors.items() if value.is_floating_point()}
    named = {name: role for name, role in known.items() if role is not None}
    if len(named) < 2:
        return ""
    before = _floats(subject)
    idle = []
    for name in named:
        value = subject.tensors[name]
        changed = subject.with_inputs({name: redrawn(value, (0,), range(value.shape[0]), subject.seed + 1)})
        after = _floats(changed)
        if len(before) == len(after) and all(map(_are_same, before, after)):
            idle.append(name)
    if not idle or len(idle) == len(named):
        return ""
    others = ", ".join(name for name in named if name not in idle)
    return f"what {idle[0]} holds, which is to make the {named[idle[0]]}, changes nothing, unlike {others}"
