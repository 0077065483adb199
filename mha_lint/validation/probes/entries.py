"""Find the entries of a batch in the inputs of a call, and change or permute them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from msgspec import Struct

from mha_lint.validation.probes.input_masks import is_mask, mask_redrawn
from mha_lint.validation.probes.sequence import redrawn
from mha_lint.validation.probes.subject import NotApplicable, Subject


class Entries(Struct, frozen=True, eq=False):
    """Where the ``count`` entries of a batch are: the dim of each input that has them, and that of the output.

    An input may have several rows for each entry, one after the other (a mask for each head).
    """

    count: int
    dims: dict[str, int]
    output: int

    def rows(self, value: torch.Tensor, name: str, places: Sequence[int]) -> list[int]:
        """Return the indices, in its dim of entries, that these entries have in an input."""
        each = value.shape[self.dims[name]] // self.count
        return [place * each + row for place in places for row in range(each)]


def known_entries(subject: Subject, output: torch.Tensor) -> Entries | None:
    """Return the entries that ``subject.axes`` tell of; None where they tell of none.

    Inputs of which nothing is told are entries as well where their size leaves no doubt.
    Raises NotApplicable where it can't be told which dim of the output has them.
    """
    dims: dict[str, int] = {}
    for name, axes in subject.axes.items():
        value = subject.tensors.get(name)
        if value is not None and axes.batch is not None and -value.dim() <= axes.batch < value.dim():
            dims[name] = axes.batch % value.dim()
    if not dims:
        return None
    sizes = [subject.tensors[name].shape[dim] for name, dim in dims.items()]
    count = min(sizes)
    if count < 2:
        raise NotApplicable("the batch has one entry")
    if any(size % count for size in sizes):
        raise NotApplicable(f"batches of {' and '.join(map(str, sizes))} entries are given")
    places = [dim for dim, size in enumerate(output.shape) if size == count]
    if len(places) != 1:
        raise NotApplicable(f"it can't be told which dim of the output {tuple(output.shape)} has the {count} entries")
    firsts = {0, *dims.values()}
    for name, value in subject.tensors.items():
        dim = _only_dim(value, count)
        if name not in dims and dim in firsts:
            dims[name] = dim
    return Entries(count, dims, places[0])


def sure_entries(subject: Subject, count: int, names: Iterable[str]) -> Entries:
    """Return the entries of dim 0, which is surely the batch of these inputs, with the masks that each has."""
    masks = [name for name, value in subject.tensors.items() if is_mask(name, value) and _only_dim(value, count) == 0]
    return Entries(count, dict.fromkeys([*names, *masks], 0), 0)


def _only_dim(value: torch.Tensor, size: int) -> int:
    """Return the only dim of this size; -1 where there are several or none."""
    alike = [dim for dim, each in enumerate(value.shape) if each == size]
    return alike[0] if len(alike) == 1 else -1


def with_others_changed(subject: Subject, entries: Entries, held: int, *, masks: bool) -> Subject:
    """Return the subject with all entries but one changed: of masks alone, or of all inputs but masks."""
    others = [place for place in range(entries.count) if place != held]
    changed: dict[str, torch.Tensor] = {}
    for number, (name, dim) in enumerate(entries.dims.items()):
        value = subject.tensors[name]
        if is_mask(name, value) is masks:
            redraw = mask_redrawn if masks else redrawn
            rows = entries.rows(value, name, others)
            changed[name] = redraw(value, (dim,), rows, subject.seed + held + 11 * number)
    return subject.with_inputs(changed)


def has_masks(subject: Subject, entries: Entries) -> bool:
    """Tell whether a mask is given for each entry."""
    return any(is_mask(name, subject.tensors[name]) for name in entries.dims)


def rolled(subject: Subject, entries: Entries) -> Subject | None:
    """Return the subject with each entry in the place of the one before it.

    None where another input may have something for each entry, and it can't be told where.
    """
    order = [(place + 1) % entries.count for place in range(entries.count)]
    changed: dict[str, Any] = {}
    for name, value in subject.inputs.items():
        if name in entries.dims:
            rows = torch.tensor(entries.rows(value, name, order), device=value.device)
            changed[name] = value.index_select(entries.dims[name], rows)
        elif _may_have_entries(value, entries.count):
            return None
    return subject.with_inputs(changed)


def _may_have_entries(value: Any, count: int) -> bool:
    if isinstance(value, torch.Tensor):
        return any(size == count or (size > count and size % count == 0 and not dim) for dim, size in
                   enumerate(value.shape))  # fmt: skip
    if isinstance(value, Mapping):
        return any(_may_have_entries(item, count) for item in value.values())
    if isinstance(value, (tuple, list)):
        return len(value) == count or any(_may_have_entries(item, count) for item in value)
    return False
