"""Inputs for a forward pass that nobody described: what each parameter may be, from source, built module and name."""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Mapping
from typing import Any

from mha_lint.validation.search.inspection import Evidence, Inspected, width_of
from mha_lint.validation.search.specs import (
    Constant,
    DictSpec,
    Dim,
    ObjectSpec,
    SizeSpec,
    Spec,
    TensorSpec,
    TupleSpec,
)
from mha_lint.validation.search.vocabulary import input_kind, parts_of, role_of

_SYMBOLS = re.compile(r"[btshdHW](\*[btshdHW])*")

BATCH_NAMES = frozenset("b bs bsz bsize bz batch batch_size batchsize nbatches n_batch num_batch".split())


_CHANNEL_NAMES = frozenset("c ch chan channels dim e embed_dim d_model hidden n_embd f features _c c_in in_dim".split())


def candidates(
    parameter: inspect.Parameter,
    evidence: Mapping[str, Evidence],
    module: Any,
    inspected: Inspected,
    hint: tuple[str | int | None, ...] | None,
    signature: inspect.Signature,
) -> list[Spec]:
    """Return the specs that may be passed for ``parameter``, the likeliest first."""
    own = evidence.get(parameter.name, Evidence())
    if own.keys:
        others = {name: item for name, item in evidence.items() if name != parameter.name}
        others |= {key: evidence.get(part, Evidence()) for key, part in own.keys.items()}
        entries = [inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY) for key in own.keys]
        parts = [candidates(entry, others, module, inspected, None, signature)[:12] for entry in entries]
        return [DictSpec(tuple(zip(own.keys, chosen, strict=True))) for chosen in _likeliest(parts, 120)]
    kind = input_kind(parameter.name)
    if own.is_used_as_tensor:
        kind = "tensor" if kind in ("height", "width", "space", "start", "count", "flag") else kind
        kind = "context" if kind == "cache" else kind
    if isinstance(parameter.default, bool):
        return [Constant(parameter.default), Constant(not parameter.default)]
    text = str(parameter.annotation)
    is_tensor = "Tensor" in text
    hinted = [_hinted(hint, module)] if hint else []
    specs: list[Spec] = [spec for spec in hinted if spec is not None]
    is_plain = not own.is_calculated_with and not own.fed_to
    is_boolean = own.is_boolean and is_plain and kind in ("mask", "tensor", "context")
    if is_boolean:
        shapes = [spec.dims for spec in specs if isinstance(spec, TensorSpec)] or _of_rank(own.ranks)
        absent = Constant(None)
        likely: list[Spec] = [TensorSpec(dims, "bool") for dims in dict.fromkeys([*shapes, *_MASKS])]
        return [absent, *likely] if parameter.default is None or own.optional else [*likely, absent]
    is_index = own.is_index and is_plain and (is_tensor or text == _UNANNOTATED)
    if is_index and kind in ("tensor", "context", "ids", "positions"):
        return [*_indices(own.ranks), *specs, Constant(0), Constant(None)]
    is_number = text in ("int", "<class 'int'>")
    if not is_tensor and not own.is_used_as_tensor and not (is_number and specs) and (sizes := _sizes(parameter.name)):
        return [*sizes, *specs]
    if is_number or (kind in ("height", "width") and not is_tensor):
        symbol = {"height": "H", "width": "W", "start": "0"}.get(kind, "t")
        if specs:  # a number that has a hint is settled
            return [SizeSpec(spec.dims, single=True) for spec in specs if isinstance(spec, TensorSpec)]
        return [SizeSpec((symbol,), single=True), Constant(0), Constant(1), Constant(4)]
    if text in ("bool", "<class 'bool'>") or (kind == "flag" and not is_tensor):
        return [Constant(False), Constant(True)]
    if text in ("float", "<class 'float'>"):
        return [Constant(1.0), Constant(0.1)]
    if kind == "space" and not is_tensor:
        return [*specs, SizeSpec(("H", "W")), SizeSpec(("t",), single=True), SizeSpec(("H", "W", "W"))]
    made = _object(parameter, module)
    if made is not None:
        return [ObjectSpec(made), Constant(None)]
    context = "s" if kind == "context" else "t"
    match kind:
        case "mask":
            shapes_of_masks = sorted(_MASKS, key=lambda dims: bool(own.ranks) and len(dims) not in own.ranks)
            masks = [TensorSpec(dims, sort) for dims in shapes_of_masks for sort in ("bool", "float")]
            return [Constant(None), *specs, *masks, *_tensors(parameter.name, own, evidence, module, inspected, "t")]
        case "cache":
            state = TensorSpec(("b", "h", "s", "d"))
            return [Constant(None), *specs, TupleSpec((state, state))]
        case "alibi":
            biases = [TensorSpec(dims) for dims in _ALIBI]
            return [*specs, *biases, Constant(None)]
        case "lengths":
            specs += [TensorSpec(("b",), "lengths"), Constant(None)]
        case "vector":
            specs += [TensorSpec(("b", width)) for width in _widths(own, module, inspected)]
        case "start" if not is_tensor:
            return [Constant(0), *specs]
        case "count" if not is_tensor:
            return [SizeSpec(("t",), single=True), *specs, Constant(1), Constant(None)]
        case "ids":
            specs += [TensorSpec(("b", "t"), "ids"), TensorSpec(("t",), "ids")]
        case "positions":
            specs += [TensorSpec(("b", "t"), "positions"), TensorSpec(("t",), "positions")]
        case "cumulative":
            return [*specs, TensorSpec(("t",), "cumulative")]
        case "rotary":
            pairs = [TupleSpec((TensorSpec(dims), TensorSpec(dims))) for dims in _ROTARY]
            singles = [TensorSpec(dims) for dims in (("t", "2*d"), *_ROTARY, ("h", "t", "t"), ("t", "t"))]
            complexes = [TensorSpec(("t", "d//2"), "complex"), TensorSpec(("b", "t", "d//2"), "complex")]
            optional = [Constant(None)] if own.optional or "Optional" in text or "None" in text else []
            if own.fed_to:  # projected, so it has the width of a layer
                specs += _tensors(parameter.name, own, evidence, module, inspected, "t")
            if own.parts or "uple" in text:
                return [*optional, *specs, *pairs, *singles, *complexes]
            return [*optional, *specs, *singles, *complexes, *pairs]
    packed = any(input_kind(name) == "cumulative" for name in signature.parameters)
    if packed and own.fed_to:  # sequences one after the other, with no batch
        specs += [TensorSpec(("t", width)) for width in _widths(own, module, inspected)[:1]]
    specs += _tensors(parameter.name, own, evidence, module, inspected, context)
    spatial = [name for name in signature.parameters if input_kind(name) in ("height", "width", "space")]
    if spatial:
        widths = _widths(own, module, inspected)
        flat: list[Spec] = [TensorSpec(("b", dims, width)) for dims in ("H*W", "H*W+1") for width in widths[:1]]
        specs = [*flat[:1], *specs, *flat[1:]]
        known = own.ranks or [rank for other in evidence.values() for rank in other.ranks][:1]
        if known == [4]:  # one row for each place of an image, of each head, perhaps after a class token
            specs = [*(TensorSpec(("b", "h", dims, "d")) for dims in ("H*W", "H*W+1")), *specs]
    if own.parts == 2:
        specs += [TupleSpec((TensorSpec(dims), TensorSpec(dims))) for dims in _ROTARY]
    return list(dict.fromkeys([*specs, Constant(None)]))


