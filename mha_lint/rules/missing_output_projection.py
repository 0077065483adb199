"""MHA003: a multi-head attention whose merged heads leave the module without a linear map."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct

from mha_lint.model.attention import ClassModel
from mha_lint.model.callers import Callers
from mha_lint.model.layers import maps_each
from mha_lint.model.sizes import Size
from mha_lint.model.values import Layer, Sequence, State, Tensor, Unknown, Value, tensors
from mha_lint.rules.base import Hit, Rule
from mha_lint.syntax import usage
from mha_lint.syntax.names import ClassInfo
from mha_lint.syntax.nodes import Function, walk
from mha_lint.syntax.places import NameOf
from mha_lint.syntax.words import names_in
from mha_lint.vocabulary import PROJECTS_OUT, is_said

if TYPE_CHECKING:
    from mha_lint.model.attention import FileModel
    from mha_lint.syntax.places import Places


class Unprojected(Struct, frozen=True):
    """The evidence: the class, the expressions in ``forward`` that merge the heads, and the merged width."""

    model: ClassModel
    forward: Function
    merges: tuple[ast.expr, ...]
    widths: tuple[Size, ...]
    sizes: State  # the constructor's variables and attributes, with all that ``forward`` tells about their sizes
    unused: str | None  # a projection of the right size that __init__ builds and nothing applies


class MissingOutputProjection(Rule):
    """## What it does

    Flags a multi-head attention whose merged heads (transpose and merge, `flatten`, `rearrange`, or `torch.cat`
    over per-head modules) leave the module with no linear map after the merge (`nn.Linear`, a 1x1 convolution, a
    matrix product with a parameter, `F.linear`, an einsum with a parameter). Also the commonest real form: the
    projection is built in `__init__` but never applied, or applied to a value that is then thrown away.

    ## Why it matters

    Multi-head attention is Concat(head_1, ..., head_h) W^O. Without W^O each head can only write to its own slice
    of the residual stream, and no head's output can be weighed against another's. The model trains, a little worse.
    (The projection is linear: it mixes heads; it adds no non-linearity.)

    ## Example

    ```python
    def forward(self, x):
        return torch.cat([head(x) for head in self.heads], dim=-1)
    ```

    Use instead:

    ```python
    def __init__(self, d_in, d_out, num_heads):
        ...
        self.out_proj = nn.Linear(num_heads * d_out, num_heads * d_out)

    def forward(self, x):
        return self.out_proj(torch.cat([head(x) for head in self.heads], dim=-1))
    ```

    ## Fix

    Builds the projection at the end of `__init__` and applies it to the merged tensor in `forward`. Its width is
    written in the constructor's own names, and `bias`, `device` and `dtype` are those of the class's other layers. It
    is initialised to the identity: until it is trained the module computes what it did, and old checkpoints load with
    `strict=False`. Relation *extended*: with the new parameters at the identity, outputs and gradients are the same,
    `state_dict` gains exactly the announced keys, and gradients reach the new parameters. Option `out-proj-init =
    "default"` leaves PyTorch's initialisation (validated with the identity loaded). Where a projection was built but
    never applied, the fix applies that one, and weights that old checkpoints carry unused begin to act.

    It is *unsafe* because results are not all that counts: a strict `load_state_dict` of an old checkpoint fails, the
    state of an optimizer no longer fits, and the random numbers that are drawn after the new parameters are others. To
    have it applied by `--fix` alone, set `extend-safe-fixes = ["MHA003"]`.

    ## When it stays silent

    - Single-head attention, unless its constructor builds an output projection that nothing in the file names
      again; attention whose values are no projection of anything, such as SimPool's.
    - A class whose output every caller in the file feeds to a linear map (BertSelfAttention and BertSelfOutput), or,
      if nobody calls it there, some caller in another file of the package. A subclass that names its base is no
      caller; an object at the level of the module (`mha = MultiHeadAttention(64, 8)`) is an example of use.
    - Base classes that another class of the file completes, mixins, abstract classes; functions.
    - A projection that is optional (`if self.proj is not None`), or anything unknown applied after the merge.

    ## References

    - Vaswani et al., [Attention Is All You Need](https://arxiv.org/abs/1706.03762), section 3.2.2
    """

    code = "MHA003"
    name = "missing-output-projection"
    severity = "warning"
    finds = "multi-head attention whose merged heads are returned without a linear map"
    why = "Without an output projection no head's result can be mixed with another's: Concat(heads) lacks its W^O."
    applicability = "unsafe"
    relation = "extended"
    invalid: ClassVar = (
        "import torch\nfrom torch import nn\n\n\nclass Attention(nn.Module):\n"
        "    def __init__(self, dim, heads):\n        super().__init__()\n        self.heads = heads\n"
        "        self.qkv = nn.Linear(dim, 3 * dim)\n\n    def forward(self, x):\n        b, t, c = x.shape\n"
        "        q, k, v = self.qkv(x).view(b, t, 3, self.heads, c // self.heads).unbind(2)\n"
        "        att = (q.transpose(1, 2) @ k.transpose(1, 2).transpose(-2, -1)).softmax(-1)\n"
        "        return (att @ v.transpose(1, 2)).transpose(1, 2).reshape(b, t, c)\n",
    )
    valid: ClassVar = (
        invalid[0].replace("3 * dim)\n", "3 * dim)\n        self.proj = nn.Linear(dim, dim)\n", 1).replace(
            "        return (att @ v.transpose(1, 2)).transpose(1, 2).reshape(b, t, c)\n",
            "        return self.proj((att @ v.transpose(1, 2)).transpose(1, 2).reshape(b, t, c))\n",
        ),
    )  # fmt: skip

    def check(self, model: FileModel, places: Places) -> Iterator[Hit[Unprojected]]:
        callers = Callers(model)
        for each in model.classes:
            evidence = _unprojected(each) or _never_applied(each, model)
            if evidence is None or _is_base(each, model) or callers.project(each.cls):
                continue
            does = "merges its heads and returns them" if evidence.merges else "returns what it attended to"
            message = f"`{each.cls.name}` {does} with no output projection"
            if evidence.unused is not None:
                message += f": `self.{evidence.unused}` is built but its result is not used"
            name = NameOf(each.cls.node)
            yield Hit(name, name, message, each.cls.name, evidence=evidence)


def _unprojected(model: ClassModel) -> Unprojected | None:
    """The evidence where the ``forward`` of the class itself returns merged heads as they are."""
    forward = model.cls.methods.get("forward")
    merged = [] if forward is None else _merged(model)
    if forward is None or not merged:
        return None
    merges = tuple(dict.fromkeys(tensor.merge for tensor in merged if tensor.merge is not None))
    sizes = model.built[0].copy()
    for state, _ in model.returns:
        sizes.learn(state.definitions)
    wide = (tensor.last for tensor in merged)
    widths = tuple(dict.fromkeys(sizes.normal(width) for width in wide if width is not None))
    return Unprojected(model, forward, merges, widths, sizes, _unused_projection(model, sizes, widths))


def _merged(model: ClassModel) -> list[Tensor]:
    """The merged heads that a class returns; none where something may have been applied to them."""
    forward = model.cls.method("forward")
    if not model.complete or forward is None or not model.returns:
        return []
    returned = [list(tensors(value)) for _, value in model.returns]
    if any("projected" in tensor.roles for each in returned for tensor in each):
        return []
    merged = [tensor for each in returned for tensor in each if "merged" in tensor.roles and tensor.merge is not None]
    hides = any(_hides_something(value) for _, value in model.returns)
    if hides and not all(_ends_with(forward, tensor.merge) for tensor in merged):
        return []
    return merged


def _ends_with(forward: Function, merge: ast.expr | None) -> bool:
    """Whichever path is taken, the merge is the last that is done: ``return x.flatten(2)``, or behind ``x = …``."""
    *before, last = forward.body
    if not isinstance(last, ast.Return) or sum(isinstance(node, ast.Return) for node in walk(*forward.body)) != 1:
        return False
    match last.value:
        case ast.Tuple(elts=[returned, *_]) | (ast.expr() as returned):
            pass
        case _:
            return False
    while isinstance(returned, ast.Name) and before:
        match before.pop():
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name == returned.id:
                returned = value
            case statement if usage.mentions(statement, returned.id):
                return False
    return returned is merge


def _hides_something(value: Value) -> bool:
    """Tell whether what comes first in a returned value is unknown: a projection could be in it."""
    match value:
        case Sequence(items) if items:
            return _hides_something(items[0])
        case Unknown():
            return True
        case Tensor(roles=roles):
            return not roles & {"merged", "context"}
        case _:
            return False


def _is_base(model: ClassModel, file: FileModel) -> bool:
    """Base classes, mixins and abstract classes are completed elsewhere."""
    cls = model.cls
    words = ("Base", "Mixin", "Abstract")
    if any(word in cls.name for word in words) or any(
        base.rpartition(".")[2] in ("ABC", "Protocol") for base in cls.bases
    ):
        return True
    if any(_is_abstract(node) for node in cls.methods.values()):
        return True
    heirs = [other for other in file.classes if other.cls is not cls and cls in other.cls.lineage]
    return any(_completes(heir, cls) for heir in heirs)


def _completes(heir: ClassModel, cls: ClassInfo) -> bool:
    """A class that is built on another one may do what that one leaves out: it has methods of its own that run."""
    changed = any(name in cls.methods and name != "__init__" for name in heir.cls.methods)
    return changed and not _merged(heir)


def _is_abstract(method: Function) -> bool:
    return any("abstractmethod" in ast.unparse(decorator) for decorator in method.decorator_list)


def _unused_projection(model: ClassModel, sizes: State, widths: tuple[Size, ...]) -> str | None:
    """An ``nn.Linear`` attribute as wide as the merged heads whose result reaches no return value."""
    if len(widths) != 1:
        return None
    used = _attributes_used_outside_init(model.cls)
    for state in model.built:
        for name, value in state.attributes.items():
            if isinstance(value, Layer) and value.kind == "Linear" and value.width_in is not None:
                fits = sizes.normal(value.width_in) == widths[0]
                if fits and (name not in used or name in _thrown_away(model.cls)):
                    return name
    return None


def _never_applied(model: ClassModel, file: FileModel) -> Unprojected | None:
    """The evidence where what was attended to is returned, by one head too, beside a projection that nothing names.

    The layer is named as what comes last in attention, and built by the class itself.
    """
    init, forward = model.cls.methods.get("__init__"), model.cls.methods.get("forward")
    if init is None or forward is None or not model.complete or not model.returns:
        return None
    for _, value in model.returns:
        returned = list(tensors(value))[:1]
        if not any("context" in tensor.roles and "projected" not in tensor.roles for tensor in returned):
            return None
    mentioned = [name for name in names_in(file.module.tree) if is_said(PROJECTS_OUT, name)]
    for name, value in model.built[0].attributes.items():
        is_projection = isinstance(value, Layer) and maps_each(value)
        if is_projection and mentioned.count(name) == 1 and _builds(init, name):
            return Unprojected(model, forward, (), (), model.built[0], name)
    return None


def _builds(init: Function, name: str) -> bool:
    """The constructor says ``self.name = …`` itself."""
    return any(
        isinstance(node, ast.Attribute) and node.attr == name and isinstance(node.ctx, ast.Store)
        for node in walk(*init.body)
    )


def _attributes_used_outside_init(cls: ClassInfo) -> set[str]:
    return {
        node.attr
        for name, method in cls.methods.items()
        if name != "__init__"
        for node in walk(*method.body)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
    }


def _thrown_away(cls: ClassInfo) -> set[str]:
    """Layers called in ``forward`` as a statement, ``self.proj(x)``, or into a name that is never read."""
    forward = cls.methods["forward"]
    names = [node.id for node in walk(*forward.body) if isinstance(node, ast.Name)]
    found = set()
    for node in walk(*forward.body):
        match node:
            case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr=name))):
                found.add(name)
            case ast.Assign(
                targets=[ast.Name(id=target)],
                value=ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr=name)),
            ) if names.count(target) == 1:
                found.add(name)
    return found
