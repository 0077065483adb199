"""MHA116 and MHA117: positions that run along the batch, and layers of torch that take the batch for the tokens."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import replace

from tests.bench.injection.code import Code, Edit, Injection, integer, keyword, last, name_of, named
from tests.bench.injection.scope import Scope
from tests.bench.injection.silence import TOO_LITTLE_TELLS, UNKNOWN_WHICH_IS_FIRST

BATCH = re.compile(
    rb"MultiheadAttention|Transformer(?:En|De)coderLayer|Attention\(|\bpos_|_pos\b|position|\.pe\b", re.IGNORECASE
)
_LAYERS = frozenset({"MultiheadAttention", "TransformerEncoderLayer", "TransformerDecoderLayer", "Transformer"})
_TABLE = re.compile(r"pos|\bpe\b|_pe$", re.IGNORECASE)
_TOKENS_FIRST = re.compile(r"\[:, *None|unsqueeze\(1\)")  # (n, 1, c), added to (n, b, c)
_OF_HEADS = re.compile(r"^(?:n|num)?_?(?:attention_)?heads?$")
_WIDTHS = ("dim", "embed_dim", "d_model", "hidden_size")
_ATTENDED_TO = re.compile(
    r"context|memory|encoder|key|value|past|cache"
)  # what is no attention of tokens to each other
_TAKES_ENTRIES_FIRST = re.compile(
    r"\b[bB]\w*, *[nNlLtT]\w*, *\w+ *= *\w+\.(?:shape|size\(\))|[\"']b n \(h d\) -> b h n d[\"']"
)


def injections(scope: Scope) -> Iterator[Injection]:
    """The mistakes of order that a function has room for."""
    for call in scope.calls:
        yield from _flag_left_out(scope, call)
        yield from _own_attention(scope, call)
    yield from _never_turned(scope)
    for whole, table, to in _sums(scope):
        yield from _table_over_batch(scope, whole, table, to)
        yield from _entries_numbered(scope, whole, table, to)


# --- MHA117


def _flag_left_out(scope: Scope, call: ast.Call) -> Iterator[Injection]:
    """``nn.MultiheadAttention(c, h, batch_first=True)`` without the flag."""
    flag = named(call, "batch_first")
    if not _is_of_torch(scope.code, call) or flag is None or not _is_true(scope, flag.value):
        return
    if not any(_is_given_turned(node) for node in ast.walk(scope.unit)):  # else the flag itself is the mistake
        yield _missing(scope, "flag left out", call, scope.code.without_argument(call, flag))


def _is_given_turned(node: ast.AST) -> bool:
    """``self.layers[i](x.transpose(0, 1))``."""
    given = node.args if isinstance(node, ast.Call) else []
    return any(isinstance(each, ast.Call) and _swaps_the_first(each) for each in given)


def _is_of_torch(code: Code, call: ast.Call) -> bool:
    """The layer is torch's own: ``nn.MultiheadAttention``, or a name that is imported from there."""
    if last(call) not in _LAYERS:
        return False
    if isinstance(call.func, ast.Attribute):
        return ast.unparse(call.func.value) in ("nn", "torch.nn")
    imports = [node for node in ast.walk(code.tree) if isinstance(node, ast.ImportFrom)]
    given = [each for each in imports if any(alias.name == last(call) for alias in each.names)]
    return any((each.module or "").startswith("torch.nn") for each in given)


def _is_true(scope: Scope, flag: ast.expr) -> bool:
    """The flag is ``True``, or a parameter whose default is."""
    if isinstance(flag, ast.Constant):
        return flag.value is True
    spec = scope.function.args
    written = dict(zip(reversed([each.arg for each in spec.args]), reversed(spec.defaults), strict=False))
    default = written.get(name_of(flag))
    return isinstance(default, ast.Constant) and default.value is True


def _never_turned(scope: Scope) -> Iterator[Injection]:
    """Tensors (b, t, c) are given as they are to a layer that takes (t, b, c): the two transposes are left out."""
    if not isinstance(scope.unit, ast.ClassDef):
        return
    layers = _layers_of(scope.code, scope.unit)
    called = [call for call in scope.calls if name_of(call.func).removeprefix("self.") in layers]
    turned = [call for call in scope.calls if _swaps_the_first(call)]
    if called and len(turned) >= 2:
        where = frozenset({f"{scope.unit.name}.__init__", *scope.where()})
        edits = [scope.code.link(call) for call in turned]
        made = _missing(scope, "transposes left out", called[0], *edits)
        yield replace(made, where=where)


