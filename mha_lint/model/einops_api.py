"""einops ``rearrange`` and ``repeat``: split, permute and merge named axes; its ``einsum``."""

from __future__ import annotations

import re
from string import ascii_letters

from msgspec.structs import replace

from mha_lint.model import folds, layout
from mha_lint.model.axes import Role, Source
from mha_lint.model.folded import Fold, Part
from mha_lint.model.keys import dimension
from mha_lint.model.layout import Answer, Shape
from mha_lint.model.masks import mask_of
from mha_lint.model.operations import OPERATIONS, laid_anew, merged, permuted
from mha_lint.model.padding import rearranged as rearranged_padding
from mha_lint.model.run import Call, normal
from mha_lint.model.sizes import ONE, Size, equate, product, symbol
from mha_lint.model.values import NOTHING, Const, Tensor, Value, as_size, of_shape
from mha_lint.vocabulary import BATCH_SIZE, HEADS, ROWS_AND_COLUMNS, SEQUENCE_LENGTH, is_said

_AXIS = re.compile(r"\(([^()]*)\)|(\S+)")
_NAME = re.compile(r"\w+")
Groups = list[list[str]]


def parse(side: str) -> Groups | None:
    """``"b n (h d)"`` as ``[["b"], ["n"], ["h", "d"]]``; None for an ellipsis or a stray parenthesis."""
    if "..." in side or "…" in side:
        return None
    groups = [(inner if inner or not single else single).split() for inner, single in _AXIS.findall(side)]
    return None if any("(" in name or ")" in name for group in groups for name in group) else groups


def rearrange(call: Call) -> Value:
    """``rearrange(tensor, pattern, **sizes)``."""
    return _as_mask(call, _rearranged(call))


def _rearranged(call: Call) -> Value:
    tensor = call.tensor(0, "tensor")
    if tensor is None:
        return Tensor()
    sides = _sides(call, tensor.rank)
    if sides is None:
        return _from_the_end(call, tensor)
    left, right = sides
    if tensor.shape is None:
        tensor = call.interpreter.refine(call.state, tensor, len(left))
    if tensor.shape is None or len(tensor.shape) != len(left):
        return _unlaid(tensor)
    sizes = _axis_sizes(call, tensor, left, _given_sizes(call))
    tensor = normal(tensor, call.state)
    sizes = {name: call.state.normal(size) for name, size in sizes.items()}
    _note_names(call, sizes, right)
    _note_heads(call, tensor, left, sizes)
    axes = [name for group in left for name in group if name != "1"]
    wanted = [name for group in right for name in group if name != "1"]
    if sorted(axes) != sorted(wanted):
        return of_shape(tuple(product(sizes.get(n, call.fresh_size(n)) for n in g) for g in right))
    return _merge(call, permuted(call, _split(tensor, [sizes[name] for name in axes]),
                                 [axes.index(name) for name in wanted]), right, sizes)  # fmt: skip


def _note_heads(call: Call, tensor: Tensor, groups: Groups, sizes: dict[str, Size]) -> None:
    """``b t (h d) -> ...``: the width of a projection is split into its heads."""
    if tensor.scale is None or not tensor.scale.whole or len(groups) != 3 or len(groups[1]) != 1:
        return
    parts = groups[-1]
    if len(parts) in (2, 3) and not is_said(HEADS, parts[-1]):
        call.interpreter.axes.tell_heads(sizes[parts[-2]], sizes[groups[1][0]])


def _note_names(call: Call, sizes: dict[str, Size], groups: Groups) -> None:
    """The names of axes tell what they count; rows and columns that are made one are tokens."""
    for group in groups:
        if len(group) > 1 and all(is_said(ROWS_AND_COLUMNS, name) for name in group):
            call.interpreter.axes.tell(product(sizes[name] for name in group), Role.TOKENS, Source.IMAGE)
    for name, size in sizes.items():
        if is_said(BATCH_SIZE, name):
            call.interpreter.axes.tell(size, Role.BATCH, Source.NAMES)
        elif is_said(SEQUENCE_LENGTH, name):
            call.interpreter.axes.tell(size, Role.TOKENS, Source.NAMES)


