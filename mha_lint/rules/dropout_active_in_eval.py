"""MHA103: dropout of attention that nothing switches off in eval mode."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct

from mha_lint.model.conditions import Relation
from mha_lint.model.factors import of_number
from mha_lint.model.handing import handed_over
from mha_lint.model.keys import SELF, Key, Kind
from mha_lint.model.values import Const, Int, Layer, Method, Number, Tensor, Unknown, Value
from mha_lint.rules.asking import is_given, literal
from mha_lint.rules.base import Hit, Rule
from mha_lint.syntax.names import TORCH_BASES
from mha_lint.syntax.nodes import FUNCTIONS, argument, receiver, walk
from mha_lint.syntax.words import names_said
from mha_lint.vocabulary import DROPS_ON_PURPOSE, MODE, SETTINGS, TRIES, is_said

if TYPE_CHECKING:
    from mha_lint.model.attention import FileModel
    from mha_lint.model.conditions import Condition
    from mha_lint.model.events import OperationSeen
    from mha_lint.syntax.names import ClassInfo
    from mha_lint.syntax.places import Places

_ATTENTION = frozenset({"scores", "weights", "context", "merged", "projected"})
_HALF = of_number(0.5)  # the rate of F.dropout where none is given


class Ungated(Struct, frozen=True):
    """A call that drops in both modes: the expression of its rate, where that is written; whether it is attention."""

    call: ast.Call
    rate: ast.expr | None
    attends: bool  # scaled_dot_product_attention, which has no ``training`` to ask for


class DropoutActiveInEval(Rule):
    """## What it does

    Flags dropout of an attention that is not switched off in eval mode: `scaled_dot_product_attention` with a
    `dropout_p` that no `self.training` gates, and `F.dropout` of scores, weights or their context with no `training=`,
    or with `training=True`. A layer that is made in each call, `nn.Dropout(self.p)(w)`, is in train mode as well. A
    rate that is handed to a function of another file is told where it is handed over.

    ## Why it matters

    `scaled_dot_product_attention` is a function and can't know the mode of the module that calls it: it drops whenever
    `dropout_p` is above 0. So does `F.dropout`, whose `training` is True unless it is given. In eval mode such a module
    gives another result in each call, all of them worse than they need be.

    ## Example

    ```python
    y = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout)
    w = F.dropout(w, self.dropout)
    ```

    Use instead:

    ```python
    y = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)
    w = F.dropout(w, self.dropout, training=self.training)
    ```

    ## Fix

    Asks `self.training`. It is *unsafe* because the module computes something else afterwards, in eval mode, on
    purpose. Relation *corrected*: before, two calls in eval mode differ; after, they agree; in train mode both compute
    the same from the same seed. Outside of the methods of a module there is no `self.training` to ask for. A layer that
    is made in each call has no fix: it belongs into the constructor.

    ## When it stays silent

    - The rate, or the call, is gated in any form: `self.p if self.training else 0.0`, `if not self.training: p = 0`,
      `p * self.training`, a property or a helper that asks, an `eval` or `train` method of the class.
    - The rate is 0 wherever the class sets it, or is not known to be a rate of the class: a parameter of the function,
      unless a caller in the file hands it such a rate.
    - Names say that it is on purpose: Monte Carlo dropout, `always`, `force`; or that it is a test or a benchmark.

    ## References

    - [karpathy/nanoGPT#240](https://github.com/karpathy/nanoGPT/pull/240)
    - [huggingface/pytorch-image-models#1978](https://github.com/huggingface/pytorch-image-models/pull/1978)
    - [pytorch/pytorch#124464](https://github.com/pytorch/pytorch/issues/124464)
    """

    code = "MHA103"
    name = "dropout-active-in-eval"
    severity = "error"
    finds = "dropout of an attention that no `self.training` gates"
    why = "These functions drop whenever the rate is above 0: in eval mode each call gives another, worse result."
    applicability = "unsafe"
    relation = "corrected"
    invalid: ClassVar = (
        "import torch.nn.functional as F\nclass Attention(torch.nn.Module):\n"
        "    def __init__(self, p):\n        super().__init__()\n        self.p = p\n"
        "    def forward(self, q, k, v):\n"
        "        return F.scaled_dot_product_attention(q, k, v, dropout_p=self.p)\n",
        "import torch.nn.functional as F\ndef attend(q, k, v):\n"
        "    w = (q @ k.transpose(-2, -1)).softmax(-1)\n    return F.dropout(w, 0.1) @ v\n",
    )
    valid: ClassVar = (
        "import torch.nn.functional as F\nclass Attention(torch.nn.Module):\n"
        "    def __init__(self, p):\n        super().__init__()\n        self.p = p\n"
        "    def forward(self, q, k, v):\n        p = self.p\n        if not self.training:\n            p = 0.0\n"
        "        return F.scaled_dot_product_attention(q, k, v, dropout_p=p)\n",
        "import torch.nn.functional as F\ndef attend(q, k, v, p):\n"
        "    return F.scaled_dot_product_attention(q, k, v, dropout_p=p)\n",
    )

    def check(self, model: FileModel, places: Places) -> Iterator[Hit[Ungated]]:
        for node, seen in model.operations.items():
            if not isinstance(node, ast.Call) or not any(_drops_in_eval(each, model) for each in seen):
                continue
            if not _of_torch(node, model, places) or _is_on_purpose(node, model, places):
                continue
            attends = seen[0].name == "scaled_dot_product_attention"
            if attends:
                rate = argument(node, 4, "dropout_p")
                first, what = rate or node.func, "`dropout_p` is not gated by `self.training`"
            else:
                rate = argument(node, 1, "p")
                flag = argument(node, 2, "training", "train")
                first = flag or node.func
                what = "dropout with `training` always True" if flag else "dropout that is not told the mode"
                if isinstance(node.func, ast.Call):
                    rate, first, what = None, node.func, "dropout by a layer that is made anew in each call"
            last = first if attends and rate is not None else node
            message = f"{what}: it drops in eval mode as well"
            yield Hit(first, last, message, seen[0].symbol, evidence=Ungated(node, rate, attends))
        yield from _handed_over(model, places)


def _handed_over(model: FileModel, places: Places) -> Iterator[Hit[Ungated]]:
    """Yield the hits at calls of other modules, which are handed a rate that nobody gates."""
    told: set[ast.expr] = set()
    for (call, node), seen in model.led.items():
        dropping = next((each for each in seen if _drops_in_eval(each, model)), None)
        if dropping is None or not isinstance(node, ast.Call) or not isinstance(call, ast.Call):
            continue
        attends = dropping.name == "scaled_dot_product_attention"
        written = argument(node, 4, "dropout_p") if attends else argument(node, 1, "p")
        rate = handed_over(dropping, written, partial(operator.eq, _rate(dropping)), plain=True)
        if rate is None or rate in told or not _is_torchs_own(node, dropping) or _is_on_purpose(call, model, places):
            continue
        told.add(rate)
        message = "this rate is not gated by `self.training` on its way to a dropout: it drops in eval mode as well"
        yield Hit(rate, rate, message, dropping.symbol, evidence=Ungated(call, rate, True))


def _is_torchs_own(node: ast.Call, seen: OperationSeen) -> bool:
    """Tell whether an operation of another module is torch's, by what its names mean there."""
    return isinstance(node.func, ast.Name) or (seen.led[0].names.qualify(node.func) or "").startswith("torch.")


def _drops_in_eval(seen: OperationSeen, model: FileModel) -> bool:
    """Tell whether the call drops on this path in eval mode too, with a rate that is the class's own."""
    rate = _rate(seen)
    return rate is not None and not _is_gated(seen) and _is_rate(rate, seen, model)


def _rate(seen: OperationSeen) -> Value | None:
    """The rate of a dropout of attention that does not ask for the mode; None for any other operation."""
    match seen.name:
        case "scaled_dot_product_attention":
            return seen.argument(4, "dropout_p")
        case "dropout":
            tensor, flag = seen.argument(0, "input"), seen.argument(2, "training", "train")
            if not isinstance(tensor, Tensor) or not tensor.roles & _ATTENTION or flag not in (None, Const(True)):
                return None
            rate = seen.argument(1, "p")
            return Number(_HALF) if rate is None and "**" not in dict(seen.keywords) else rate
        case _:
            return None


def _is_gated(seen: OperationSeen) -> bool:
    """Tell whether a condition on this path names the mode: the path may be taken in train mode alone."""
    return any(asked.says(MODE) and (taken or not _asks_for_mode(asked)) for asked, taken in seen.conditions)


def _asks_for_mode(asked: Condition) -> bool:
    return asked.relation is Relation.TRUTH and asked.subject[-1:] == ("training",)


def _is_rate(value: Value, seen: OperationSeen, model: FileModel) -> bool:
    """Tell whether the value is a rate from the constructor, or a number in the code other than 0."""
    match value:
        case Number(factor):
            if factor is None or factor.constant == 0:
                return False
            return all(_is_own(name, seen, model) for size, _ in factor.powers for name in size.symbols)
        case Int(size):
            return size.constant != 0 and all(_is_own(name, seen, model) for name in size.symbols)
        case Method(Layer(kind=kind) as layer, "p"):
            written = None if layer.node is None else argument(layer.node, 0, "p")
            return "Dropout" in kind and literal(written) != 0
        case Unknown(Key() as key):
            return _is_own(key, seen, model) or (key.of_result and _is_attribute(value, seen, model))
        case _:
            return False


def _is_own(key: Key, seen: OperationSeen, model: FileModel) -> bool:
    """Tell whether the key belongs to the class or the file: no parameter of the function, no result of a call."""
    if key.of_result or key.kind is Kind.QUOTIENT or key.says(MODE) or key.says(DROPS_ON_PURPOSE):
        return False
    if key.of_self:
        return "drop" in key.last_name.lower() and (key.says(SETTINGS) or _is_inherited(key, seen, model))
    return not is_given(key, seen)


def _is_inherited(key: Key, seen: OperationSeen, model: FileModel) -> bool:
    """Tell whether a base class that is not known sets the attribute: no code that is known does."""
    cls = model.names.classes.get(seen.symbol.partition(".")[0])
    if key.owner is not SELF or cls is None:
        return False
    name = key.last_name
    stranger = any(base not in TORCH_BASES for base in cls.lineage[-1].bases)
    return stranger and not model.names.changes_of(cls, name) and not any(_sets(each, name) for each in cls.lineage)


def _sets(cls: ClassInfo, name: str) -> bool:
    """Tell whether code of the class assigns the attribute, or binds the name in its body."""
    if name in cls.constants or name in cls.methods:
        return True
    attributes = (node for node in walk(cls.node) if isinstance(node, ast.Attribute))
    return any(node.attr == name and isinstance(node.ctx, ast.Store) for node in attributes)


def _is_attribute(value: Value, seen: OperationSeen, model: FileModel) -> bool:
    """Tell whether the constructor of the class keeps this very value."""
    built = (each.built for each in model.classes if each.cls.name == seen.symbol.partition(".")[0])
    return any(value == kept for states in built for state in states for kept in state.attributes.values())


def _of_torch(node: ast.Call, model: FileModel, places: Places) -> bool:
    """Tell whether the call is of torch's own function, which an object may keep, not of a method of that name."""
    match node.func:
        case ast.Name():
            return True
        case ast.Call(func=layer):  # ``nn.Dropout(p)(weights)``
            return (model.names.qualify(layer) or "").startswith("torch.")
        case ast.Attribute(value=ast.Name(id=owner)) if _is_receiver(owner, node, places):
            return True
        case _:
            return (model.names.qualify(node.func) or "").startswith("torch.")


def _is_receiver(name: str, node: ast.AST, places: Places) -> bool:
    """Tell whether a name is that of the object whose method the node stands in."""
    function = places.function(node)
    return function is not None and receiver(function) == name and places.class_(function) is not None


def _is_on_purpose(node: ast.Call, model: FileModel, places: Places) -> bool:
    """Tell whether names say that dropout stays on, or the class switches it off in a way of its own."""
    if names_said(DROPS_ON_PURPOSE, *node.args, *node.keywords):
        return True
    for parent in places.parents(node):
        if isinstance(parent, FUNCTIONS) and is_said(TRIES, parent.name):
            return True
        if isinstance(parent, (*FUNCTIONS, ast.ClassDef)) and is_said(DROPS_ON_PURPOSE, _spaced(parent.name)):
            return True
        if isinstance(parent, ast.If) and names_said(DROPS_ON_PURPOSE, parent.test):
            return True
        if isinstance(parent, ast.ClassDef):
            cls = model.names.class_of(parent)
            return cls is not None and (cls.method("eval") or cls.method("train")) is not None
    return False


def _spaced(name: str) -> str:
    """``MCDropoutAttention`` as ``mc_dropout_attention``, so that words are told apart."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
