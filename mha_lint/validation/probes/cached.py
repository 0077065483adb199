"""Cached equals full: a prefix, and one more token through the cache, give the last row of the whole sequence.

A cache is one that ``forward`` takes as an argument and returns, one that it updates, or one kept in attributes.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from msgspec import Struct, field

from mha_lint.observation import Observation
from mha_lint.validation.probes.facts import Seen
from mha_lint.validation.probes.sequence import differences, positions_in_sequence, rounding
from mha_lint.validation.probes.subject import NotApplicable, Subject, cloned, output_of
from mha_lint.validation.trials import trial

NAME = "cached equals full"
_SLACK = 8  # one row rounds otherwise than many
_CACHE = re.compile(
    r"(past|layer_past|cache|layer_cache|kv|kv_?caches?|cached_kv|cache_kv|past_kvs?|past_key_values?|prev_kv|key_value_cache)"
)
_FLAG = re.compile(r"(use|return|with|output)_(kv_?)?(cache|past|kv|present)|use_past|cache_output")
_START = re.compile(r"start_?pos|start|(pos(ition)?_|cache_|past_)?offset|past_(seq_)?len(gth)?|cache_len(gth)?|pos")
_OF_OTHERS = re.compile(r"context|memory|encoder|cond|cross|key_value_states|hidden_states_\d")
_HELD = re.compile(
    r"(k|v|kv|keys?|values?|past)_?(cached?|past)|(cached?|past|prev)_?(k|v|kv|keys?|values?)|kv_?cached?|cache|past_?kv"
)
_WINDOW = re.compile(r"window|max_?(cache|len|seq)|cache_?(size|len)")


class _Protocol(Struct, frozen=True):
    """The parameters of ``forward`` that have to do with a cache."""

    cache: str  # "" where it is kept in attributes
    flags: tuple[str, ...]
    starts: tuple[str, ...]


class _Sequence(Struct, frozen=True):
    """The tokens of a call: which dim of which input has them, and how many there are."""

    dims: dict[str, int]
    length: int


class _Kept(Struct):
    """A cache to which keys and values are handed, and which returns all that it was handed."""

    pairs: dict[Any, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)

    def update(self, key: torch.Tensor, value: torch.Tensor, layer: Any = 0, *_: Any, **__: Any) -> Any:
        if layer in self.pairs:
            before = self.pairs[layer]
            key, value = torch.cat((before[0], key), -2), torch.cat((before[1], value), -2)
        self.pairs[layer] = key, value
        return key, value

    def get_seq_length(self, layer: Any = 0) -> int:
        return self.pairs[layer][0].shape[-2] if layer in self.pairs else 0


def observe(subject: Subject, seen: Seen | None, insist: bool) -> Observation:
    protocol = _protocol(subject)
    subject = subject.with_inputs(positions_in_sequence(subject))
    sequence = _sequence(subject)
    whole = _called(subject, protocol, [(subject.inputs, None)], cached=False)[0]
    first, last = _cut(subject, sequence, protocol)
    prefix, step = _through_cache(subject, protocol, first, last)
    place = _place(whole, step, sequence.length)
    row = whole.narrow(place, sequence.length - 1, 1)
    rows = whole.narrow(place, 0, sequence.length - 1)
    allowed = _SLACK * rounding(whole)
    apart = _largest(row, step)
    alone = _called(subject, protocol, [(first, None)], cached=False)[0]
    is_causal = alone.shape == rows.shape and _largest(rows, alone) <= allowed
    if apart > allowed:
        if not is_causal and (seen is None or len(seen.applied) != 1):
            raise NotApplicable("without a cache, earlier rows depend on later tokens")
        if why := _window(subject, sequence.length):
            raise NotApplicable(f"its cache may be shorter than the sequence: {why}")
        words = f"the last of {sequence.length} tokens through the cache gives another row than in the whole sequence"
        return Observation(NAME, "violated", f"{words}: they differ by {apart:.3g}", apart)
    early = _largest(rows, prefix) if is_causal and prefix.shape == rows.shape else 0.0
    if early > allowed:
        words = f"the first {sequence.length - 1} tokens give other rows where a cache is filled than where none is"
        return Observation(NAME, "violated", f"{words}: they differ by {early:.3g}", early)
    words = f"the last of {sequence.length} tokens through the cache gave the last row of the whole sequence"
    return Observation(NAME, "holds", words)


def _largest(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(differences(one, other, tuple(range(one.dim()))).max())


def _place(whole: torch.Tensor, step: torch.Tensor, length: int) -> int:
    """Return the dim of the output that has the tokens. Raises NotApplicable where it can't be told."""
    if whole.dim() == step.dim():
        places = [dim for dim, size in enumerate(whole.shape) if size == length and step.shape[dim] == 1]
        if len(places) == 1:
            return places[0]
    raise NotApplicable(f"one token gives {tuple(step.shape)}, and the whole sequence {tuple(whole.shape)}")