def _layers_of(code: Code, unit: ast.ClassDef) -> set[str]:
    """The attributes of a class that hold a layer of torch that takes the tokens first."""
    found: set[str] = set()
    for node in ast.walk(unit):
        match node:
            case ast.Assign(targets=[ast.Attribute(value=ast.Name(id="self"), attr=name)], value=ast.Call() as made):
                if _is_of_torch(code, made) and named(made, "batch_first") is None:
                    found.add(name)
    return found


def _swaps_the_first(call: ast.Call) -> bool:
    if not isinstance(call.func, ast.Attribute):
        return False
    given = [integer(each) for each in call.args]
    order = sorted(each for each in given if each is not None)
    return (call.func.attr == "transpose" and order == [0, 1]) or (call.func.attr == "permute" and given == [1, 0, 2])


def _own_attention(scope: Scope, call: ast.Call) -> Iterator[Injection]:
    """Attention of the file's own is replaced by ``nn.MultiheadAttention``, with the flag (right), and without."""
    if not isinstance(scope.unit, ast.ClassDef) or scope.function.name != "__init__":
        return
    if not isinstance(call.func, ast.Name) or "nn" not in scope.code.module_names:
        return
    made = _built_of(scope, call)
    users = list(_calls_of(scope, call)) if made is not None else []
    if made is None or not users:
        return
    for form, flag in (("own attention", ", batch_first=True"), ("", "")):
        edits = [scope.code.replaced(call, f"{made}{flag})"), *users]
        if form:
            base = tuple(edits)
    injected = _missing(scope, "in place of own attention", call, *edits)
    yield replace(injected, base=base)


def _built_of(scope: Scope, call: ast.Call) -> str | None:
    """``nn.MultiheadAttention(dim, heads``, in place of a class that takes (b, t, c)."""
    assert isinstance(call.func, ast.Name)
    if "Attention" not in call.func.id or not _is_of_three(scope.code, call.func.id):
        return None
    width = next((value for name in _WIDTHS if (value := keyword(call, name)) is not None), None)
    width = call.args[0] if width is None and call.args else width
    heads = next((each.value for each in call.keywords if each.arg and _OF_HEADS.match(each.arg)), None)
    if heads is None and len(call.args) > 1 and _OF_HEADS.match(name_of(call.args[1]).removeprefix("self.")):
        heads = call.args[1]
    if width is not None and name_of(width) == "config":
        text = scope.code.data
        told = b"config.hidden_size" in text and b"config.num_attention_heads" in text
        return "nn.MultiheadAttention(config.hidden_size, config.num_attention_heads" if told else None
    if width is None or heads is None:
        return None
    return f"nn.MultiheadAttention({scope.code.text(width)}, {scope.code.text(heads)}"


def _is_of_three(code: Code, name: str) -> bool:
    """A class of the file whose ``forward`` takes one tensor, and says that it is (b, t, c)."""
    for node in code.tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return bool(_TAKES_ENTRIES_FIRST.search(code.text(node)))
    return False


def _calls_of(scope: Scope, made: ast.Call) -> Iterator[Edit]:
    """The calls of what is made: ``self.attn(x)``, or ``attn(x)`` for the first of the pairs in ``self.layers``."""
    parent = scope.parents[made]
    assert isinstance(scope.unit, ast.ClassDef)
    if isinstance(parent, ast.Assign) and name_of(parent.targets[0]).startswith("self."):
        called = {name_of(parent.targets[0])}
    elif isinstance(parent, ast.List) and parent.elts and parent.elts[0] is made:
        pairs = [node.target for node in ast.walk(scope.unit) if isinstance(node, ast.For)]
        called = {name_of(pair.elts[0]) for pair in pairs if isinstance(pair, ast.Tuple)} - {""}
    else:
        return
    for node in ast.walk(scope.unit):
        if not isinstance(node, ast.Call) or name_of(node.func) not in called:
            continue
        given = node.args[0] if node.args else keyword(node, "hidden_states")
        others = [each.arg or "" for each in node.keywords if each.value is not given]
        if given is None or len(node.args) > 1 or any(map(_ATTENDED_TO.search, others)):
            return
        x, function = scope.code.text(given), scope.code.text(node.func)
        above = scope.parents[node]
        unpacked = isinstance(above, ast.Assign) and isinstance(above.targets[0], ast.Tuple)
        indexed = isinstance(above, ast.Subscript) and integer(above.slice) == 0
        yield scope.code.replaced(node, f"{function}({x}, {x}, {x}){'' if unpacked or indexed else '[0]'}")