def _from_the_end(call: Call, tensor: Tensor) -> Tensor:
    """Return the tensor with its new last dimensions, where the number of dimensions in ``...`` is not known."""
    pattern = pattern_of(call)
    if tensor.shape is not None or pattern is None or any(side.count("...") != 1 for side in pattern):
        return _unlaid(tensor)
    ends = [side.split("...") for side in pattern]
    if any(side.count("(") != side.count(")") for end in ends for side in end):  # (... h) merges what is not known
        return _unlaid(tensor)
    groups, wanted = (parse(end[1]) for end in ends)
    if groups is None or wanted is None:
        return _unlaid(tensor)
    sizes = _given_sizes(call)
    known = tensor.suffix or (() if tensor.key is None else (symbol(dimension(tensor.key, -1)),))
    count = min(len(known), len(groups))
    last = of_shape(known[len(known) - count :])
    sizes |= _axis_sizes(call, last, groups[len(groups) - count :], sizes)
    suffix = tuple(product(sizes.get(name, call.fresh_size(name)) for name in group if name != "1") for group in wanted)
    key = call.interpreter.key(call.node)
    return replace(_unlaid(tensor), suffix=tuple(map(call.state.normal, suffix)), key=key)


def _unlaid(tensor: Tensor) -> Tensor:
    """Return a tensor with the roles, merge, scale and inputs that this one keeps however its axes are moved."""
    roles = tensor.roles - {"context"}
    return Tensor(roles=roles, merge=tensor.merge, scale=tensor.scale, inputs=tensor.inputs)


def _sides(call: Call, rank: int | None) -> tuple[Groups, Groups] | None:
    """The two sides of the pattern, with a name for each axis of ``...``."""
    sides = pattern_of(call)
    if sides is None:
        return None
    groups = parse(sides[0].replace("...", " "))
    if "..." in sides[0] and rank is not None and groups is not None and 0 <= (extra := rank - len(groups)) < 8:
        filled = " ".join(f"_{index}" for index in range(extra))
        sides = sides[0].replace("...", filled), sides[1].replace("...", filled)
    left, right = map(parse, sides)
    return None if left is None or right is None else (left, right)


def pattern_of(call: Call) -> tuple[str, str] | None:
    """The texts of the two sides of the pattern."""
    pattern = call.args[1] if len(call.args) > 1 else call.keywords.get("pattern")
    match pattern:
        case Const(str(text)) if text.count("->") == 1:
            left, _, right = text.replace("…", "...").partition("->")
            return left, right
        case _:
            return None


def _given_sizes(call: Call) -> dict[str, Size]:
    """The sizes of axes that the call gives by name."""
    known = {name: as_size(value) for name, value in call.keywords.items()}
    return {name: call.state.normal(size) for name, size in known.items() if size is not None}


def _axis_sizes(call: Call, tensor: Tensor, groups: Groups, sizes: dict[str, Size]) -> dict[str, Size]:
    """The sizes of all axes, some of which are known; equal ones are learnt."""
    assert tensor.shape is not None
    for group, whole in zip(groups, tensor.shape, strict=True):
        unknown = [name for name in group if name not in sizes and name != "1"]
        known = product(sizes[name] for name in group if name in sizes)
        if not unknown:
            equate(whole, known, call.state.definitions)
            continue
        whole = call.state.normal(whole)
        for name in unknown[1:]:
            sizes[name] = call.fresh_size(name)
        rest = whole.divide(known * product(sizes[name] for name in unknown[1:]))
        if rest is None:
            rest = call.fresh_size(unknown[0])
            sizes[unknown[0]] = rest
            equate(whole, product(sizes[name] for name in group if name != "1"), call.state.definitions)
        sizes[unknown[0]] = rest
    return sizes


def _split(tensor: Tensor, shape: list[Size]) -> Tensor:
    target = tuple(shape)
    strides = None
    if tensor.shape is not None and tensor.strides is not None:
        _, strides = layout.view(tensor.shape, tensor.strides, target)
    return replace(_shaped(tensor, target), strides=strides)


