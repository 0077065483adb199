"""MHA003: build an output projection at the identity and apply it to the merged heads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import libcst as cst

from mha_lint.findings import Edit, Fix
from mha_lint.model import usage
from mha_lint.model.sizes import Size, symbol
from mha_lint.model.values import Int, Layer, State, Unknown, as_size

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.model.places import Places
    from mha_lint.rules import Hit
    from mha_lint.rules.missing_output_projection import Unprojected

_NAMES = ("out_proj", "output_projection", "proj_out", "heads_proj")


def fix(hit: Hit, context: Context) -> Fix | str:
    """Edits in ``__init__`` and in ``forward``, or why there are none."""
    evidence: Unprojected = hit.evidence
    if evidence.unused is not None:
        return _apply_existing(evidence, evidence.unused, context)
    init = evidence.model.cls.methods.get("__init__")
    if init is None:
        return "the class has no `__init__` to build the projection in"
    if len(evidence.widths) != 1:
        return "the width of the merged heads is not known"
    width = _in_constructor_terms(evidence.widths[0], evidence.sizes, init)
    if width is None:
        return f"the merged width {evidence.widths[0]} can't be told in the constructor's own terms"
    nn = _nn_name(context)
    if nn is None:
        return "neither `torch` nor `torch.nn` is imported under a name"
    name = next(
        n for n in _NAMES if n not in evidence.model.built[0].attributes and n not in evidence.model.cls.methods
    )
    applied = _applied(evidence, name, context.places)
    if isinstance(applied, str):
        return applied
    receiver = init.params.params[0].name.value if init.params.params else "self"
    habits = _habits(evidence.model.built[0], context.places)
    layer = f"{receiver}.{name}"
    lines = [f"{layer} = {nn}.Linear({width}, {width}{habits.options})"]
    if context.settings.out_proj_init == "identity":
        lines += _at_identity(layer, nn, habits.bias)
    last = _last_line(init)
    if last is None:
        return "`__init__` has no body of its own lines"
    added = (f"{name}.weight",) if habits.bias == "False" else (f"{name}.weight", f"{name}.bias")
    message = f"Add the output projection `{layer}`; new parameters: {', '.join(added)}"
    edits = (context.places.lines_after(last, lines), *applied)
    return Fix("safe", "extended", message, edits, added=added)


def _apply_existing(evidence: Unprojected, name: str, context: Context) -> Fix | str:
    """Apply the projection that ``__init__`` builds already."""
    message = f"Apply `self.{name}` to the merged heads; weights that old checkpoints carry unused begin to act"
    if _is_called(evidence.forward, name):
        return f"`self.{name}` is called, but its result is not used; assign it to what is returned"
    applied = _applied(evidence, name, context.places)
    if isinstance(applied, str):
        return applied
    return Fix("unsafe", "extended", message, tuple(applied), identity=(f"{name}.weight", f"{name}.bias"))


def _is_called(forward: cst.FunctionDef, name: str) -> bool:
    """Whether ``forward`` calls ``self.name``, if only to throw the result away."""
    return any(
        isinstance(node, cst.Call)
        and isinstance(node.func, cst.Attribute)
        and isinstance(node.func.value, cst.Name)
        and (node.func.value.value, node.func.attr.value) == ("self", name)
        for node in usage.walk(forward.body)
    )


# --- in forward --------------------------------------------------------------------------------------------------


def _applied(evidence: Unprojected, name: str, places: Places) -> list[Edit] | str:
    """Apply the projection wherever heads are merged: on a line of its own behind an assignment, else in place."""
    receiver = evidence.forward.params.params[0].name.value
    edits: list[Edit] = []
    for merge in evidence.merges:
        statement = places.statement(merge)
        match statement:
            case cst.SimpleStatementLine(
                body=[cst.Assign(targets=[cst.AssignTarget(target=cst.Name(target))], value=value)]
            ) if value is merge or _only_wraps(value, merge):
                edits.append(places.lines_after(statement, [f"{target} = {receiver}.{name}({target})"]))
            case cst.SimpleStatementLine(
                body=[cst.Assign(targets=[cst.AssignTarget(target=cst.Tuple(elements=elements))], value=value)]
            ) if value is merge and elements and isinstance(elements[0].value, cst.Name):
                target = elements[0].value.value
                edits.append(places.lines_after(statement, [f"{target} = {receiver}.{name}({target})"]))
            case _:
                if places.function(merge) is not evidence.forward:
                    return "the heads are merged outside `forward`"
                edits += [
                    places.insert(places.start(merge), f"{receiver}.{name}("),
                    places.insert(places.end(merge), ")"),
                ]
    return edits


def _only_wraps(value: cst.BaseExpression, merge: cst.BaseExpression) -> bool:
    """Whether the assigned value is the merge with nothing but ``.contiguous()`` behind it."""
    while value is not merge:
        match value:
            case cst.Call(func=cst.Attribute(value=inner, attr=cst.Name("contiguous"))):
                value = inner
            case _:
                return False
    return True


# --- in __init__ -------------------------------------------------------------------------------------------------


def _last_line(init: cst.FunctionDef) -> cst.CSTNode | None:
    body = init.body
    return body.body[-1] if isinstance(body, cst.IndentedBlock) and body.body else None


def _in_constructor_terms(width: Size, state: State, init: cst.FunctionDef) -> str | None:
    """The width as an expression that holds at the end of ``__init__``; the shortest name there is for it."""
    width = state.normal(width)
    if width.constant is not None:
        return str(width.constant)
    known = dict(_named_sizes(state, init))
    for text, size in known.items():
        if size == width:
            return text
    for text, size in known.items():
        rest = width.divide(size)
        if rest is None or (rest.constant is not None and rest.constant < 1):
            continue
        if rest.constant is not None:
            return f"{rest.constant} * {text}"
        for other, other_size in known.items():
            if other_size == rest:
                return f"{text} * {other}"
    return None


def _named_sizes(state: State, init: cst.FunctionDef) -> Iterator[tuple[str, Size]]:
    """Parameters, then locals, then attributes, then what the constructor reads off its parameters."""
    receiver = init.params.params[0].name.value if init.params.params else "self"
    for name, value in state.variables.items():
        size = as_size(value)
        if size is not None and isinstance(value, (Int, Unknown)) and size.constant is None and "<" not in str(size):
            yield name, state.normal(size)
    for name, value in state.attributes.items():
        if isinstance(value, (Int, Unknown)):
            size = as_size(value)
            if size is not None and "<" not in str(size):
                yield f"{receiver}.{name}", state.normal(size)
    for name, value in state.variables.items():
        if isinstance(value, Unknown) and value.key == name:
            for text in sorted(_read_off(name, state)):
                yield text, state.normal(symbol(text))


def _read_off(name: str, state: State) -> set[str]:
    """``config.n_embd`` or ``cfg['emb_dim']``: sizes known by an expression on a parameter."""
    sizes = [size for value in [*state.variables.values(), *state.attributes.values()] for size in _sizes_in(value)]
    names = {n for size in sizes for n in size.symbols} | set(state.definitions)
    return {n for n in names if n.startswith((f"{name}.", f"{name}[")) and ".shape[" not in n and "(" not in n}


def _sizes_in(value: object) -> Iterator[Size]:
    match value:
        case Int(size):
            yield size
        case Layer(width_in=width_in, width_out=width_out):
            yield from (size for size in (width_in, width_out) if size is not None)
        case Unknown(str(key)):
            yield symbol(key)


@dataclass(frozen=True, slots=True)
class _Habits:
    """How the class writes its linear layers: ``bias`` as an expression, and all options as they go into a call."""

    bias: str
    options: str


def _habits(state: State, places: Places) -> _Habits:
    """``bias``, ``device`` and ``dtype`` where all the class's own linear layers write them alike."""
    layers = [
        v for v in state.attributes.values() if isinstance(v, Layer) and v.kind == "Linear" and v.node is not None
    ]
    shared: dict[str, str] = {}
    starred: set[str] = set()
    for index, layer in enumerate(layers):
        assert layer.node is not None
        written = {arg.keyword.value: places.source(arg.value) for arg in layer.node.args if arg.keyword is not None}
        stars = {places.source(arg.value) for arg in layer.node.args if arg.star == "**"}
        shared = written if index == 0 else {k: v for k, v in shared.items() if written.get(k) == v}
        starred = stars if index == 0 else starred & stars
    bias = shared.get("bias", "True")
    bias = "True" if "qkv" in bias else bias  # a choice for the input projections alone
    kept = [f"bias={bias}"] if bias != "True" else []
    kept += [f"{name}={shared[name]}" for name in ("device", "dtype") if name in shared]
    kept += [f"**{text}" for text in sorted(starred)]
    return _Habits(bias, "".join(f", {text}" for text in kept))


def _at_identity(layer: str, nn: str, bias: str) -> list[str]:
    lines = [f"{nn}.init.eye_({layer}.weight)"]
    zeros = f"{nn}.init.zeros_({layer}.bias)"
    if bias == "True":
        lines.append(zeros)
    elif bias != "False":
        lines += [f"if {layer}.bias is not None:", f"    {zeros}"]
    return lines


def _nn_name(context: Context) -> str | None:
    """How this file calls ``torch.nn``."""
    imports: dict[str, str] = context.model.names.imports
    for bound, full in imports.items():
        if full == "torch.nn":
            return bound
    return next((f"{bound}.nn" for bound, full in imports.items() if full == "torch"), None)
