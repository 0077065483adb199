"""MHA003: build an output projection at the identity and apply it to the merged heads."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from msgspec import Struct

from mha_lint.findings import Edit, Fix
from mha_lint.fixers.constructor import in_constructor_terms
from mha_lint.model.values import Layer, State
from mha_lint.syntax.nodes import Function, dotted, receiver, walk

if TYPE_CHECKING:
    from mha_lint.fixers import Context
    from mha_lint.rules.base import Hit
    from mha_lint.rules.missing_output_projection import Unprojected
    from mha_lint.syntax.exact import Exact

_NAMES = ("out_proj", "output_projection", "proj_out", "heads_proj")


def fix(hit: Hit[Unprojected], context: Context) -> Fix | str:
    """Edits in ``__init__`` and in ``forward``, or why there are none."""
    evidence = hit.evidence
    if evidence.unused is not None:
        return _apply_existing(evidence, evidence.unused, context)
    init = evidence.model.cls.methods.get("__init__")
    if init is None:
        return "the class has no `__init__` to build the projection in"
    if len(evidence.widths) != 1:
        return "the width of the merged heads is not known"
    width = in_constructor_terms(evidence.widths[0], evidence.sizes, init)
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
    habits = _habits(evidence.model.built[0], context.places)
    layer = f"{receiver(init)}.{name}"
    lines = [f"{layer} = {nn}.Linear({width}, {width}{habits.options})"]
    if context.settings.out_proj_init == "identity":
        lines += _at_identity(layer, nn, habits.bias)
    last = _last_statement(init, context.places)
    if last is None:
        return "`__init__` has no body of its own lines"
    added = (f"{name}.weight",) if habits.bias == "False" else (f"{name}.weight", f"{name}.bias")
    message = f"Add the output projection `{layer}`; new parameters: {', '.join(added)}"
    edits = (context.places.lines_after(last, lines), *applied)
    return Fix("unsafe", "extended", message, edits, added=added)


def _apply_existing(evidence: Unprojected, name: str, context: Context) -> Fix | str:
    """Apply the projection that ``__init__`` builds already."""
    message = f"Apply `self.{name}` to the merged heads; weights that old checkpoints carry unused begin to act"
    if _is_called(evidence.forward, name):
        return f"`self.{name}` is called, but its result is not used; assign it to what is returned"
    if not evidence.merges:
        return f"no heads are merged, so that where `self.{name}` belongs is not known"
    applied = _applied(evidence, name, context.places)
    if isinstance(applied, str):
        return applied
    return Fix("unsafe", "extended", message, tuple(applied), identity=(f"{name}.weight", f"{name}.bias"))


def _is_called(forward: Function, name: str) -> bool:
    """``forward`` calls ``self.name``, if only to throw the result away."""
    calls = (node for node in walk(*forward.body) if isinstance(node, ast.Call))
    return any(dotted(call.func) == f"self.{name}" for call in calls)


# --- in forward --------------------------------------------------------------------------------------------------


def _applied(evidence: Unprojected, name: str, places: Exact) -> list[Edit] | str:
    """Apply the projection wherever heads are merged: on a line of its own behind an assignment, else in place."""
    owner = receiver(evidence.forward)
    edits: list[Edit] = []
    for merge in evidence.merges:
        statement = places.statement(merge)
        target = _assigned_to(statement, merge)
        if statement is not None and target is not None and places.stands_alone(statement):
            edits.append(places.lines_after(statement, [f"{target} = {owner}.{name}({target})"]))
        elif places.function(merge) is not evidence.forward:
            return "the heads are merged outside `forward`"
        else:
            edits.append(places.insert(places.start(merge), f"{owner}.{name}("))
            edits.append(places.insert(places.end(merge), ")"))
    return edits


def _assigned_to(statement: ast.stmt | None, merge: ast.expr) -> str | None:
    """The variable that a statement assigns the merged heads to, or the first of several that are unpacked."""
    match statement:
        case ast.Assign(targets=[ast.Name(id=target)], value=value) if _only_wraps(value, merge):
            return target
        case ast.Assign(targets=[ast.Tuple(elts=[ast.Name(id=target), *_])], value=value) if value is merge:
            return target
        case _:
            return None


def _only_wraps(value: ast.expr, merge: ast.expr) -> bool:
    """The assigned value is the merge with nothing but ``.contiguous()`` behind it."""
    while value is not merge:
        match value:
            case ast.Call(func=ast.Attribute(value=inner, attr="contiguous")):
                value = inner
            case _:
                return False
    return True


# --- in __init__ -------------------------------------------------------------------------------------------------


def _last_statement(init: Function, places: Exact) -> ast.stmt | None:
    """The last statement of a body that has its own lines; None for ``def __init__(self): pass``."""
    first = places.start(init.body[0])
    return None if places.line(first.row)[: first.column - 1].strip() else init.body[-1]


class _Habits(Struct, frozen=True):
    """Linear layers of the class are written with ``bias``, an expression, and ``options``, which go into a call."""

    bias: str
    options: str


def _habits(state: State, places: Exact) -> _Habits:
    """``bias``, ``device`` and ``dtype`` where all the class's own linear layers write them alike."""
    layers = [
        v for v in state.attributes.values() if isinstance(v, Layer) and v.kind == "Linear" and v.node is not None
    ]
    shared: dict[str, str] = {}
    starred: set[str] = set()
    for index, layer in enumerate(layers):
        assert layer.node is not None
        keywords = layer.node.keywords
        written = {keyword.arg: places.source(keyword.value) for keyword in keywords if keyword.arg is not None}
        stars = {places.source(keyword.value) for keyword in keywords if keyword.arg is None}
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
    """Return the name by which the file imports ``torch.nn``; None where it does not."""
    imports: dict[str, str] = context.model.names.imports
    for bound, full in imports.items():
        if full == "torch.nn":
            return bound
    return next((f"{bound}.nn" for bound, full in imports.items() if full == "torch"), None)