def _missing(scope: Scope, form: str, at: ast.expr, *edits: Edit) -> Injection:
    told = _evidence(scope, own=1)
    silent = "" if len(told) > 1 or "mask" in told else TOO_LITTLE_TELLS
    return scope.injection("MHA117", form, at, *edits, silent=silent)


# --- MHA116


def _sums(scope: Scope) -> Iterator[tuple[ast.expr | ast.stmt, ast.expr, ast.expr]]:
    """Return what is added to a tensor and is called positions: the sum, the positions, and the named tensor."""
    for node in scope.nodes:
        match node:
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                pairs = ((left, right), (right, left))
            case ast.AugAssign(target=left, op=ast.Add(), value=right):
                pairs = ((left, right),)
            case _:
                continue
        for to, table in pairs:
            if name_of(to) and not name_of(to).startswith("self.") and not _TABLE.search(name_of(to)):
                yield node, table, to


def _table_over_batch(scope: Scope, whole: ast.expr | ast.stmt, table: ast.expr, to: ast.expr) -> Iterator[Injection]:
    """``x + self.pos[:, :n]`` written ``x + self.pos[: x.size(0)]``, of a table whose rows come first."""
    held = table
    while isinstance(held, ast.Subscript) or (isinstance(held, ast.Call) and isinstance(held.func, ast.Attribute)):
        held = held.value if isinstance(held, ast.Subscript) else held.func.value
    name, x = name_of(held), scope.code.text(to)
    if not name.startswith("self.") or not _TABLE.search(name):
        return
    made = _registered(scope, name)
    if made is None:
        return
    rank, sizes = made
    if rank == 2 and not _TOKENS_FIRST.search(scope.code.text(table)):
        written = f"{name}[: {x}.size(0)].unsqueeze(1)"
        yield _over_batch(scope, "table (n, c) cut to the batch", whole, scope.code.replaced(table, written))
    if rank == 3 and sizes is not None:
        written = f"{name}.transpose(0, 1)[: {x}.size(0)]"
        yield _over_batch(scope, "table (1, n, c) turned", whole, scope.code.replaced(table, written))
        if _reads(scope, name) == 1 and isinstance(sizes[0], ast.Constant):
            laid = [scope.code.replaced(sizes[0], scope.code.text(sizes[1])), scope.code.replaced(sizes[1], "1")]
            wrong = [*laid, scope.code.replaced(table, f"{name}[: {x}.size(0)]")]
            right = [*laid, scope.code.replaced(table, f"{name}[: {x}.size(1)].transpose(0, 1)")]
            yield replace(_over_batch(scope, "table (n, 1, c)", whole, *wrong), base=tuple(right))


def _registered(scope: Scope, name: str) -> tuple[int, list[ast.expr] | None] | None:
    """The rank of a table that the constructor makes, (1, n, c) or (n, c), and the sizes that it says."""
    assert name.startswith("self.")
    for node in ast.walk(scope.unit):
        match node:
            case ast.Assign(targets=[target], value=ast.Call(args=[given, *_])) if name_of(target) == name:
                pass
            case ast.Expr(value=ast.Call(func=ast.Attribute(attr="register_buffer"), args=[kept, given, *_])):
                if not isinstance(kept, ast.Constant) or f"self.{kept.value}" != name:
                    continue
            case _:
                continue
        made = given.left if isinstance(given, ast.BinOp) else given
        if not isinstance(made, ast.Call) or last(made) not in ("zeros", "randn", "rand", "ones", "empty"):
            return None
        sizes = made.args[0].elts if made.args and isinstance(made.args[0], ast.Tuple) else made.args
        if len(sizes) == 2:
            return 2, None
        if len(sizes) == 3 and integer(sizes[0]) == 1 and integer(sizes[1]) is None:
            return 3, list(sizes)
    return None


def _reads(scope: Scope, name: str) -> int:
    nodes = [node for node in ast.walk(scope.unit) if isinstance(node, ast.Attribute) and name_of(node) == name]
    return sum(isinstance(node.ctx, ast.Load) for node in nodes)


