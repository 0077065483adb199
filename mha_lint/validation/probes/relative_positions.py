"""Relative positions: the score of a rotated query and a rotated key depends on the distance of their positions alone.

All tokens are made alike, so that scores differ by positions alone: they must be the same along each diagonal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import torch

from mha_lint.observation import Observation
from mha_lint.validation.probes.facts import Seen
from mha_lint.validation.probes.rotations import Rotation, Rotations, Turn, followed
from mha_lint.validation.probes.sequence import POSITIONS, positions_in_sequence
from mha_lint.validation.probes.subject import NotApplicable, Subject

NAME = "relative positions"
_CLOSE = 2e-2  # of the largest score: tables may be kept in half precision; mixed kinds are off by as much as scores
_TABLE = re.compile(r"(?<![a-z])(cos|sin|freqs?|freqs_cis|rope|rotary\w*|position_embeddings)(?![a-z])")
_TURN = re.compile(r"(?<![a-z])(cos|sin)(?![a-z])")
_NOT_TOKENS = re.compile(r"mask|bias|scale")
_LAYOUTS = ("each", "halves", "neighbours")


def observe(subject: Subject, seen: Seen | None, insist: bool) -> Observation:
    subject = subject.with_inputs(positions_in_sequence(subject))
    found = followed(subject)
    if _is_rotated(found):
        return _observed(subject, found, insist)
    told: list[Observation] = []
    for layout in _LAYOUTS:  # which one a function wants, it does not say
        other = subject.with_inputs(_tables(subject, layout))
        found = followed(other)
        if _is_rotated(found):
            told.append(_observed(other, found, insist))
    for each in told:
        if each.outcome == "holds":
            return each
    if len(told) == len(_LAYOUTS):
        return told[-1]
    raise NotApplicable("no queries and keys were seen to be rotated by a sequence of positions")


def _is_rotated(found: Rotations) -> bool:
    turns = [turn for product in found.products for turn in product.sides] + [turn for _, turn in found.outputs]
    return any(found.of(turn) is not None for turn in turns)


def _observed(subject: Subject, found: Rotations, insist: bool) -> Observation:
    """Make all tokens alike, and look at the scores of what is rotated then."""
    length = _length(found)
    changed = _alike(subject, length) or _alike(subject, length - 1)  # a class token may stand in front of the others
    alike = subject.with_inputs(changed)
    found = followed(alike)
    reasons: list[str] = []
    worst: tuple[float, str] | None = None
    judged = 0
    for scores, rotations in _scores(found):
        if why := _unlike(rotations, scores):
            reasons.append(why)
            continue
        if not insist and (marks := _marks(found)):
            raise NotApplicable(marks)
        first = max(rotation.first or 0 for rotation in rotations)
        scores = scores[..., first:, first:]
        size, words = _apart(scores, first)
        largest = float(scores.abs().max())
        if _spread(scores) <= _CLOSE * largest:
            reasons.append("no positions: with all tokens alike, all scores are the same")
            continue
        judged += 1
        length = scores.shape[-1]
        if size > _CLOSE * largest and (worst is None or size > worst[0]):
            worst = size, words
    if worst is not None:
        return Observation(NAME, "violated", worst[1], worst[0])
    if judged:
        tried = f"with all {length} tokens alike, the scores of {judged} products are the same along each diagonal"
        return Observation(NAME, "holds", tried)
    if insist and (words := _over_others(found)):
        return Observation(NAME, "violated", words)
    raise NotApplicable(reasons[0] if reasons else "what is rotated is not multiplied")


def _length(found: Rotations) -> int:
    """Return how many keys there are; for a function that only rotates, how many positions."""
    for product in found.products:
        if any(found.of(turn) is not None for turn in product.sides):
            return product.scores.shape[-1]
    rotations = [found.of(turn) for _, turn in found.outputs]
    return next((rotation.length for rotation in rotations if rotation is not None), 0)


def _scores(found: Rotations) -> Iterator[tuple[torch.Tensor, tuple[Rotation, Rotation]]]:
    """Yield products (n, t, s) of queries and keys that were both rotated; without any, of what a function returns."""
    for product in found.products:
        one, other = (found.of(turn) for turn in product.sides)
        if one is not None and other is not None:
            yield product.scores.reshape(-1, *product.scores.shape[-2:]), (one, other)
    if found.products:
        return
    outputs = [(value, rotation) for value, turn in found.outputs if (rotation := found.of(turn)) is not None]
    for value, its in outputs:
        for another, theirs in outputs:
            rows, columns = _rows(value, its.length), _rows(another, theirs.length)
            if rows is not None and columns is not None and rows.shape == columns.shape:
                yield rows @ columns.mT, (its, theirs)


def _rows(value: torch.Tensor, length: int) -> torch.Tensor | None:
    """Return (n, t, d) of what a function returns; None where it can't be told which dim has the positions."""
    dims = [dim for dim, size in enumerate(value.shape[:-1]) if size == length]
    if len(dims) != 1 or value.is_complex():
        return None
    moved = value.movedim(dims[0], -2).double()
    return moved.reshape(-1, *moved.shape[-2:])