_UNANNOTATED = str(inspect.Parameter.empty)
_PLACES: tuple[tuple[Dim, ...], ...] = (("t",), ("b", "t"), ("t", "t"), ("b", "t", "t"), ("t", "s"), ("b",), ("b", "s"))


def _of_rank(ranks: list[int]) -> list[tuple[Dim, ...]]:
    """The shapes of masks with as many dims as the code unpacks."""
    return [dims for dims in _MASKS if len(dims) in ranks]


def _indices(ranks: list[int]) -> list[Spec]:
    """Whole numbers that lie within a length: places first, which lie within any table of that length."""
    ordered = sorted(_PLACES, key=lambda dims: bool(ranks) and len(dims) not in ranks)
    return [TensorSpec(dims, kind) for kind in ("positions", "ids") for dims in ordered]


def _likeliest(parts: list[list[Spec]], count: int) -> list[tuple[Spec, ...]]:
    """Combinations of one candidate each, at most ``count``, the ones with the smallest sum of places first."""
    places = itertools.product(*(range(len(part)) for part in parts[:4]), *([0] for _ in parts[4:]))
    first = sorted(itertools.islice(places, 12**4), key=sum)[:count]
    return [tuple(part[at] for part, at in zip(parts, place, strict=True)) for place in first]


def _sizes(name: str) -> list[Spec]:
    """Return specs of a number of heads, or a width; none where the name (``h``, ``hidden``) may be a tensor's too."""
    role, parts = role_of(name), parts_of(name)
    if (
        len(name) < 3
        or input_kind(name) == "space"
        or (role == "width" and not {"dim", "size", "width", "model"} & set(parts))
    ):
        return []
    match role:
        case "heads":
            return [SizeSpec(("h",), single=True), Constant(2), Constant(1)]
        case "kv_heads":
            return [Constant(2), SizeSpec(("h",), single=True), Constant(1)]
        case "head_dim":
            return [SizeSpec(("d",), single=True), Constant(16)]
        case "width":
            return [SizeSpec(("h*d",), single=True), SizeSpec(("d",), single=True)]
    return []