def _entries_numbered(scope: Scope, whole: ast.expr | ast.stmt, table: ast.expr, to: ast.expr) -> Iterator[Injection]:
    """``x + self.pos(ids)`` written ``x + self.pos(torch.arange(x.shape[0])).unsqueeze(1)``, of an embedding."""
    call, statement = table, None
    if isinstance(table, ast.Name):
        values = scope.values(table.id, table)
        if len(values) == 1:
            call, statement = values[0]
    call = _embedding(scope, call)
    if call is None or not scope.takes_masks:
        return
    x = scope.code.text(to)
    written = f"{scope.code.text(call.func)}(torch.arange({x}.shape[0], device={x}.device)).unsqueeze(1)"
    at = table if statement is None or isinstance(table, ast.Name) else call
    yield _over_batch(scope, "entries numbered", whole, scope.code.replaced(at, written))


def _embedding(scope: Scope, node: ast.expr) -> ast.Call | None:
    """The call of an ``nn.Embedding`` of the class that is called positions."""
    while isinstance(node, ast.Subscript) or (isinstance(node, ast.Call) and not name_of(node.func)):
        match node:
            case ast.Subscript(value=inner) | ast.Call(func=ast.Attribute(value=inner)):
                node = inner
            case _:
                return None
    if isinstance(node, ast.Call) and last(node) in ("rearrange", "repeat") and node.args:
        return _embedding(scope, node.args[0])
    if not isinstance(node, ast.Call) or not name_of(node.func).startswith("self."):
        return None
    name = name_of(node.func)
    for made in ast.walk(scope.unit):
        match made:
            case ast.Assign(targets=[target], value=ast.Call() as layer) if name_of(target) == name:
                return node if last(layer) == "Embedding" and _TABLE.search(name) else None
    return None


def _over_batch(scope: Scope, form: str, at: ast.expr | ast.stmt, *edits: Edit) -> Injection:
    told = _evidence(scope, own=0) - {"table", "mask"}
    silent = "" if len(told) > 1 or told & {"layer", "recurrent"} else UNKNOWN_WHICH_IS_FIRST
    return scope.injection("MHA116", form, at, *edits, silent=silent)


# --- what tells a reader of the file which dimension comes first

_TELLS: dict[str, re.Pattern[str]] = {
    "names": re.compile(
        r"\bb(?:atch|s|sz)?(?:_?size)?, *(?:\w*len\w*|n|t|l|seq\w*|num_\w+)\b[^=\n]*= *\w+(?:\.shape|\.size\(\))"
        r"|[\"'(]b(?:atch)? n d|batch_size, seq",
        re.IGNORECASE,
    ),
    "convolution": re.compile(r"Conv[123]d\(|PatchEmbed|patch_embed", re.IGNORECASE),
    "image": re.compile(r"flatten\(2\)|-> b \(h w\)|flatten\(start_dim=2"),
    "recurrent": re.compile(r"(?:LSTM|GRU|RNN)\([^()]*batch_first *= *True"),
    "token": re.compile(r"expand\(\w+(?:\.shape\[0\]|\.size\(0\))?, *-1, *-1\)|-> b |cls_token|\.repeat\(\w+, 1, 1\)"),
    "pooled": re.compile(r"mean\((?:dim *= *)?1\b|\[:, *0\]|\[:, *-1\]|\[:, *1:\]|\[:, *0, *:\]"),
    "table": re.compile(r"zeros\(1, |randn\(1, |\[:, *: *\w+"),
    "layer": re.compile(r"batch_first *= *True"),
    "mask": re.compile(r"key_padding_mask=\w+ *== *|padding_mask *= *\w+ *== "),
    "attention": re.compile(r"softmax|scaled_dot_product|attention_interface"),
}


def _evidence(scope: Scope, *, own: int) -> set[str]:
    """The kinds of things that tell it: in the class itself, and in those of the file that call it.

    ``own`` is how many layers say which comes first, but take part in the mistake.
    """
    code = scope.code
    classes = {node.name: node for node in code.tree.body if isinstance(node, ast.ClassDef)}
    reached, waiting = set(), [scope.unit.name]
    while waiting:
        name = waiting.pop()
        reached.add(name)
        waiting += [other for other in classes if other not in reached and _says(code, classes[other], name)]
    text = "\n".join(code.text(classes[name]) for name in reached if name in classes)
    told = {kind for kind, pattern in _TELLS.items() if pattern.search(text)}
    said = len(_TELLS["layer"].findall(text)) - len(_TELLS["recurrent"].findall(text))
    return told if said > own else told - {"layer"}


def _says(code: Code, node: ast.ClassDef, name: str) -> bool:
    return re.search(rf"\b{re.escape(name)}\b", code.text(node)) is not None
