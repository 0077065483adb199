"""``--debug-model``: what the layout model knows of each tensor of a file, beside the line that makes it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from mha_lint.model.attention import FileModel
from mha_lint.model.events import ValueSeen
from mha_lint.model.keys import Key
from mha_lint.model.layout import Answer, Shape, dense_order, is_contiguous
from mha_lint.model.sizes import ONE, Size, product, symbol
from mha_lint.model.values import Tensor
from mha_lint.syntax.places import Places

Line = tuple[int, str, str, str, str]  # row, name, shape, layout, roles

# What the model calls roles, in the order in which they are told; those that a later one implies are left out.
_ROLES = {
    "parameter": "parameter",
    "scores": "scores",
    "weights": "weights",
    "merged": "merged heads",
    "context": "context",
    "projected": "after the output projection",
    "projection": "projection",
    "features": "feature map",
}


def debug_model(model: FileModel, places: Places) -> str:
    """A table for each function in the order of the file: row, name, shape, memory layout, role in attention."""
    rows: dict[str, list[Line]] = defaultdict(list)
    for node, found in model.trace.items():
        for seen in found:
            assert isinstance(seen.value, Tensor)
            row = places.start(node).row
            line = (
                row,
                seen.name,
                _shape(seen.value, seen.names),
                _layout(seen.value, seen.names),
                ", ".join(_roles(seen, model.uses.get(node, set()))),
            )
            if line not in rows[seen.symbol]:
                rows[seen.symbol].append(line)
    blocks = []
    for name, lines in sorted(rows.items(), key=lambda item: min(item[1])):
        kinds = sorted(model.kinds.get(name, ()))
        title = f"{name}{' · ' + ', '.join(kinds) if kinds else ''}"
        blocks.append("\n".join([title, *_table(_best_known(sorted(lines)))]))
    return "\n\n".join(blocks) + "\n" if blocks else "no tensor is known in this file\n"


def tensor_text(found: Iterable[ValueSeen]) -> list[str]:
    """What is known of the tensor that one expression gives: a line for each path that tells another thing.

    A line is as ``(b, h, t, d) · memory b·t·h·d · contiguous: never``.
    """
    lines: list[Line] = []
    for seen in found:
        tensor = seen.value
        assert isinstance(tensor, Tensor)
        lines.append((0, "", _shape(tensor, seen.names), _layout_and_answer(tensor, seen.names), ""))
    return list(dict.fromkeys(f"{shape} · {layout}" for _, _, shape, layout, _ in _best_known(lines)))


def _layout_and_answer(tensor: Tensor, names: Mapping[Size, str]) -> str:
    layout = _layout(tensor, names)
    if tensor.shape is None or tensor.strides is None:
        return layout
    answer = f"contiguous: {is_contiguous(tensor.shape, tensor.strides).name.lower()}"
    return answer if layout == "contiguous" else f"{layout} · {answer}"


def _best_known(lines: list[Line]) -> list[Line]:
    """Without what is said of a tensor on one path where another path tells more."""
    known = {(row, name) for row, name, shape, *_ in lines if "…" not in shape and "?" not in shape}
    laid_out = {(row, name) for row, name, _, layout, _ in lines if layout != "layout unknown"}
    return [
        line
        for line in lines
        if not (line[:2] in known and ("…" in line[2] or "?" in line[2]))
        and not (line[:2] in known and line[:2] in laid_out and line[3] == "layout unknown")
    ]


def _table(lines: list[Line]) -> Iterator[str]:
    cells = [(str(row), *rest) for row, *rest in lines]
    widths = [max(len(line[column]) for line in cells) for column in range(4)]
    for row, name, shape, layout, role in cells:
        text = f"  {row:>{widths[0]}}  {name:<{widths[1]}}  {shape:<{widths[2]}}  {layout:<{widths[3]}}  {role}"
        yield text.rstrip()


def _shape(tensor: Tensor, names: Mapping[Size, str]) -> str:
    if tensor.shape is None:
        known = [size_text(size, names) for size in tensor.suffix]
        return f"({', '.join(['…', *known])})" if known else "?"
    return shape_text(tensor.shape, names)


def shape_text(shape: Shape, names: Mapping[Size, str]) -> str:
    """A shape in the function's own names, as far as it has any."""
    sizes = [size_text(size, names) for size in shape]
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"


def size_text(size: Size, names: Mapping[Size, str]) -> str:
    """A size in the function's own names, as far as it has any."""
    if size in names:
        return names[size]
    parts = []
    for monomial, coefficient in reversed(size.terms):
        factors = [names.get(symbol(key), _bare(key)) for key in monomial]
        parts.append("*".join([*([str(coefficient)] if coefficient != 1 or not factors else []), *factors]))
    return " + ".join(parts).replace("+ -", "- ") or "0"


def _bare(key: Key) -> str:
    return "·" if key.computed or key.left_over else str(key)


def _layout(tensor: Tensor, names: Mapping[Size, str]) -> str:
    if tensor.shape is None or tensor.strides is None:
        return "contiguous" if tensor.contiguous else "layout unknown"
    if is_contiguous(tensor.shape, tensor.strides) is Answer.ALWAYS:
        return "contiguous"
    if dense_order(tensor.shape, tensor.strides):
        return "memory " + "·".join(size_text(size, names) for size in _in_memory(tensor))
    return "expanded" if any(not stride.terms for stride in tensor.strides) else "sliced"


def _in_memory(tensor: Tensor) -> list[Size]:
    """The dimensions of a dense tensor, outermost in memory first."""
    assert tensor.shape is not None and tensor.strides is not None
    left = [(size, stride) for size, stride in zip(tensor.shape, tensor.strides, strict=True) if size != ONE]
    order: list[Size] = []
    while left:
        inner = next(dim for dim in left if dim[1] == product(order))
        left.remove(inner)
        order.append(inner[0])
    return order[::-1]


def _roles(seen: ValueSeen, uses: set[str]) -> Iterator[str]:
    tensor = seen.value
    assert isinstance(tensor, Tensor)
    yield from sorted(uses)
    if uses & {"query", "key", "value"} and "scores" not in tensor.roles:
        return
    for role, told in _ROLES.items():
        if role in tensor.roles and not (role == "projection" and "projected" in tensor.roles):
            yield told