def _shaped(tensor: Tensor, target: Shape) -> Tensor:
    normalised = tensor.normalised
    if normalised is not None:
        normalised = laid_anew(normalised, tensor.shape or (), target)
    there = folds.viewed(tensor, target)
    return replace(tensor, shape=target, normalised=normalised, folds=there, of_math=None, uncopied=None)


def _merge(call: Call, tensor: Tensor, groups: Groups, sizes: dict[str, Size]) -> Value:
    target = tuple(product(sizes[name] for name in group if name != "1") if group else ONE for group in groups)
    strides = None
    if tensor.shape is not None and tensor.strides is not None:
        answer, strides = layout.view(tensor.shape, tensor.strides, target)
        if answer is Answer.NEVER:
            strides = layout.contiguous_strides(target)
    contiguous = strides is not None and layout.is_contiguous(target, strides) is Answer.ALWAYS
    return merged(call, tensor, replace(_shaped(tensor, target), strides=strides, contiguous=contiguous))


def _as_mask(call: Call, result: Value) -> Value:
    """The result of a mask that is laid out anew: it is one still."""
    first = call.args[0] if call.args else None
    known = mask_of(first, call.interpreter)
    if known is None:
        return result
    pattern = pattern_of(call)
    left, right = ([], []) if pattern is None else (side.split() for side in pattern)
    mask = known if left[-2:] == right[-2:] and len(left) > 1 else known.somewhere()
    if known.padding is not None:
        mask = replace(mask, padding=rearranged_padding(call.node, known.padding, left, right))
    tensor = result if isinstance(result, Tensor) else Tensor(key=call.interpreter.key(call.node))
    return replace(tensor, mask=mask)


def repeat(call: Call) -> Value:
    """``repeat(tensor, pattern, **sizes)``: the shape, and what a mask is."""
    return _as_mask(call, _repeated(call))


def _repeated(call: Call) -> Value:
    tensor = call.tensor()
    sides = _sides(call, None if tensor is None else tensor.rank)
    if sides is None:
        return NOTHING
    sizes = _given_sizes(call)
    if tensor is not None and tensor.shape is not None and len(tensor.shape) == len(sides[0]):
        sizes = _axis_sizes(call, tensor, sides[0], sizes)
    sizes |= {name: call.fresh_size(name) for group in sides[1] for name in group if name not in sizes}
    shape = tuple(product(sizes[name] for name in group) for group in sides[1])
    there = _folds(call, sides, sizes)
    if tensor is None or "parameter" not in tensor.roles:
        return of_shape(shape, folds=there)
    known = {name for group in sides[0] for name in group}
    grown = [dim for dim, group in enumerate(sides[1]) if len(group) == 1 and group[0] not in known | {"1"}]
    if len(shape) == 3 and len(grown) == 1 and grown[0] in (0, 1):  # learned tokens, for each entry
        call.interpreter.axes.tell(shape[grown[0]], Role.BATCH, Source.TOKEN)
    return of_shape(shape, roles=frozenset({"parameter"}), folds=there)


def _folds(call: Call, sides: tuple[Groups, Groups], sizes: dict[str, Size]) -> folds.Folds:
    """``b i j -> (h b) i j``: names that are new are repeated, and the names in a group have its order."""
    old = {name for group in sides[0] for name in group}
    found: list[Fold] = []
    for dim, group in enumerate(sides[1], start=-len(sides[1])):
        parts = tuple(Part(sizes[name], alike=name not in old) for name in group)
        found.append(Fold(dim, parts, call.node if any(part.alike for part in parts) else None))
    return folds.told(found)


def einsum(call: Call) -> Value:
    """``einsum(q, k, "b i d, b j d -> b i j")``: as torch's, with a letter for each name."""
    *tensors, pattern = call.args or (NOTHING,)
    text = pattern.value if isinstance(pattern, Const) else None
    if not isinstance(text, str):
        return NOTHING
    names = sorted(set(_NAME.findall(text)))
    if len(names) > len(ascii_letters) or "(" in text:
        return NOTHING
    letters = dict(zip(names, ascii_letters, strict=False))
    equation = _NAME.sub(lambda name: letters[name.group()], text)
    return OPERATIONS["einsum"](replace(call, args=(Const(equation), *tensors), keywords={}))
