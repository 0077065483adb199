"""Follows scores and weights through one function, by names and operators alone.

It is a coarse reading on purpose, and shares nothing with the linter: no shapes, no types, no calls followed. A value
is the set of scores and weights that it holds. Both arms of an `if` are read one after the other, and a loop twice.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

from tests.bench.hand_written import words
from tests.bench.hand_written.records import Class_, Path, Product, Softmax, Tag, Use
from tests.bench.hand_written.spelled import (
    dim_of,
    dotted,
    is_parameter,
    is_scale,
    is_scores,
    is_text,
    last_name,
    mask_of,
    mixes_heads,
    scales,
    turns_last_two,
)

Value = frozenset[Tag]
NOTHING: Value = frozenset()
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
CHANGED = "the weights are changed after the softmax"
LAYER = "a layer or function of its own acts on {} (talking heads and alike)"
OTHER_DIM = "the product does not run over the dim of the softmax"


class Flow:
    """One reading of one function."""

    def __init__(self, name: str, owner: Class_ | None) -> None:
        self.owner = owner
        self.attends = words.ATTENDS.search(name) is not None
        self.names: dict[str, Value] = {}
        self.softmaxes: dict[int, Softmax] = {}
        self.products: dict[int, Product] = {}
        self.path: Path = ()
        self.fused = False
        self.read: dict[int, Value] = {}  # what the expressions of the present statement hold
        self.scaled: set[str] = set()  # names of queries or keys that were scaled before the product

    # statements

    def block(self, statements: list[ast.stmt]) -> bool:
        """Reads statements; True if the end of them is never reached."""
        outer = self.path
        for statement in statements:
            if self.statement(statement):
                self.path = outer
                return True
        self.path = outer
        return False

    def statement(self, node: ast.stmt) -> bool:
        self.read = {}
        match node:
            case ast.Return():
                if node.value is not None:
                    self.keep(self.value(node.value), "returned", node)
                return True
            case ast.Raise() | ast.Continue() | ast.Break():
                return True
            case ast.Assign():
                value = self.value(node.value)
                for target in node.targets:
                    self.bind(target, value, node.value)
            case ast.AnnAssign(value=ast.expr() as right):
                self.bind(node.target, self.value(right), right)
            case ast.AugAssign():
                left = self.value(node.target)
                value = self.arithmetic(node, node.op, node.target, node.value, left, self.value(node.value))
                self.bind(node.target, value, None)
                if isinstance(node.op, ast.Mult | ast.Div) and is_scale(node.value):
                    self.scaled.add(dotted(node.target))
            case ast.If():
                return self.branches(node)
            case ast.For() | ast.AsyncFor():
                for _ in range(2):
                    self.read = {}
                    self.bind(node.target, self.value(node.iter), None)
                    self.block(node.body)
                self.block(node.orelse)
            case ast.While():
                for _ in range(2):
                    self.read = {}
                    self.value(node.test)
                    self.block(node.body)
            case ast.With() | ast.AsyncWith():
                return self.block(node.body)
            case ast.Try():
                self.block(node.body)
                for handler in node.handlers:
                    self.block(handler.body)
                self.block(node.orelse)
                self.block(node.finalbody)
            case ast.Expr():
                value = self.value(node.value)
                if isinstance(node.value, ast.Yield | ast.YieldFrom):
                    self.keep(value, "returned", node)
        return False

    def branches(self, node: ast.If) -> bool:
        """Reads both arms from the same state; what follows holds what either arm left."""
        self.value(node.test)
        before, outer = dict(self.names), self.path
        self.path = (*outer, (id(node), 0))
        ends = self.block(node.body)
        after_body = self.names
        self.names, self.path = dict(before), (*outer, (id(node), 1))
        else_ends = self.block(node.orelse)
        self.path = outer
        if ends and else_ends:
            return True
        if else_ends:
            self.names = after_body
            self.path = (*outer, (id(node), 0))
        elif ends:
            self.path = (*outer, (id(node), 1))  # what follows is the other arm
        else:
            for name, value in after_body.items():
                self.names[name] = self.names.get(name, NOTHING) | value
        return False

    def bind(self, target: ast.expr, value: Value, right: ast.expr | None) -> None:
        match target:
            case ast.Tuple() | ast.List():
                elements = right.elts if isinstance(right, ast.Tuple | ast.List) else []
                if len(elements) == len(target.elts):
                    values = [self.value(element) for element in elements]
                    for one, its in zip(target.elts, values, strict=True):
                        self.bind(one, its, None)
                    return
                for one in target.elts:
                    self.bind(one, value, None)
            case ast.Starred():
                self.bind(target.value, value, right)
            case ast.Name():
                self.names[target.id] = value
                if right is not None and scales(right):
                    self.scaled.add(target.id)
            case ast.Attribute():
                self.keep(value, "stored", target)
                if name := dotted(target):
                    self.names[name] = value
            case ast.Subscript():
                name = dotted(target.value)
                inside = self.names.get(name, NOTHING)
                if not value:
                    self.note(inside, "mask by index", CHANGED)
                if name.startswith("self."):
                    self.keep(value, "stored", target)
                self.names[name] = inside | value

    # uses

    def keep(self, value: Value, how: str, node: ast.AST) -> None:
        """Notes that a value leaves the function."""
        for tag in value:
            if isinstance(tag.record, Softmax):
                tag.record.kept.setdefault(how, node)
            else:
                tag.record.reasons.add("the scores are returned, stored or handed on")

    def note(self, value: Value, form: str, of_weights: str | None = None, of_scores: str | None = None) -> None:
        """Notes a form, and why what was done forbids a rewrite, if it does."""
        for tag in value:
            late = isinstance(tag.record, Softmax) and form not in ("dropout", "float32")
            tag.record.forms.add(f"{form} after the softmax" if late else form)
            reason = of_weights if isinstance(tag.record, Softmax) else of_scores
            if reason:
                tag.record.reasons.add(reason)

    # expressions

    def value(self, node: ast.expr | None) -> Value:
        """The scores and weights that an expression holds."""
        if id(node) not in self.read:
            self.read[id(node)] = self.evaluated(node)
        return self.read[id(node)]

    def evaluated(self, node: ast.expr | None) -> Value:
        match node:
            case ast.Name():
                if words.FUSED.search(node.id):
                    self.fused = True
                return self.names.get(node.id, NOTHING)
            case ast.Attribute():
                return self.attribute(node)
            case ast.Call():
                return self.call(node)
            case ast.BinOp(op=ast.MatMult()):
                return self.product(node, [node.left, node.right], None)
            case ast.BinOp():
                left, right = self.value(node.left), self.value(node.right)
                return self.arithmetic(node, node.op, node.left, node.right, left, right)
            case ast.UnaryOp(op=ast.Not()) | ast.Constant() | ast.Lambda() | ast.JoinedStr() | None:
                return NOTHING
            case ast.Compare():
                for part in (node.left, *node.comparators):
                    self.value(part)
                return NOTHING
            case ast.Subscript():
                return self.subscript(node)
            case ast.NamedExpr():
                value = self.value(node.value)
                self.bind(node.target, value, None)
                return value
            case ast.IfExp():
                self.value(node.test)
                outer = self.path
                self.path = (*outer, (id(node), 0))
                body = self.value(node.body)
                self.path = (*outer, (id(node), 1))
                other = self.value(node.orelse)
                self.path = outer
                return body | other
            case ast.ListComp() | ast.GeneratorExp() | ast.SetComp():
                for generator in node.generators:
                    self.bind(generator.target, self.value(generator.iter), None)
                return self.value(node.elt)
        return self.union(child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr))

    def union(self, nodes: Iterable[ast.expr]) -> Value:
        value = NOTHING
        for node in nodes:
            value |= self.value(node)
        return value

    def attribute(self, node: ast.Attribute) -> Value:
        if words.FUSED.search(node.attr):
            self.fused = True
        name = dotted(node)
        if name in self.names:
            return self.names[name]
        value = self.value(node.value)
        if node.attr in ("T", "mT"):
            return turned(value)
        return value if node.attr == "data" else NOTHING

    def subscript(self, node: ast.Subscript) -> Value:
        value = self.value(node.value)
        if isinstance(node.slice, ast.Tuple) and isinstance(node.slice.elts[-1], ast.Slice):
            bounds = node.slice.elts[-1]
            if bounds.lower is not None or bounds.upper is not None:
                self.note(value, "cut", "a part of the weights is cut off (sinks and alike)")
        return value

    def arithmetic(
        self, node: ast.AST, operator: ast.AST, left: ast.expr, right: ast.expr, of_left: Value, of_right: Value
    ) -> Value:
        """``left ∘ right`` of tensors or numbers, elementwise."""
        both = of_left | of_right
        scores = frozenset(tag for tag in both if isinstance(tag.record, Product))
        weights = both - scores
        self.note(weights, "arithmetic", CHANGED)
        if not scores:
            return both
        if of_left & scores and of_right & scores:
            if isinstance(operator, ast.Add):
                main = of_left & scores  # what befell the other product befell a bias
                self.note(main, "relative bias of a product")
                return main | weights
            if of_left & of_right == NOTHING:
                self.note(scores, "scores with scores", None, "scores are subtracted from, or multiplied by, scores")
            return both
        other = right if of_left & scores else left
        text = ast.unparse(other)
        match operator:
            case ast.Add() | ast.Sub():
                if words.MASK.search(text):
                    self.note(scores, "added mask")
                elif words.BIAS.search(text):
                    self.note(scores, "added bias")
                else:
                    self.note(scores, "added")
            case ast.Mult() | ast.Div():
                if is_scale(other):
                    self.note(scores, "scale")
                else:
                    self.note(scores, "multiplied", None, "the scores are multiplied by what is no scale")
            case _:
                self.note(scores, "bent", None, "another function than a softmax acts on the scores")
        return both

    def call(self, node: ast.Call) -> Value:
        name = last_name(node.func)
        if words.FUSED.search(name):
            self.fused = True
        arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
        receiver = [node.func.value] if isinstance(node.func, ast.Attribute) else []
        if is_softmax := self.softmax(node, name):
            return is_softmax
        if name in words.PRODUCTS or (name == "dot" and receiver):
            return self.product(node, [*receiver, *arguments], name)
        operands = [self.value(operand) for operand in (*receiver, *arguments)]
        value = frozenset().union(*operands) if operands else NOTHING
        if not value:
            return self.made_elsewhere(node, name)
        if name in words.KEEPS and receiver and not operands[0]:
            owner = dotted(receiver[0])
            self.keep(value, "appended", node)
            self.names[owner] = self.names.get(owner, NOTHING) | value
            return NOTHING
        if name in words.LOOKS or words.NUMBERS.search(name):
            return NOTHING
        return self.acted(node, name, value, operands)

    def acted(self, node: ast.Call, name: str, value: Value, operands: list[Value]) -> Value:
        """What a call makes of the scores or weights among its operands."""
        if name in words.TURNS:
            return turned(value) if turns_last_two(node, name) else frozenset(Tag(tag.record, None) for tag in value)
        if name in words.OF_THE_FIRST and operands[0]:
            value = operands[0]
        if name in words.CASTS:
            if name in ("float", "double") or "float32" in ast.unparse(node):
                self.note(value, "float32")
            return value
        if name in words.FILLS:
            self.note(value, "where" if name == "where" else "masked_fill")
            self.filled(value, mask_of(node, name))
            return value
        if words.DROPOUT.search(name):
            self.note(value, "dropout", None, "dropout acts on the scores")
            return value
        if name in words.ARITHMETIC:
            parts = [node.func.value, *node.args] if isinstance(node.func, ast.Attribute) else list(node.args)
            tensors = [part for part in parts if dotted(part) not in ("torch", "F", "np")]
            if len(tensors) >= 2:
                sign = {"*": ast.Mult(), "/": ast.Div(), "+": ast.Add(), "-": ast.Sub()}[words.ARITHMETIC[name]]
                left, right = tensors[:2]
                return self.arithmetic(node, sign, left, right, self.value(left), self.value(right))
            return value
        for names, form, of_weights, of_scores in (
            (
                words.JOINS,
                "joined",
                "weights are joined",
                "scores are joined with others before the softmax (sinks, blocks)",
            ),
            (words.CHOOSES, "top-k", "top-k or sorting of weights", "top-k or sorting of scores"),
            (words.SQUASHES, "tanh", CHANGED, "softcap: tanh of the scores"),
            (words.BENDS, "bent", CHANGED, "another function than a softmax acts on the scores"),
        ):
            if name in names:
                self.note(value, form, of_weights, of_scores)
                return value
        if name in words.PASSES:
            return value
        return self.handed(node, name, value, operands)

    def filled(self, value: Value, mask: str) -> None:
        """Notes a mask of scores, and a mask of weights that the scores did not have."""
        for tag in value:
            if isinstance(tag.record, Product):
                tag.record.masks.add(mask)
            elif not any(mask in product.masks for product in tag.record.products):
                tag.record.reasons.add("the weights are masked otherwise than the scores")

    def handed(self, node: ast.Call, name: str, value: Value, operands: list[Value]) -> Value:
        """An unknown function or layer gets scores or weights."""
        weights = frozenset(tag for tag in value if isinstance(tag.record, Softmax))
        scores = value - weights
        if isinstance(node.func, ast.Attribute) and operands[0]:
            self.note(value, f".{name}")  # an unknown method of a tensor
            return value
        adds = words.MASK.search(name) or words.BIAS.search(name)
        self.note(scores, f"{name}(…)", None, None if adds else LAYER.format("the scores"))
        self.note(weights, f"{name}(…)", LAYER.format("the weights"))
        return value

    def made_elsewhere(self, node: ast.Call, name: str) -> Value:
        """Weights that another function makes, scores and softmax and all, told by its name."""
        if not words.MAKES_WEIGHTS.search(name):
            return NOTHING
        record = self.softmaxes.setdefault(id(node), Softmax(node, None, ()))
        record.reasons.add("the softmax stands in another function")
        return frozenset({Tag(record)})

    def product(self, node: ast.expr, operands: list[ast.expr], name: str | None) -> Value:
        """Two tensors are multiplied: scores, or weights with values, or heads with heads."""
        letters = [operand.value for operand in operands if is_text(operand)]
        tensors = [operand for operand in operands if not is_text(operand) and dotted(operand) not in ("torch", "F")]
        values = [self.value(tensor) for tensor in tensors]
        if name == "baddbmm" and len(values) >= 3:
            bias, *rest = values
            made = self.made(node, tensors[1:], rest, None)
            self.note(made, "baddbmm")
            return made | bias
        return self.made(node, tensors, values, letters[0] if letters else None)

    def made(self, node: ast.expr, tensors: list[ast.expr], values: list[Value], letters: str | None) -> Value:
        tagged = [index for index, value in enumerate(values[:2]) if value]
        weighted = [index for index in tagged if any(isinstance(tag.record, Softmax) for tag in values[index])]
        if len(tagged) == 1 and is_parameter(tensors[1 - tagged[0]] if len(tensors) > 1 else None):
            value = values[tagged[0]]
            if mixes_heads(letters, tagged[0]) or (letters is None and not weighted and is_scores(tensors[tagged[0]])):
                self.note(value, "product with a parameter", LAYER.format("the weights"), LAYER.format("the scores"))
                return value
        if not weighted:
            record = self.products.setdefault(id(node), Product(node))
            if any(dotted(tensor) in self.scaled or scales(tensor) for tensor in tensors):
                record.forms.add("scaled before the product")
            if letters is not None:
                record.forms.add("einsum")
                record.letters = len(letters.replace(" ", "").partition("->")[2])
            return frozenset({Tag(record)})
        for index in weighted:
            for tag in values[index]:
                if isinstance(tag.record, Softmax):
                    reason = self.not_with_values(tag, index, weighted, letters)
                    tag.record.used[id(node)] = Use(node, self.path, reason)
                    if letters is not None:
                        tag.record.forms.add("einsum")
        return NOTHING

    def not_with_values(self, tag: Tag, index: int, weighted: list[int], letters: str | None) -> str | None:
        """Why a product of weights is not one that takes a mean of values, or None."""
        assert isinstance(tag.record, Softmax)
        if len(weighted) > 1:
            return "weights are multiplied with weights"
        if letters is not None:
            inputs, _, output = letters.replace(" ", "").partition("->")
            operands = inputs.split(",")
            if index < len(operands) and tag.turned is False and operands[index][-1:] in output and output:
                return OTHER_DIM
            return None
        if tag.turned is None or not tag.record.products or tag.record.dim not in (None, "-1"):
            return None
        return OTHER_DIM if tag.turned is (index == 0) else None

    def softmax(self, node: ast.Call, name: str) -> Value | None:
        """The weights, if the call is a softmax of scores."""
        dim: str | None = None
        own = False
        receiver: list[ast.expr] = []
        if isinstance(node.func, ast.Call):  # nn.Softmax(dim=-1)(scores)
            if not words.LAYER_OF_SOFTMAX.search(last_name(node.func.func)):
                return None
            dim = dim_of(node.func, 0)
        elif dotted(node.func).startswith("self.") and self.owner is not None and name in self.owner.softmaxes:
            dim = self.owner.softmaxes[name]
        elif not words.SOFTMAX.search(name) or words.NOT_A_SOFTMAX.search(name) or name[:1].isupper():
            return None
        elif dotted(node.func).startswith("self."):
            own = name != "softmax" or (self.owner is not None and name in self.owner.methods)
        elif isinstance(node.func, ast.Attribute):
            own = name != "softmax"
            owner = dotted(node.func.value)
            is_module = owner.split(".")[-1] in ("torch", "F", "functional", "nn", "special", "utils", "tf")
            receiver = [] if is_module else [node.func.value]
            dim = dim_of(node, 0 if receiver else 1)
        else:
            own = name != "softmax"
            dim = dim_of(node, 1)
        operands = [
            *receiver,
            *node.args,
            *(keyword.value for keyword in node.keywords if keyword.arg in ("input", "x")),
        ]
        if not operands:
            return None
        value = self.value(operands[0])
        record = self.weights(node, operands[0], value, dim)
        if record is None:
            return None
        if own:
            record.reasons.add("a softmax of its own (normalised otherwise, quantised or fused)")
        if "float32" in ast.unparse(node) or "torch.float)" in ast.unparse(node):
            record.forms.add("float32")
        return frozenset({Tag(record)})

    def weights(self, node: ast.Call, operand: ast.expr, value: Value, dim: str | None) -> Softmax | None:
        if known := self.softmaxes.get(id(node)):
            return known
        products = tuple(tag.record for tag in value if isinstance(tag.record, Product))
        if not products:
            text = ast.unparse(operand)
            attends = self.attends and words.LOGITS.search(text)
            if not attends and not words.SCORES.search(text):
                return None
            made = Product(None)
            made.reasons.add("the scores are made by another function or layer")
            products = (made,)
        record = Softmax(node, dim, products)
        self.softmaxes[id(node)] = record
        return record


def turned(value: Value) -> Value:
    """The same with the last two dims swapped."""
    return frozenset(Tag(tag.record, None if tag.turned is None else not tag.turned) for tag in value)