NAMED: Mapping[str, str] = {
    **dict.fromkeys("h nh heads n_heads num_heads n_head nheads".split(), "h"),
    **dict.fromkeys("t l n s q_len seq_len tgt_len length q_length seqlen".split(), "t"),
    **dict.fromkeys("d hd dh d_k d_head head_dim dim_head".split(), "d"),
}


def _by_names(names: tuple[str, ...]) -> list[tuple[Dim, ...]]:
    """The dims of a tensor of heads, where it is unpacked into names that say which is which."""
    known = [
        "b" if name in BATCH_NAMES else NAMED.get(name, "") for name in (name.lower().strip("_") for name in names)
    ]
    return [tuple(known)] if len(known) == 4 and set(known) == set("bhtd") else []


def _object(parameter: inspect.Parameter, module: Any) -> Any:
    """An object of the plain class that a parameter is annotated with, where the class takes no arguments."""
    import sys

    name = parameter.annotation
    if isinstance(name, str):
        name = getattr(sys.modules.get(type(module).__module__), name.strip("'\""), None)
    if not isinstance(name, type) or name.__module__.partition(".")[0] in {*sys.stdlib_module_names, "torch"}:
        return None
    try:
        return name()
    except Exception:  # the user's own class may raise anything
        return None


_ALIBI: tuple[tuple[Dim, ...], ...] = (
    ("b*h", 1, "t"), ("b", "h", 1, "t"), (1, "h", 1, "t"), ("h", "t", "t"), (1, "h", "t", "t"), ("b", "h", "t", "t"),
    ("h", 1, "t"),
)  # fmt: skip


_MASKS: tuple[tuple[Dim, ...], ...] = (
    ("t", "t"), ("b", "t"), ("b", 1, "t", "t"), ("b", 1, 1, "t"), ("b", "t", "t"), (1, 1, "t", "t"), ("t", "s"),
    ("b", "s"), ("b", 1, 1, "s"), ("b", 1, "t", "s"), ("h", "t", "t"), ("b", "h", "t", "t"), (1, "t", "t"),
    ("b", "t", "s"),
)  # fmt: skip


_ROTARY: tuple[tuple[Dim, ...], ...] = (
    ("t", "d"), ("b", "t", "d"), (1, "t", "d"), ("t", "d//2"), (1, "t", 1, "d"), (1, 1, "t", "d"), ("b", "t", "d//2"),
)  # fmt: skip


def _hinted(hint: tuple[str | int | None, ...], module: Any) -> TensorSpec | None:
    dims: list[Dim] = []
    for part in hint:
        value: Any = part
        if isinstance(part, str) and part.startswith("self."):
            value = module
            for name in part.split(".")[1:]:
                value = getattr(value, name, None)
        is_number = isinstance(value, int) and not isinstance(value, bool)
        if not is_number and not (isinstance(value, str) and _SYMBOLS.fullmatch(value)):
            return None  # a size that only the model's reasoning knows: the other candidates serve
        dims.append(value)
    return TensorSpec(tuple(dims))