def _unlike(rotations: tuple[Rotation, Rotation], scores: torch.Tensor) -> str:
    """Return a reason why the scores need not be alike along diagonals; "" where there is none."""
    one, other = rotations
    if one.length != scores.shape[-2] or other.length != scores.shape[-1]:
        return "not all tokens that meet are rotated by one sequence of positions"
    if one.first is None or other.first is None:
        return "what is rotated has positions already: it is not the same for tokens that are alike"
    if one.step.shape != other.step.shape or not _are_close(one.step, other.step):
        return "queries and keys are rotated by other angles"
    return ""


def _are_close(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Tell whether two turns are by the same angles. Their sense is unknown: cosines and sines have no order."""
    return bool(((one - other).abs().minimum((one - other.conj()).abs()) <= 2 * _CLOSE).all())


def _marks(found: Rotations) -> str:
    turns: list[Turn] = [turn for product in found.products for turn in product.sides if turn.tables]
    return next((mark for turn in turns for mark in sorted(turn.marks)), "")


def _apart(scores: torch.Tensor, first_row: int) -> tuple[float, str]:
    """Return how far scores on one diagonal are apart at most, and between which queries and keys, in words.

    The scores are those from a row, and a column, on.
    """
    worst = (0.0, "")
    for offset in range(1 - scores.shape[-2], scores.shape[-1]):
        line = scores.diagonal(offset, -2, -1)
        apart = line.amax(-1) - line.amin(-1)
        size = float(apart.max())
        if size > worst[0]:
            row = line[int(apart.argmax())]
            first, last = sorted((int(row.argmax()), int(row.argmin())))
            told = [
                f"query {first_row + place - min(offset, 0)} and key {first_row + place + max(offset, 0)}"
                f" score {float(row[place]):.3g}"
                for place in (first, last)
            ]
            words = f"with all tokens alike, {told[0]}, but {told[1]}, which are as far apart"
            worst = size, words
    return worst


def _spread(scores: torch.Tensor) -> float:
    return float((scores.amax((-2, -1)) - scores.amin((-2, -1))).max())


def _over_others(found: Rotations) -> str:
    """In words, that the rotation runs over something else than tokens, and that scores know no positions; else ""."""
    for scores, rotations in _scores(found):
        if rotations[0].length != scores.shape[-1] and _spread(scores) <= _CLOSE * float(scores.abs().max()):
            turned = f"the rotation runs over {rotations[0].length} positions of something else"
            return f"with all tokens alike, all scores of {scores.shape[-1]} keys are the same: {turned}"
    return ""


# --- inputs -------------------------------------------------------------------------------------------------------


def _alike(subject: Subject, length: int) -> dict[str, torch.Tensor]:
    """Return the inputs with the first token in the place of each."""
    changed: dict[str, torch.Tensor] = {}
    for name, value in subject.tensors.items():
        if value.dtype == torch.bool or any(each.search(name) for each in (_TABLE, POSITIONS, _NOT_TOKENS)):
            continue
        dims = [dim for dim, size in enumerate(value.shape) if size == length and (dim < value.dim() - 1 or dim == 1)]
        known = subject.axes.get(name)
        if known is not None and known.tokens is not None:
            dims = [known.tokens % value.dim()]
        if value.dim() < 2 or not dims:
            continue
        if len(dims) > 1:
            raise NotApplicable(f"it can't be told which dim of {name} {tuple(value.shape)} has the tokens")
        changed[name] = value.narrow(dims[0], 0, 1).expand_as(value).clone()
    return changed


def _tables(subject: Subject, layout: str) -> dict[str, Any]:
    """Return the inputs that are cosines and sines, or both in complex numbers, of a sequence of positions."""
    changed: dict[str, Any] = {}
    for name, value in subject.inputs.items():
        if isinstance(value, (tuple, list)) and len(value) == 2 and _are_tables(value):
            angles = _angles(value[0], layout)
            pair = angles.cos().to(value[0].dtype), angles.sin().to(value[1].dtype)
            changed[name] = pair if isinstance(value, tuple) else [*pair]
        elif isinstance(value, torch.Tensor) and value.dim() > 1 and value.is_complex() and _TABLE.search(name):
            angles = _angles(value, layout)
            changed[name] = torch.polar(torch.ones_like(angles), angles).to(value.dtype)
        elif isinstance(value, torch.Tensor) and value.dim() > 1 and (found := _TURN.search(name)):
            angles = _angles(value, layout)
            changed[name] = (angles.cos() if found[1] == "cos" else angles.sin()).to(value.dtype)
    return changed


def _are_tables(values: Any) -> bool:
    one, other = values
    if not isinstance(one, torch.Tensor) or not isinstance(other, torch.Tensor):
        return False
    return one.shape == other.shape and one.dim() > 1 and one.is_floating_point() and other.is_floating_point()


def _angles(like: torch.Tensor, layout: str) -> torch.Tensor:
    """Return angles in this shape: (…, t, d), or (…, t, 1, d) for heads after tokens."""
    width = like.shape[-1]
    count = width if layout == "each" else -(-width // 2)
    rates = 10.0 ** (-torch.arange(count, dtype=torch.float64) / count)
    if layout == "halves":
        rates = torch.cat((rates, rates))[:width]
    elif layout == "neighbours":
        rates = rates.repeat_interleave(2)[:width]
    dim = -2 if like.shape[-2] > 1 or like.dim() < 3 else -3
    places = torch.arange(like.shape[dim], dtype=torch.float64)
    angles = places[:, None] * rates
    if dim == -3:
        angles = angles[:, None]
    return angles.expand(like.shape).clone().to(like.device)
