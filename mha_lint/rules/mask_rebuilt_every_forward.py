"""MHA204: a mask that is the same in each call, and is made anew in each."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct
from msgspec.structs import replace

from mha_lint.model.attention import is_module
from mha_lint.model.constants import Constants
from mha_lint.rules.asking import attends, run_by_forward
from mha_lint.rules.base import Hit, Rule
from mha_lint.rules.mask_uses import uses
from mha_lint.syntax.names import Definition
from mha_lint.syntax.nodes import FUNCTIONS, Function, every_parameter, last_name, receiver, walk
from mha_lint.syntax.words import names_in
from mha_lint.vocabulary import KEEPS_MASKS, is_said

if TYPE_CHECKING:
    from mha_lint.model.attention import ClassModel, FileModel
    from mha_lint.syntax.names import ModuleNames
    from mha_lint.syntax.places import Places

_MODULE = "torch.nn.attention.flex_attention"
_BLOCKS = f"{_MODULE}.create_block_mask"


class Rebuilt(Struct, frozen=True):
    """The evidence: the class, the method, the expression that makes the mask, and whether the mask is of booleans.

    ``earlier`` counts the masks of the class that were found before: each becomes a buffer of its own.
    """

    cls: ast.ClassDef
    function: Function
    made: ast.expr
    boolean: bool
    block: bool = False  # it is a BlockMask of FlexAttention
    earlier: int = 0


class MaskRebuiltEveryForward(Rule):
    """## What it does

    Flags a causal mask that a module makes in each call of `forward`, although its sizes are known when the module is
    built. It also flags FlexAttention's `create_block_mask` there, where nothing that it is given depends on what
    the call is given, besides lengths.

    ## Why it matters

    The mask is the same each time. Each call allocates it again, fills it, and launches a kernel for each of these
    steps. `create_block_mask` computes the whole mask to find its blocks: it takes longer than the attention that it
    speeds up.

    ## Example

    ```python
    future = torch.ones(self.window, self.window, dtype=torch.bool, device=x.device).triu(1)   # in forward
    scores = scores.masked_fill(future, float("-inf"))
    ```

    Use instead:

    ```python
    self.register_buffer(                                                                      # in __init__
        "future", torch.ones(self.window, self.window, dtype=torch.bool).triu(1), persistent=False
    )
    scores = scores.masked_fill(self.future, float("-inf"))
    ```

    A BlockMask is best kept by its length and device: a function with `functools.lru_cache`, as the documentation of
    FlexAttention has it.

    ## Fix

    Registers a buffer that is not part of the `state_dict`, and reads it where the mask was made. Relation
    *equivalent*. The buffer moves with the module, is copied and pickled with it, and each replica of `DataParallel`
    has it. The fix is *unsafe* for one way to build modules: on the meta device, then `to_empty` and a checkpoint, as
    `from_pretrained` of transformers does. No checkpoint holds the buffer, so that its numbers would be those of
    whatever lay in the memory.

    There is no fix where the mask holds floats, which `module.half()` would cast although the code makes them in
    float32; where the code writes into it; and for a BlockMask.

    ## When it stays silent

    - The length is that of the call. A mask that is kept from call to call would be state that changes in `forward`:
      made under `inference_mode` it breaks training, made under `torch.compile` with CUDA graphs it is overwritten,
      made during an export it has no numbers. `is_causal=True` needs no mask, and `torch.compile` fuses this one.
    - The mask depends on what tensors hold, or is built by a function that keeps its results.
    - It is made under a condition that asks for a mask that was kept, or is kept in an attribute.
    - It is a view or one row, such as `arange(n) < length`, and not a triangle.

    ## References

    - [`register_buffer`](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.register_buffer)
    - [FlexAttention: `create_block_mask`](https://docs.pytorch.org/docs/stable/nn.attention.flex_attention.html)
    """

    code = "MHA204"
    name = "mask-rebuilt-every-forward"
    severity = "info"
    finds = "a constant causal mask, or a BlockMask, that each `forward` makes anew"
    why = "It is the same in each call, and each call allocates and fills it again."
    applicability = "unsafe"
    relation = "equivalent"
    invalid: ClassVar = (
        "from torch import nn\n\n\nclass Attention(nn.Module):\n    def __init__(self, window):\n"
        "        super().__init__()\n        self.window = window\n\n    def forward(self, q, k, v):\n"
        "        future = torch.ones(self.window, self.window, dtype=torch.bool, device=q.device).triu(1)\n"
        "        scores = (q @ k.transpose(-2, -1)).masked_fill(future, -1e9)\n        return scores.softmax(-1) @ v\n",
        "from torch import nn\nfrom torch.nn.attention.flex_attention import create_block_mask, flex_attention\n\n\n"
        "def causal(b, h, t, s):\n    return t >= s\n\n\nclass Attention(nn.Module):\n    def forward(self, x):\n"
        "        b, t, c = x.shape\n        q = k = v = x.view(b, t, 8, -1).transpose(1, 2)\n"
        "        blocks = create_block_mask(causal, None, None, t, t, device=q.device)\n"
        "        return flex_attention(q, k, v, block_mask=blocks)\n",
    )
    valid: ClassVar = (
        invalid[0].replace("torch.ones(self.window, self.window", "torch.ones(q.shape[-2], q.shape[-2]"),
        invalid[1].replace("(causal, None", "(lambda b, h, t, s: seen[t] >= seen[s], None").replace("x):", "x, seen):"),
        invalid[1]
        .replace("class Attention", "@functools.lru_cache\ndef kept(t):\n    return 1\n\n\nclass Attention")
        .replace("create_block_mask(causal, None, None, t, t, device=q.device)", "kept(t)"),
    )

    def check(self, model: FileModel, places: Places) -> Iterator[Hit[Rebuilt]]:
        told: set[ast.expr] = set()
        for each in model.classes:
            if not is_module(each.cls):
                continue
            run = run_by_forward(each.cls, model)
            masks, earlier = attends(run, model), 0
            for function, symbol in run:
                if function.decorator_list or function.name == "__init__":
                    continue
                made = [*_triangles(each, function, symbol, model)] if masks else []
                for found in (*made, *_of_blocks(each, function, model)):
                    if found.made not in told and not _is_kept(found.made, function, places):
                        told.add(found.made)
                        evidence = replace(found, earlier=earlier)
                        earlier += not found.block
                        yield Hit(found.made, found.made, _message(found), symbol, evidence=evidence)


def _message(found: Rebuilt) -> str:
    if found.block:
        return "each call makes this BlockMask anew, although nothing but lengths goes into it"
    return "each call makes this mask anew, although its sizes are known when the module is built"


def _triangles(each: ClassModel, function: Function, symbol: str, model: FileModel) -> Iterator[Rebuilt]:
    """Yield the causal masks that scores are masked with in a function, and whose sizes its object knows."""
    constants = Constants(function, each, model.names)
    for seen in model.operations.values():
        for operation in seen:
            if operation.symbol != symbol:
                continue
            masks = [use.mask for use in uses(operation, model.names) if use.mask.diagonal is not None]
            for written in _operands(operation.node) if masks else ():
                made = constants.within(written, partial(_makes_a_triangle, constants=constants))
                if made is not None:
                    boolean = all(mask.boolean is True for mask in masks)
                    yield Rebuilt(each.cls.node, function, made, boolean)


def _operands(node: ast.AST) -> list[ast.expr]:
    """What an operation is given, as it is written."""
    match node:
        case ast.Call(func=function, args=args, keywords=keywords):
            owner = [function.value] if isinstance(function, ast.Attribute) else []
            return [*owner, *args, *(each.value for each in keywords)]
        case ast.BinOp(left=left, right=right):
            return [left, right]
        case ast.Subscript(slice=index):
            return [index]
        case _:
            return []


_CUTS = frozenset({"triu", "tril", "triu_", "tril_"})


def _makes_a_triangle(made: ast.expr, constants: Constants) -> bool:
    """Tell whether an expression allocates a matrix and cuts it, or compares positions."""
    if any(isinstance(node, ast.Call) and last_name(node.func) in _CUTS for node in walk(made)):
        return True
    return any(isinstance(node, ast.Compare) for node in walk(made)) and "arange" in constants.calls(made)


def _of_blocks(each: ClassModel, function: Function, model: FileModel) -> Iterator[Rebuilt]:
    """Yield the calls in a function that make a BlockMask of nothing but lengths."""
    makers = _makers_of_blocks(model.names)
    if makers.isdisjoint(names_in(function)):
        return
    constants = Constants(function, each, model.names)
    for node in walk(function):
        if not isinstance(node, ast.Call) or last_name(node.func) not in makers:
            continue
        given = [*node.args, *(word.value for word in node.keywords if word.arg != "device")]
        told = (constants.is_rule(value) or constants.is_size(value) or _is_device(value) for value in given)
        if given and all(told) and all(word.arg for word in node.keywords):
            yield Rebuilt(each.cls.node, function, node, boolean=False, block=True)


def _is_device(node: ast.expr) -> bool:
    return last_name(node) == "device"


def _makers_of_blocks(names: ModuleNames) -> frozenset[str]:
    """The names under which a file calls ``create_block_mask``, or a function of the project that does no more."""
    found = {"create_block_mask"} if any(full.startswith(_MODULE) for full in names.imports.values()) else set()
    for name, function in names.functions.items():
        if found and _makes_a_block(function, names):
            found.add(name)
    for name, full in names.imports.items():
        if "mask" in name:
            known = names.definition(full)
            made = known.value if isinstance(known, Definition) else None
            if isinstance(known, Definition) and isinstance(made, FUNCTIONS) and _makes_a_block(made, known.home):
                found.add(name)
    return frozenset(found)


def _makes_a_block(function: Function, names: ModuleNames) -> bool:
    """Tell whether a function returns what ``create_block_mask`` gives, of what it is given itself, and keeps none."""
    if function.decorator_list or "create_block_mask" not in names_in(function):
        return False
    own = {each.arg for each in every_parameter(function)}
    returned = [node.value for node in walk(function) if isinstance(node, ast.Return)]
    calls = [node for node in returned if isinstance(node, ast.Call) and names.qualify(node.func) == _BLOCKS]
    others = [
        node for node in returned if node is not None and node not in calls and not isinstance(node, ast.Constant)
    ]
    if len(calls) != 1 or others:
        return False
    given = [*calls[0].args, *(word.value for word in calls[0].keywords)]
    return all(isinstance(each, ast.Constant) or (isinstance(each, ast.Name) and each.id in own) for each in given)


def _is_kept(made: ast.expr, function: Function, places: Places) -> bool:
    """Tell whether the code keeps the mask itself: in an attribute or a table, or it asks for one that was kept."""
    own = receiver(function)
    for parent in places.parents(made):
        if parent is function:
            break
        match parent:
            case ast.If(test=test) | ast.IfExp(test=test) if _asks_for_another(test, made):
                return True
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                return True
    statement = places.statement(made)
    names = {last_name(target) for target in _targets(statement) if isinstance(target, ast.Name)}
    if any(not isinstance(target, ast.Name) for target in _targets(statement)):
        return True
    for node in walk(function):
        match node:
            case ast.Assign(targets=targets, value=ast.Name(id=name)) if name in names:
                if any(isinstance(target, (ast.Attribute, ast.Subscript)) for target in targets):
                    return True
            case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr="register_buffer")) if owner == own:
                return True
    return False


def _asks_for_another(test: ast.expr, made: ast.expr) -> bool:
    """Tell whether a condition names a mask that may have been kept, and not what this one is made of."""
    return any(is_said(KEEPS_MASKS, name) for name in {*names_in(test)} - {*names_in(made)})


def _targets(statement: ast.stmt | None) -> list[ast.expr]:
    match statement:
        case ast.Assign(targets=targets):
            return targets
        case ast.AnnAssign(target=target):
            return [target]
        case _:
            return []
