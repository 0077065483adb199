"""Hide one key by a mask that is an input, by padding, or by a length, and see whether it still has an influence.

Nothing says which values of a mask hide, so each reading is tried: under one of them, the key must have no influence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from msgspec import Struct

from mha_lint.validation.probes.facts import Seen
from mha_lint.validation.probes.input_masks import Reading, is_mask, readings
from mha_lint.validation.probes.sequence import differences, redrawn, rounding
from mha_lint.validation.probes.subject import NotApplicable, Subject
from mha_lint.validation.probes.watching import Watching

_NOT_TOKENS = re.compile(r"mask|pos|cos|sin|freq|bias|rot|table")
_LENGTHS = re.compile(r"(^|_)(seq_?)?(lens?|lengths?)$")
_PADDING = re.compile(r"(^|_)pad(ding)?(_|$)")


class Hidden(Struct, frozen=True):
    """What became of a hidden key: its largest influence on results at other tokens, in words what it was hidden by."""

    influence: float
    leaks: bool
    words: str


class _Effect(Struct, frozen=True):
    """The influence of a token on the results at others, with its key visible and hidden; None where it can't be told.

    ``raised`` tells that the module takes no such mask.
    """

    visible: float | None = None
    hidden: float | None = None
    raised: bool = False


def of_masks(subject: Subject, seen: Seen | None, *, insist: bool) -> Iterator[Hidden]:
    """Tell for each mask that is an input whether it hides a key. What can't be judged is left out."""
    output = subject.run()
    for name, mask in subject.tensors.items():
        if not is_mask(name, mask) or mask.dim() < 2 or mask.shape[-1] < 2:
            continue
        meets = seen is not None and name in seen.masks
        if (meets or insist) and (found := _of_mask(subject, output, name, insist=insist)):
            yield found