def _widths(own: Evidence, module: Any, inspected: Inspected) -> list[int]:
    widths: list[int] = []
    for path in own.fed_to:
        layer = _leaf(module, path)
        width = width_of(layer) if layer is not None else None
        widths += [width] if width else []
    return list(dict.fromkeys([*widths, *inspected.widths]))[:4] or [inspected.sizes["h"] * inspected.sizes["d"]]


def _leaf(module: Any, path: str) -> Any:
    """The first layer that the attribute leads to: itself, or the first leaf of a container."""
    import torch

    found = module
    for name in path.split("."):
        found = getattr(found, name, None)
    if not isinstance(found, torch.nn.Module):
        return None
    return next((child for child in found.modules() if width_of(child) or hasattr(child, "num_embeddings")), None)


_CONVOLVED = {"Conv3d": 5, "Conv2d": 4, "Conv1d": 3}  # dims of what a layer takes


def _tensors(
    name: str, own: Evidence, evidence: Mapping[str, Evidence], module: Any, inspected: Inspected, length: str
) -> list[Spec]:
    layers = [layer for path in own.fed_to if (layer := _leaf(module, path)) is not None]
    kinds = {type(layer).__name__ for layer in layers}
    ids: list[Spec] = [TensorSpec(("b", length), "ids"), TensorSpec((length,), "ids")]
    if "Embedding" in kinds:
        return ids
    ranks = own.ranks or [rank for other in evidence.values() for rank in other.ranks][:1]
    widths = _widths(own, module, inspected)
    by_width: list[tuple[Dim, ...]] = _by_names(own.names)
    if len(own.names) == 3 and own.names[1].lower() in BATCH_NAMES and own.names[0].lower() not in BATCH_NAMES:
        by_width += [(length, "b", width) for width in widths]
    for width in widths:
        by_width += [("b", length, width), ("b", width, "H", "W"), ("b", "H", "W", width), (length, width)]
        by_width += [("b", length, length, width)]  # one for each pair
    width = widths[0]
    by_width += [("b", "h", length, "d"), ("b", length, "h", "d"), ("b", width), ("b", width, length)]
    by_width += [
        ("b", "t", "H", "W", width),
        ("b", width, "t", "H", "W"),
        ("b", "t", width, "H", "W"),
        ("h", length, "d"),
        (length, "h", "d"),
    ]
    by_width += [("h", "d"), (width,), ("d",), (length, length), ("h", length, length)]
    if own.names:
        at = next((index for index, dim in enumerate(own.names) if dim.lower().strip("_") in _CHANNEL_NAMES), None)
    else:
        at = None

    def badness(indexed: tuple[int, tuple[Dim, ...]]) -> tuple[int, int, int, int]:
        index, dims = indexed
        wrong_rank = int(bool(ranks) and len(dims) not in ranks)
        rank = next((rank for layer, rank in _CONVOLVED.items() if layer in kinds), 0)
        wrong_layer = int(bool(rank) and not (len(dims) == rank and dims[1] in widths))
        wrong_name = int(at is not None and not (at < len(dims) and isinstance(dims[at], int)))
        return wrong_layer, wrong_rank, wrong_name, index

    ordered: list[Spec] = [TensorSpec(dims) for _, dims in sorted(enumerate(dict.fromkeys(by_width)), key=badness)]
    if length == "s":  # as long as the queries, where two lengths are too many
        same = [_renamed(spec) for spec in ordered[:6]]
        ordered = [item for pair in zip(ordered[:6], same, strict=False) for item in pair] + ordered[6:]
    if ranks == [2] and not layers:
        return [*ids, *ordered]
    return [*ordered, *ids]


def _renamed(spec: Spec) -> Spec:
    assert isinstance(spec, TensorSpec)
    return TensorSpec(tuple("t" if dim == "s" else dim for dim in spec.dims), spec.kind)