# --- what is called, and with what --------------------------------------------------------------------------------


def _protocol(subject: Subject) -> _Protocol:
    """Raises NotApplicable where nothing is named after a cache."""
    names = _parameters(subject.module)
    caches = [name for name in names if _CACHE.fullmatch(name)]
    flags = tuple(name for name in names if _FLAG.fullmatch(name))
    given = subject.tensors
    starts = tuple(name for name in names if _START.fullmatch(name) and name not in given)
    if len(caches) > 1:
        raise NotApplicable(f"it takes several caches: {', '.join(caches)}")
    if not caches and not any(True for _ in _held(subject)):
        raise NotApplicable("it takes no cache and keeps none")
    return _Protocol(caches[0] if caches else "", flags, starts)


def _parameters(module: Callable[..., Any]) -> list[str]:
    function = module.forward if isinstance(module, torch.nn.Module) else module
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return []


def _held(subject: Subject) -> Iterator[tuple[int, str, Any]]:
    """Yield what is kept under a name for cached keys and values: whose it is, the name, and the value."""
    for count, part in enumerate(subject.owner.modules() if subject.owner is not None else ()):
        for name, value in {**vars(part), **part._buffers}.items():
            if _HELD.fullmatch(name.strip("_")) and not isinstance(value, (bool, int, str)):
                yield count, name, value


def _sequence(subject: Subject) -> _Sequence:
    """Return the tokens of the call. Raises NotApplicable where it can't be told which dims have them."""
    dims: dict[str, int] = {}
    for name, value in subject.tensors.items():
        is_index = value.dim() == 2 and not value.is_floating_point() and value.dtype != torch.bool
        known = subject.axes.get(name)
        if known is not None and known.tokens is not None:
            dims[name] = known.tokens % value.dim()
        elif "mask" in name or "pos" in name or _OF_OTHERS.search(name) or _CACHE.fullmatch(name):
            continue
        elif is_index or (value.dim() == 3 and value.is_floating_point()):
            dims[name] = 1
    lengths = {subject.tensors[name].shape[dim] for name, dim in dims.items()}
    if len(lengths) != 1:
        raise NotApplicable("it can't be told which inputs are the tokens")
    length = lengths.pop()
    if length < 3:
        raise NotApplicable("there are too few tokens")
    return _Sequence(dims, length)