def _of_mask(subject: Subject, output: torch.Tensor, name: str, *, insist: bool) -> Hidden | None:
    mask = subject.tensors[name]
    tried = readings(mask, None if insist else output.dtype)
    length = mask.shape[-1]
    keys = _keys(subject, length)
    rows = _rows(subject, output, length, keys)
    if not keys or rows is None:
        return None
    for token in (length - 1, length // 2, 0):
        effects = {
            key: [_effect(subject, name, reading, key, dim, token, rows) for reading in tried]
            for key, dim in keys.items()
        }
        counted = [each for each in effects.values() if any(effect.visible for effect in each)]
        if not counted:
            continue
        shown = [effect for each in counted for effect in each]
        if any(effect.hidden == 0.0 and effect.visible for effect in shown):
            return Hidden(0.0, False, f"key {token} has no influence on other tokens where {name} hides it")
        leaks = [effect.hidden for effect in shown if effect.hidden is not None]
        if all(leaks) and leaks and not any(effect.raised for effect in shown):
            least = min(leaks)
            words = f"changing token {token} changes the output at others by {least:.3g} or more, whatever {name} says"
            return Hidden(least, True, f"{words} of it")
    return None


def _keys(subject: Subject, length: int) -> dict[str, int]:
    """Return the inputs that have as many tokens as a mask has keys, and the dim of these."""
    found: dict[str, int] = {}
    for name, value in subject.tensors.items():
        is_index = not value.is_floating_point() and value.dim() == 2 and value.dtype != torch.bool
        if _NOT_TOKENS.search(name) or value.is_complex() or not (is_index or value.dim() in (3, 4)):
            continue
        known = subject.axes.get(name)
        if known is not None and known.tokens is not None:
            dims = [known.tokens % value.dim()]
        else:
            dims = [1, 2] if value.dim() == 4 else [1, 0]
        alike = [dim for dim in dims if value.shape[dim] == length]
        if len(alike) == 1:
            found[name] = alike[0]
    return found


def _rows(subject: Subject, output: torch.Tensor, length: int, keys: Mapping[str, int]) -> int | None:
    """Return the dim of the output that has the keys' tokens; -1 where it has others; None if it can't be told."""
    alike = [dim for dim, size in enumerate(output.shape) if size == length]
    if len(alike) == 1:
        return alike[0]
    others = {
        value.shape[dim]
        for name, value in subject.tensors.items()
        for dim in (0, 1, 2)
        if name not in keys and value.dim() >= 3 and value.is_floating_point()
    }
    return -1 if not alike and output.dim() > 2 and others & set(output.shape[1:-1]) else None


def _effect(
    subject: Subject,
    name: str,
    reading: Reading,
    key: str,
    dim: int,
    token: int,
    rows: int,
) -> _Effect:
    """Measure the influence of one token with all keys visible, and with its key hidden."""
    mask = torch.full_like(subject.tensors[name], reading.visible, dtype=reading.dtype)
    closed = mask.clone()
    closed[..., token] = reading.hidden
    value = redrawn(subject.tensors[key], (dim,), [token], subject.seed + 17 * token + 1)
    found: list[float | None] = []
    for each in (mask, closed):
        try:
            before = subject.with_inputs({name: each}).run()
            after = subject.with_inputs({name: each, key: value}).run()
        except (RuntimeError, ValueError, IndexError, AssertionError):  # a mask of another kind may be refused
            return _Effect(raised=reading.dtype is None)
        found.append(_influence(before, after, rows, token))
    return _Effect(found[0], found[1])


def _influence(before: torch.Tensor, after: torch.Tensor, rows: int, token: int) -> float | None:
    """Return the largest difference at other tokens, 0 for rounding; None where their results are not finite, or 0."""
    if rows >= 0:
        others = [place for place in range(before.shape[rows]) if place != token]
        index = torch.tensor(others, device=before.device)
        before, after = before.index_select(rows, index), after.index_select(rows, index)
    if not bool(torch.isfinite(before).all(-1).any()) or not bool(before.any()):
        return None
    finite = torch.isfinite(before)
    before, after = torch.where(finite, before, 0.0), torch.where(finite, after, 0.0)
    largest = float(differences(before, after, tuple(range(before.dim()))).max())
    return largest if largest > rounding(before) else 0.0


# --- padding ------------------------------------------------------------------------------------------------------


class _Moved(Watching):
    """Gives what is looked up for some indices another value, whatever the table is used for besides."""

    def __init__(self, indices: torch.Tensor, places: torch.Tensor, seed: int) -> None:
        Watching.__init__(self)
        self.found = False
        self._indices, self._places, self._seed = indices, places, seed

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ != "embedding" or not self._is_lookup(args[1]):
            return out
        self.found = True
        generator = torch.Generator().manual_seed(self._seed)
        noise = torch.randn(out.shape, generator=generator, dtype=torch.float64).to(out.device, out.dtype)
        return torch.where(self._places[..., None], out + noise, out)

    def _is_lookup(self, indices: torch.Tensor) -> bool:
        return indices.shape == self._indices.shape and bool((indices == self._indices).all())


def of_padding(subject: Subject, seen: Seen | None, *, insist: bool) -> Iterator[Hidden]:
    """Tell of inputs of indices, one of which is compared with to make a mask, whether that index hides its key."""
    for name, number in sorted(seen.compared) if seen is not None else ():
        value = subject.tensors.get(name)
        if value is None or value.dim() != 2 or value.shape[1] < 2 or seen is None or name not in seen.masks:
            continue
        if (insist or number in _paddings(subject)) and (found := _of_padding(subject, name, int(number))):
            yield found


def _paddings(subject: Subject) -> set[float]:
    """Return the numbers that the module keeps under a name for padding."""
    found: set[float] = set()
    for part in subject.owner.modules() if subject.owner is not None else ():
        for name, value in vars(part).items():
            if isinstance(value, int) and _PADDING.search(name.lower()):
                found.add(value)
    return found


def _of_padding(subject: Subject, name: str, number: int) -> Hidden | None:
    ids = subject.tensors[name]
    others = ids[ids != number]
    if not others.numel():
        return None
    ids = torch.where(ids == number, others[0], ids)
    length = ids.shape[1]
    for token in (length - 1, length // 2, 0):
        padded = ids.clone()
        padded[:, token] = number
        visible, hidden = (_moved(subject, name, each, token) for each in (ids, padded))
        if hidden is None:
            continue
        if hidden:
            words = f"what is looked up for token {token}, whose index {number} says padding, changes others"
            return Hidden(hidden, True, f"{words} by {hidden:.3g}")
        if visible:
            return Hidden(0.0, False, f"token {token} has no influence on others where its index {number} says padding")
    return None


def _moved(subject: Subject, name: str, ids: torch.Tensor, token: int) -> float | None:
    """Return the influence that what is looked up for a token has on results at others; None if it can't be told."""
    given = subject.with_inputs({name: ids})
    before = given.run()
    rows = [dim for dim, size in enumerate(before.shape) if size == ids.shape[1]]
    if len(rows) != 1:
        return None
    places = torch.zeros_like(ids, dtype=torch.bool)
    places[:, token] = True
    moved = _Moved(ids, places, subject.seed + 1)
    with moved:
        after = given.run()
    return _influence(before, after, rows[0], token) if moved.found else None


# --- lengths ------------------------------------------------------------------------------------------------------


def of_lengths(subject: Subject, seen: Seen | None, *, insist: bool) -> Iterator[Hidden]:
    """Tell of inputs of lengths, one an entry, whether a token beyond the length of its entry is hidden."""
    for name, lengths in subject.tensors.items():
        if lengths.dim() != 1 or lengths.is_floating_point() or not _LENGTHS.search(name):
            continue
        if not insist and (seen is None or name not in seen.masks):
            continue
        for key, value in subject.tensors.items():
            batched = value.dim() == 3 and value.is_floating_point() and value.shape[0] == lengths.shape[0]
            if batched and value.shape[1] > 2 and (found := _of_length(subject, name, key, insist=insist)):
                yield found


def _of_length(subject: Subject, name: str, key: str, *, insist: bool) -> Hidden | None:
    """Change the last token, once where every entry has it, and once where none has."""
    tokens = subject.tensors[key]
    last = tokens.shape[1] - 1
    output = subject.run()
    rows = [dim for dim, size in enumerate(output.shape) if size == tokens.shape[1]]
    if len(rows) != 1:
        return None
    value = redrawn(tokens, (1,), [last], subject.seed + 1)
    found: list[float | None] = []
    for length in (last + 1, last):
        lengths = torch.full_like(subject.tensors[name], length)
        before = subject.with_inputs({name: lengths}).run()
        after = subject.with_inputs({name: lengths, key: value}).run()
        found.append(_influence(before, after, rows[0], last))
    visible, hidden = found
    if hidden and (visible or insist):  # a mask the wrong way round leaves nothing to see of entries that are full
        words = f"changing token {last}, which lies beyond what {name} says, changes the output at others"
        return Hidden(hidden, True, f"{words} by {hidden:.3g}")
    if not visible or hidden is None:
        return None
    return Hidden(0.0, False, f"token {last} has no influence on others where it lies beyond what {name} says")


def judged(subject: Subject, seen: Seen | None, *, insist: bool) -> list[Hidden]:
    """Return what is seen of all masks that are inputs, and of padding; nothing where the module can't be asked."""
    found: list[Hidden] = []
    for each in (of_masks, of_padding, of_lengths):
        try:
            found += each(subject, seen, insist=insist)
        except NotApplicable:
            continue
    return found
