"""Reads the sites of one file: which functions attend by hand, how, and whether a rewrite is legal."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.bench.hand_written import words
from tests.bench.hand_written.flow import FUNCTIONS, Flow
from tests.bench.hand_written.records import DISPATCHES, DROPS, KEEPS, Class_, Path, Site, Softmax
from tests.bench.hand_written.spelled import dotted, last_name


def sites_of(path: str, text: str) -> list[Site]:
    """The hand-written attentions of a file, in its order."""
    tree = ast.parse(text)
    classes = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    described: dict[int, Class_ | None] = {}
    found: list[Site] = []
    for name, function, owner in functions(tree):
        if id(owner) not in described:
            described[id(owner)] = described_class(owner, classes)
        class_ = described[id(owner)]
        layers = class_.softmaxes if class_ is not None else {}
        if any("softmax" in word.lower() or word in layers or makes_weights(word) for word in names_in(function)):
            found += sites_of_function(path, name, function, class_)
    return sorted(found, key=lambda site: site.softmax)


def functions(
    node: ast.AST, prefix: str = "", owner: ast.ClassDef | None = None
) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef, ast.ClassDef | None]]:
    """Every function with its qualified name, and the class whose `self` it has."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, FUNCTIONS):
            yield f"{prefix}{child.name}", child, owner
            yield from functions(child, f"{prefix}{child.name}.", owner)
        elif isinstance(child, ast.ClassDef):
            yield from functions(child, f"{prefix}{child.name}.", child)
        else:
            yield from functions(child, prefix, owner)


def names_in(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            yield part.id
        elif isinstance(part, ast.Attribute):
            yield part.attr
        elif isinstance(part, ast.arg):
            yield part.arg


def makes_weights(word: str) -> bool:
    return words.MAKES_WEIGHTS.search(word) is not None


def softmax_attributes(owner: ast.ClassDef | None) -> dict[str, str | None]:
    """The attributes of a class that are softmax layers, with their dim as it is written."""
    found: dict[str, str | None] = {}
    if owner is None:
        return found
    for node in ast.walk(owner):
        if not isinstance(node, ast.Assign):
            continue
        targets = [target.attr for target in node.targets if dotted(target).startswith("self.")]
        layers = [part for part in ast.walk(node.value) if words.LAYER_OF_SOFTMAX.search(last_name(part))]
        if not targets or not layers or not makes_a_layer(node.value):
            continue
        calls = [part for part in ast.walk(node.value) if isinstance(part, ast.Call)]
        dims = [keyword.value for call in calls for keyword in call.keywords if keyword.arg == "dim"]
        for target in targets:
            found[target] = ast.unparse(dims[0]) if dims else None
    return found


def makes_a_layer(value: ast.expr) -> bool:
    """True if an attribute is a softmax itself: not what a softmax gave, such as weights that are stored."""
    match value:
        case ast.IfExp():
            return makes_a_layer(value.body) or makes_a_layer(value.orelse)
        case ast.Call():
            return last_name(value.func) in ("Softmax", "Sequential", "partial")
        case ast.Attribute() | ast.Name():
            return last_name(value) == "softmax"
    return False


def described_class(owner: ast.ClassDef | None, classes: dict[str, ast.ClassDef]) -> Class_ | None:
    """What a class, its bases and its subclasses in the file say."""
    if owner is None:
        return None
    line = [owner, *bases(owner, classes)]
    below = [other for other in classes.values() if owner in bases(other, classes)]
    softmaxes: dict[str, str | None] = {}
    for node in reversed(line):
        softmaxes |= softmax_attributes(node)
    methods = frozenset(part.name for node in line for part in node.body if isinstance(part, FUNCTIONS))
    fused = any(words.FUSED.search(name) for node in (*line, *below) for name in names_in(node))
    return Class_(methods, softmaxes, fused)


def bases(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> list[ast.ClassDef]:
    found: list[ast.ClassDef] = []
    for base in node.bases:
        above = classes.get(last_name(base))
        if above is not None and above is not node and above not in found:
            found += [above, *(other for other in bases(above, classes) if other not in found)]
    return found


def sites_of_function(
    path: str, name: str, function: ast.FunctionDef | ast.AsyncFunctionDef, owner: Class_ | None
) -> Iterator[Site]:
    """Softmaxes that go into the same products are one site."""
    flow = Flow(name, owner)
    flow.block(function.body)
    together: dict[frozenset[int], list[Softmax]] = {}
    for softmax in flow.softmaxes.values():
        if softmax.used:
            together.setdefault(frozenset(softmax.used), []).append(softmax)
    told = frozenset(names_in(function))
    for softmaxes in together.values():
        yield site_of(path, name, function, softmaxes, told, flow.fused, owner)


def site_of(
    path: str,
    name: str,
    function: ast.FunctionDef | ast.AsyncFunctionDef,
    softmaxes: list[Softmax],
    told: frozenset[str],
    fused: bool,
    owner: Class_ | None,
) -> Site:
    forms: set[str] = set()
    reasons: set[str] = set()
    kept: set[str] = set()
    products = [product for softmax in softmaxes for product in softmax.products]
    for softmax in softmaxes:
        forms |= softmax.forms
        reasons |= softmax.reasons | {use.reason for use in softmax.used.values() if use.reason}
        kept |= softmax.kept.keys()
        if not last_dim(softmax):
            reasons.add("softmax over another dim than the last")
    for product in products:
        forms |= product.forms
        reasons |= product.reasons
    uses = list(softmaxes[0].used.values())
    if any(not apart(one.path, other.path) for one in uses for other in uses if one is not other):
        reasons.add("the weights go into several products")
    if fused:
        reasons.add("a fused branch beside it in the same function")
    elif owner is not None and owner.fused:
        reasons.add("a fused branch in the same class, its base or a subclass")
    if words.CHANNELS.search(name):
        reasons.add("attention over channels, by its name")
    if reaches(words.GROUPED, told):
        forms.add("grouped heads")
    if reaches(words.CACHE, told):
        forms.add("cache")
    if reaches(words.CAUSAL, told):
        forms.add("causal")
    rows = [softmax.node.lineno for softmax in softmaxes]
    first = [product.node.lineno for product in products if product.node is not None]
    last = max((use.node for use in uses), key=end_of)
    kind = DROPS
    if kept:
        kind = DISPATCHES if dispatches(function) else KEEPS
    return Site(
        path, name, min([*first, *rows]), min(rows), last.lineno, end_of(last),
        kind, tuple(sorted(forms)) or ("plain",), tuple(sorted(reasons)), tuple(sorted(kept)),
    )  # fmt: skip


def last_dim(softmax: Softmax) -> bool:
    """False if a softmax is known to run over another dim than the last."""
    if softmax.dim is None or not softmax.dim.lstrip("-").isdigit():
        return True
    dim = int(softmax.dim)
    ranks = {product.letters for product in softmax.products if product.letters}
    if dim >= 0 and len(ranks) == 1:
        return dim == ranks.pop() - 1
    return dim in (-1, 2, 3)


def apart(one: Path, other: Path) -> bool:
    """True if two paths are different arms of one `if`."""
    arms = dict(one)
    return any(arms.get(branch, arm) != arm for branch, arm in other)


def reaches(pattern: re.Pattern[str], told: frozenset[str]) -> bool:
    return any(pattern.search(name) for name in told)


def end_of(node: ast.expr) -> int:
    return node.end_lineno or node.lineno


def dispatches(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """True of a function that models look up by name, as `eager_attention_forward` of transformers."""
    first = function.args.args[0].arg if function.args.args else ""
    return words.DISPATCHER.search(function.name) is not None and first != "self"
