"""MHA003: a multi-head attention whose merged heads leave the module without a linear map."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from mha_lint.model.attention import ClassModel, is_module
from mha_lint.model.sizes import Size
from mha_lint.model.values import Instance, Layer, Repeated, Sequence, State, Tensor, Unknown, Value, tensors
from mha_lint.rules.base import Hit, Rule
from mha_lint.syntax import usage
from mha_lint.syntax.names import ClassInfo
from mha_lint.syntax.nodes import Function, walk
from mha_lint.syntax.places import NameOf

if TYPE_CHECKING:
    from mha_lint.model.attention import FileModel
    from mha_lint.syntax.places import Places


@dataclass(frozen=True, slots=True)
class Unprojected:
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

    - Single-head attention, and attention whose values are no projection of anything, such as SimPool's.
    - A class whose output every caller in the file feeds to a linear map (BertSelfAttention and BertSelfOutput).
      An object at the level of the module (`mha = MultiHeadAttention(64, 8)`) is an example of use, and no caller.
    - Base classes, mixins, abstract classes; functions.
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
        users = _Users(model)
        for each in model.classes:
            evidence = _unprojected(each)
            if evidence is None or _is_base(each, model) or _projected_by_callers(each.cls, users):
                continue
            message = f"`{each.cls.name}` merges its heads and returns them with no output projection"
            if evidence.unused is not None:
                message += f": `self.{evidence.unused}` is built but its result is not used"
            name = NameOf(each.cls.node)
            yield Hit(name, name, message, each.cls.name, evidence=evidence)


def _unprojected(model: ClassModel) -> Unprojected | None:
    forward = model.cls.methods.get("forward")
    if not model.complete or forward is None or not model.returns:
        return None
    merged: list[Tensor] = []
    for _, value in model.returns:
        returned = list(tensors(value))
        if any("projected" in tensor.roles for tensor in returned) or _hides_something(value):
            return None
        merged += [tensor for tensor in returned if "merged" in tensor.roles and tensor.merge is not None]
    if not merged:
        return None
    merges = tuple(dict.fromkeys(tensor.merge for tensor in merged if tensor.merge is not None))
    sizes = model.built[0].copy()
    for state, _ in model.returns:
        sizes.learn(state.definitions)
    wide = (tensor.last for tensor in merged)
    widths = tuple(dict.fromkeys(sizes.normal(width) for width in wide if width is not None))
    return Unprojected(model, forward, merges, widths, sizes, _unused_projection(model, sizes, widths))


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
    return any(
        other.cls is not cls and cls in other.cls.lineage and _unprojected(other) is None for other in file.classes
    )


def _is_abstract(method: Function) -> bool:
    return any("abstractmethod" in ast.unparse(decorator) for decorator in method.decorator_list)


class _Users:
    """Who names the classes of a file: read once, for all of them."""

    def __init__(self, file: FileModel) -> None:
        self.file = file

    @cached_property
    def _modules(self) -> dict[ClassInfo, set[str]]:
        """The names that stand in each module of the file."""
        return {cls: _names_in(cls.node) for cls in self.file.names.every_class if is_module(cls)}

    @cached_property
    def _handed_on(self) -> set[str]:
        """The names that the constants of the file hand to code that may call what they name."""
        return {name for value in self.file.names.constants.values() for name in _handed_on(value)}

    def modules(self, cls: ClassInfo) -> list[ClassInfo]:
        """The other modules that name a class."""
        return [other for other, names in self._modules.items() if other is not cls and cls.name in names]

    def hands_on(self, cls: ClassInfo) -> bool:
        """A constant of the file is a table of classes, or gives an object of the class to another one."""
        return cls.name in self._handed_on


def _projected_by_callers(cls: ClassInfo, users: _Users) -> bool:
    """Tell whether every user of the class in this file maps its output linearly, or may do so."""
    if users.hands_on(cls):
        return True  # who calls it, and with what, is unknown
    callers = users.modules(cls)
    return bool(callers) and all(_maps_output(users.file.model_of(caller), cls, users.file) for caller in callers)


def _names_in(*nodes: ast.AST) -> set[str]:
    """The names that stand anywhere in the code, be they those of attributes or of arguments."""
    names: set[object] = set()
    for node in walk(*nodes):
        names.update((*usage.named(node), getattr(node, "attr", None), getattr(node, "arg", None)))
    return {name for name in names if isinstance(name, str)}


def _handed_on(value: ast.expr) -> Iterator[str]:
    """The names in a constant, but for classes of which it holds an object: ``mha = Attention(64, 8)`` shows a use.

    An object that is an argument of another class, such as ``nn.Sequential``, belongs to that one.
    """
    waiting: list[tuple[ast.AST, bool]] = [(value, False)]
    while waiting:
        node, is_owned = waiting.pop()
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name) as called):
                if is_owned or isinstance(called, ast.Attribute):
                    waiting.append((called, is_owned))
                owned = is_owned or name[:1].isupper()
                waiting += [(child, owned) for child in (*node.args, *node.keywords)]
            case ast.Name(id=name) | ast.Attribute(attr=name):
                yield name
                waiting += [(child, is_owned) for child in ast.iter_child_nodes(node)]
            case _:
                waiting += [(child, is_owned) for child in ast.iter_child_nodes(node)]


def _maps_output(caller: ClassModel, cls: ClassInfo, file: FileModel) -> bool:
    if cls in caller.added:
        return False
    if not caller.complete or not caller.returns or not _holds(caller, cls, file, set()):
        return True
    return not any("merged" in tensor.roles for _, value in caller.returns for tensor in tensors(value))


def _holds(model: ClassModel, cls: ClassInfo, file: FileModel, seen: set[ClassInfo]) -> bool:
    """Tell whether objects of one class hold an object of another, if inside of what they hold."""
    seen.add(model.cls)
    held = {each for state in model.built for value in state.attributes.values() for each in _objects(value)}
    return cls in held or any(_holds(file.model_of(each), cls, file, seen) for each in held - seen)


def _objects(value: Value) -> Iterator[ClassInfo]:
    """The classes of the objects that a value is made of."""
    match value:
        case Instance(held):
            yield held
        case Sequence(items) | Layer(items=items):
            for item in items:
                yield from _objects(item)
        case Repeated(item, _):
            yield from _objects(item)


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
