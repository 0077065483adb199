"""Batch independence: what comes out for one entry of the batch depends on that entry alone, wherever it stands.

Where a rule knows which dim is the batch, nothing is guessed.
"""

from __future__ import annotations

import re

import torch

from mha_lint.observation import Observation
from mha_lint.validation.probes.entries import (
    Entries,
    has_masks,
    known_entries,
    rolled,
    sure_entries,
    with_others_changed,
)
from mha_lint.validation.probes.facts import Seen
from mha_lint.validation.probes.sequence import differences, redrawn, rounding
from mha_lint.validation.probes.subject import NotApplicable, Subject

NAME = "batch independence"
_ENTRIES = 3
_SLACK = 8  # where the batch is permuted, products may be blocked otherwise
_NOT_ENTRIES = re.compile(r"mask|pos|freq|cos|sin|bias|table|rot")
# Arguments and attributes that say how many entries of the batch belong together.
_GROUPS = re.compile(r"(num_|n_)?(frames?|views?|groups?_size|windows?(_size)?|segments?|clips?|images?)|cu_seqlens\w*")


def observe(subject: Subject, seen: Seen | None, insist: bool) -> Observation:
    output = subject.run()
    entries = known_entries(subject, output)
    if entries is None:
        return _of_a_guess(subject, seen, output, insist)
    if not insist and seen is not None and seen.drawn:
        raise NotApplicable(f"random numbers are drawn: {seen.drawn[0]} runs")
    return _judged(subject, entries, output)


def _judged(subject: Subject, entries: Entries, output: torch.Tensor) -> Observation:
    """Hold one entry and change all others; change the masks of all others; permute the entries."""
    tolerance = rounding(output)
    kinds = [False, True] if has_masks(subject, entries) else [False]
    held = sorted({0, entries.count // 2, entries.count - 1})
    for masks in kinds:
        worst = (0.0, 0)
        for entry in held:
            after = with_others_changed(subject, entries, entry, masks=masks).run()
            worst = max(worst, (float(differences(output, after, (entries.output,))[entry]), entry))
        if worst[0] > tolerance:
            what = "the masks of the other entries" if masks else "the other entries"
            words = f"changing {what} of the batch changes the output for entry {worst[1]} {_by(worst[0])}"
            return Observation(NAME, "violated", words, worst[0])
    tried = f"{len(held)} entries of {', '.join(entries.dims)} were held, and all others changed"
    return _permuted(subject, entries, output, tried)


def _permuted(subject: Subject, entries: Entries, output: torch.Tensor, tried: str) -> Observation:
    """Permute the entries, where it is known of all inputs which entry is where."""
    permuted = rolled(subject, entries)
    if permuted is None:
        return Observation(NAME, "holds", tried)
    apart = differences(permuted.run(), output.roll(-1, entries.output), (entries.output,))
    size, entry = float(apart.max()), int(apart.argmax())
    if size > _SLACK * rounding(output):
        words = f"permuting the {entries.count} entries of the batch does not just permute the output"
        return Observation(NAME, "violated", f"{words}: for entry {entry} it differs {_by(size)}", size)
    return Observation(NAME, "holds", f"{tried}; permuted, they gave the output permuted")


def _by(size: float) -> str:
    return "from a number to NaN" if size == float("inf") else f"by {size:.3g}"


def _of_a_guess(subject: Subject, seen: Seen | None, output: torch.Tensor, insist: bool) -> Observation:
    """Take dim 0 for the batch, and dim 1 where what comes out for one entry of dim 0 depends on others."""
    tolerance = rounding(output)
    first: tuple[float, int, int] | None = None
    for dim in (0, 1):
        group = _group(subject, output, dim)
        if not group:
            continue
        worst = _worst(subject, output, dim, group)
        if worst[0] <= tolerance:
            words = f"{min(_ENTRIES, output.shape[dim])} entries of dim {dim} were held, and all others changed"
            if dim == 0 and _is_batch(subject, seen, output.shape[0]):
                return _judged(subject, sure_entries(subject, output.shape[0], group), output)
            return Observation(NAME, "holds", words)
        first = first or (*worst, dim)
    if first is None:
        raise NotApplicable("no input has a batch of more than one entry that the output has too")
    largest, entry, dim = first
    if dim != 0 or all(value.dim() < 3 and value.is_floating_point() for value in _group(subject, output, 0).values()):
        raise NotApplicable("it can't be told whether the first dim is a batch")
    attended = seen.lengths if seen is not None else frozenset()
    if output.shape[0] in attended and not insist:
        raise NotApplicable("it can't be told whether the first dim is a batch or tokens: as many are attended to")
    if not insist and (why := _together(subject, seen, output.shape[0])):
        raise NotApplicable(why)
    words = f"changing the other entries of the batch changes the output for entry {entry} {_by(largest)}"
    return Observation(NAME, "violated", words, largest)


def _group(subject: Subject, output: torch.Tensor, dim: int) -> dict[str, torch.Tensor]:
    """The inputs that share this dim with the output; where it is 1, the first one may be that of tokens."""
    if dim >= output.dim() or output.shape[dim] < 2 or (dim == 1 and output.dim() != 3):
        return {}
    return {
        name: value
        for name, value in subject.tensors.items()
        if value.dim() > 2 * dim
        and value.shape[dim] == output.shape[dim]
        and value.dtype != torch.bool
        and not _NOT_ENTRIES.search(name)
    }


def _worst(subject: Subject, output: torch.Tensor, dim: int, group: dict[str, torch.Tensor]) -> tuple[float, int]:
    """The largest change at an entry when all others change, and that entry."""
    length = output.shape[dim]
    worst = (0.0, 0)
    for entry in sorted({0, length // 2, length - 1}):
        others = [place for place in range(length) if place != entry]
        changed = {
            name: redrawn(value, (dim,), others, subject.seed + entry + 11 * count)
            for count, (name, value) in enumerate(group.items())
        }
        change = float(differences(output, subject.with_inputs(changed).run(), (dim,))[entry])
        worst = max(worst, (change, entry))
    return worst


def _is_batch(subject: Subject, seen: Seen | None, size: int) -> bool:
    """Tell whether dim 0 is surely the batch: attention runs over another, and nothing binds entries together."""
    return seen is not None and bool(seen.applied) and size not in seen.lengths and not _together(subject, seen, size)


def _together(subject: Subject, seen: Seen | None, size: int) -> str:
    """Return a sign that entries of the batch are meant to meet; "" where there is none."""
    names = [name for name, value in subject.inputs.items() if value is not None]
    for part in subject.owner.modules() if subject.owner is not None else ():
        names += [name for name, value in vars(part).items() if isinstance(value, int) and value > 1]
    for name in names:
        if _GROUPS.fullmatch(name.strip("_")):
            return f"entries of the batch may belong together: {name}"
    for before, after in seen.views if seen is not None else ():
        if before and before[0] == size and len(after) > 1 and 1 < after[0] < size and size % after[0] == 0:
            return f"it splits the first dim: {before} is viewed as {after}"
    if seen is not None and seen.drawn:
        return f"random numbers are drawn: {seen.drawn[0]} runs"
    return ""