def _cut(subject: Subject, sequence: _Sequence, protocol: _Protocol) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the inputs of all tokens but the last, and those of the last."""
    first, last = dict(subject.inputs), dict(subject.inputs)
    length = sequence.length
    for name, value in subject.inputs.items():
        if name == protocol.cache:
            continue
        if name in sequence.dims:
            first[name] = value.narrow(sequence.dims[name], 0, length - 1)
            last[name] = value.narrow(sequence.dims[name], length - 1, 1)
        elif not _OF_OTHERS.search(name):
            first[name], last[name] = _parts(name, value, length)
    return first, last


def _parts(name: str, value: Any, length: int) -> tuple[Any, Any]:
    """Cut what is given of each token or of each pair: positions, masks. The last token keeps the mask of all keys."""
    if type(value) in (tuple, list):
        pairs = [_parts(name, each, length) for each in value]
        return type(value)(one for one, _ in pairs), type(value)(other for _, other in pairs)
    if not isinstance(value, torch.Tensor):
        return value, value
    dims = [dim for dim, size in enumerate(value.shape) if size == length]
    if "mask" in name:
        first = value
        for dim in dims[-2:]:
            first = first.narrow(dim, 0, length - 1)
        is_square = value.dim() > 1 and dims[-2:] == [value.dim() - 2, value.dim() - 1]
        return first, value.narrow(value.dim() - 2, length - 1, 1) if is_square else value
    if len(dims) != 1:
        return value, value
    return value.narrow(dims[0], 0, length - 1), value.narrow(dims[0], length - 1, 1)


def _called(
    subject: Subject, protocol: _Protocol, calls: list[tuple[Mapping[str, Any], Any]], *, cached: bool
) -> list[torch.Tensor]:
    """Return the outputs of calls, each with inputs and a cache, that follow each other in one state."""
    try:
        return [output_of(result) for result in _results(subject, protocol, calls, cached=cached)]
    finally:
        subject.state.restore()


def _results(
    subject: Subject, protocol: _Protocol, calls: list[tuple[Mapping[str, Any], Any]], *, cached: bool
) -> Iterator[Any]:
    trial.seed_everything(subject.seed)
    for count, (inputs, cache) in enumerate(calls):
        arguments = {name: cloned(value) for name, value in inputs.items()}
        arguments |= dict.fromkeys(protocol.flags, cached)
        length = next(iter(subject.tensors[name].shape[dim] for name, dim in _sequence(subject).dims.items()))
        arguments |= dict.fromkeys(protocol.starts, length - 1 if count else 0)
        if protocol.cache:
            arguments[protocol.cache] = cache
        yield subject.call(arguments)


# --- the cache ----------------------------------------------------------------------------------------------------


def _through_cache(
    subject: Subject, protocol: _Protocol, first: Mapping[str, Any], last: Mapping[str, Any]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the outputs of the prefix, and of the last token after it. Raises NotApplicable without a cache."""
    if not protocol.cache:
        return _through_attributes(subject, protocol, first, last)
    try:
        cache = _returned(*_filled(subject, protocol, first))
        kept = _Kept()
        given = cache if cache is not None else kept
        calls = [(first, None if cache is not None else kept), (last, given)]
        subject.state.restore()
        prefix, step = _called(subject, protocol, calls, cached=True)
    finally:
        subject.state.restore()
    if cache is None and not kept.pairs:
        raise NotApplicable(f"no cache was found in what it returns, and {protocol.cache} is not updated")
    return prefix, step


def _filled(subject: Subject, protocol: _Protocol, first: Mapping[str, Any]) -> tuple[Any, torch.Tensor | None]:
    """Return what the prefix gives where no cache is given, and the output in it; None where that is refused."""
    try:
        result = next(_results(subject, protocol, [(first, None)], cached=True))
    except (TypeError, AttributeError, ValueError):
        return None, None
    return result, output_of(result)


def _through_attributes(
    subject: Subject, protocol: _Protocol, first: Mapping[str, Any], last: Mapping[str, Any]
) -> tuple[torch.Tensor, torch.Tensor]:
    before = {(count, name): cloned(value) for count, name, value in _held(subject)}
    try:
        calls = _results(subject, protocol, [(first, None), (last, None)], cached=True)
        prefix = output_of(next(calls))
        if all(_is_same(before.get((count, name)), value) for count, name, value in _held(subject)):
            raise NotApplicable("it fills none of the attributes that are named after a cache")
        step = output_of(next(calls))
    finally:
        subject.state.restore()
    return prefix, step


def _is_same(before: Any, after: Any) -> bool:
    one, other = (
        [leaf for _, leaf in trial.flatten(value, "cache") if isinstance(leaf, torch.Tensor)]
        for value in (before, after)
    )
    return len(one) == len(other) and all(map(torch.equal, one, other))


def _returned(result: Any, output: torch.Tensor | None) -> Any:
    """Return the cache among what a call returned: keys and values, in tuples or in one tensor; None without one."""
    if isinstance(result, dict):
        items = list(result.values())
    elif isinstance(result, (tuple, list)):
        items = list(result)
    else:
        items = list(vars(result).values()) if hasattr(result, "__dict__") else []
    for item in items:
        leaves = [leaf for _, leaf in trial.flatten(item, "item") if isinstance(leaf, torch.Tensor)]
        if not isinstance(item, torch.Tensor) and len(leaves) > 1 and all(leaf.dim() > 2 for leaf in leaves):
            return item
        if isinstance(item, torch.Tensor) and item.dim() == 5 and item.shape[0] == 2 and item is not output:
            return item
    return None


def _window(subject: Subject, length: int) -> str:
    """Return a setting that says that a cache keeps fewer tokens; "" for none."""
    for part in subject.owner.modules() if subject.owner is not None else ():
        for name, value in vars(part).items():
            if _WINDOW.search(name) and isinstance(value, int) and 0 < value < length:
                return f"{name} = {value}"
    return ""
