"""A function of attention code: where its values come from, and which are scores, weights and context."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from tests.bench.injection.code import (
    ATTENTION,
    SDPA,
    Code,
    Edit,
    Injection,
    is_library,
    is_product,
    keyword,
    last,
    name_of,
    operands,
)

# Methods and functions that leave scores scores, weights weights and context context.
_KEEPS = frozenset(
    "masked_fill masked_fill_ float half to type_as contiguous clone transpose permute view reshape unsqueeze squeeze"
    " dropout dropout_ clamp add add_ mul mul_ div div_ where flatten unflatten softmax split_heads nan_to_num".split()
)


@dataclass(frozen=True)
class Scope:
    """A function of a class, or of the module: ``unit`` is that class, or the function itself."""

    code: Code
    unit: ast.ClassDef | ast.FunctionDef
    function: ast.FunctionDef
    parents: dict[ast.AST, ast.AST] = field(repr=False)

    @property
    def symbol(self) -> str:
        return self.function.name if self.unit is self.function else f"{self.unit.name}.{self.function.name}"

    @cached_property
    def others(self) -> list[Scope]:
        """The other methods of the class."""
        methods = self.unit.body if isinstance(self.unit, ast.ClassDef) else []
        functions = [each for each in methods if isinstance(each, ast.FunctionDef) and each is not self.function]
        return [Scope(self.code, self.unit, each, self.parents) for each in functions]

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """What can be reached: in what stands behind ``assert False`` or a ``raise``, a mistake would be none."""
        found: list[ast.AST] = []
        todo: list[ast.AST] = [self.function]
        while todo:
            node = todo.pop(0)
            found.append(node)
            for _, value in ast.iter_fields(node):
                if isinstance(value, list):
                    todo += [each for each in _up_to_the_end(value) if isinstance(each, ast.AST)]
                elif isinstance(value, ast.AST):
                    todo.append(value)
        return found

    @cached_property
    def calls(self) -> list[ast.Call]:
        return [node for node in self.nodes if isinstance(node, ast.Call)]

    @cached_property
    def parameters(self) -> frozenset[str]:
        spec = self.function.args
        return frozenset(each.arg for each in [*spec.posonlyargs, *spec.args, *spec.kwonlyargs])

    @cached_property
    def assignments(self) -> list[tuple[str, ast.expr, ast.stmt]]:
        """``name = value``, ``a, b = x, y`` and ``name += value``, in order; attributes of self are "self.name"."""
        found: list[tuple[str, ast.expr, ast.stmt]] = []
        for node in self.nodes:
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                        pairs = list(zip(target.elts, node.value.elts, strict=False))
                    elif isinstance(target, ast.Tuple):
                        pairs = [(each, node.value) for each in target.elts]
                    else:
                        pairs = [(target, node.value)]
                    found += [(name_of(each), value, node) for each, value in pairs if name_of(each)]
            elif isinstance(node, (ast.AnnAssign, ast.AugAssign)) and node.value is not None and name_of(node.target):
                found.append((name_of(node.target), node.value, node))
        return sorted(found, key=lambda each: self.code.start(each[2]))

    def values(self, name: str, before: ast.expr | ast.stmt) -> list[tuple[ast.expr, ast.stmt]]:
        """What the name was set to last before this place; where that was in a branch, what it was before as well."""
        here = self.code.start(self.statement(before))
        earlier = [(v, s) for n, v, s in self.assignments if n == name and self.code.start(s) < here]
        chosen: list[tuple[ast.expr, ast.stmt]] = []
        around = set(self.around(before))
        for value, statement in reversed(earlier):
            chosen.append((value, statement))
            if self.parents[statement] in around and not isinstance(statement, ast.AugAssign):
                break
        return chosen

    def around(self, node: ast.AST) -> Iterator[ast.AST]:
        while node is not self.function and node in self.parents:
            node = self.parents[node]
            yield node

    def statement(self, node: ast.expr | ast.stmt) -> ast.stmt:
        at: ast.AST = node
        while not isinstance(at, ast.stmt):
            at = self.parents[at]
        return at

    def leads(self, node: ast.AST, test: Callable[[ast.AST], bool]) -> bool:
        """Whether the value of ``node`` comes from one that passes ``test``, through what keeps its role."""
        todo, seen = [node], {node}
        while todo:
            here = todo.pop()
            if test(here):
                return True
            more = [each for each in self._sources(here) if each not in seen]
            seen.update(more)
            todo += more
        return False

    def _sources(self, node: ast.AST) -> list[ast.AST]:
        match node:
            case ast.Name():
                return [value for value, _ in self.values(node.id, node)]
            case ast.Call(func=ast.Attribute(value=value, attr=attr)) if attr in _KEEPS and not is_library(value):
                on_self = isinstance(value, ast.Name) and value.id == "self"
                return list(node.args[:1]) if on_self else [value]
            case ast.Call(func=ast.Attribute(value=ast.Name("self"), attr=attr)) if re.search("drop|softmax", attr):
                return list(node.args[:1])
            case ast.Call(func=ast.Attribute(attr=attr)) if attr in _KEEPS:
                return list(node.args)
            case ast.BinOp(op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div()):
                return [node.left, node.right]
            case ast.Subscript() | ast.Starred():
                return [node.value]
            case ast.IfExp():
                return [node.body, node.orelse]
        return []

    # --- roles

    def is_softmax(self, node: ast.AST) -> bool:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return node.func.id in ("softmax", "stable_softmax") and bool(node.args)
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            return False
        owner = isinstance(node.func.value, ast.Name) and node.func.value.id == "self"
        return node.func.attr in self.softmaxes if owner else node.func.attr == "softmax"

    @cached_property
    def softmaxes(self) -> frozenset[str]:
        """Attributes of the class that hold an ``nn.Softmax``."""
        made: set[str] = set()
        for node in ast.walk(self.unit):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and last(node.value) == "Softmax":
                made |= {name_of(target).removeprefix("self.") for target in node.targets}
        return frozenset(made)

    def softmaxed(self, call: ast.Call) -> ast.expr | None:
        """What a softmax is taken of."""
        if isinstance(call.func, ast.Name):
            return call.args[0]
        assert isinstance(call.func, ast.Attribute)
        value = call.func.value
        if is_library(value) or (isinstance(value, ast.Name) and value.id == "self"):
            return call.args[0] if call.args else keyword(call, "input")
        return value

    def is_scores(self, node: ast.AST) -> bool:
        """A product whose operands are no attention weights, and which is no learned map, as ``x @ self.weight``."""
        if not is_product(node) or any(self.leads(each, self.is_softmax) for each in operands(node)):
            return False
        return not any(_is_own(each) for each in operands(node)[1:2])

    def is_weights(self, node: ast.AST) -> bool:
        if not (isinstance(node, ast.Call) and self.is_softmax(node)):
            return False
        of = self.softmaxed(node)
        return of is not None and self.leads(of, self.is_scores)

    def is_context(self, node: ast.AST) -> bool:
        """Weights times values, or the result of ``scaled_dot_product_attention``."""
        if isinstance(node, ast.Call) and last(node) == SDPA:
            return True
        return is_product(node) and any(self.leads(each, self.is_weights) for each in operands(node))

    @cached_property
    def weights(self) -> list[ast.Call]:
        """The softmaxes of scores that go into a product, or are what the function gives back."""
        used: list[ast.AST] = [each for node in self.nodes if is_product(node) for each in operands(node)]
        used += [
            each
            for node in self.nodes
            if isinstance(node, ast.Return) and node.value is not None
            for each in (node.value.elts if isinstance(node.value, ast.Tuple) else [node.value])
        ]
        made = [call for call in self.calls if self.is_weights(call)]
        return [call for call in made if any(self.leads(each, lambda node, call=call: node is call) for each in used)]

    @cached_property
    def sdpa(self) -> list[ast.Call]:
        """The calls of torch's own: ``self.scaled_dot_product_attention`` may be anything."""
        named = [call for call in self.calls if last(call) == SDPA and len(call.args) >= 2]
        return [
            call
            for call in named
            if (is_library(call.func.value) if isinstance(call.func, ast.Attribute) else self.code.has_torch_sdpa)
        ]

    @cached_property
    def takes_masks(self) -> bool:
        """The planted lines say ``torch``, so the module has to import it."""
        return "torch" in self.code.module_names

    @cached_property
    def is_called(self) -> bool:
        """Another method of the class calls this one."""
        return any(last(call) == self.function.name for other in self.others for call in other.calls)

    def added_to_scores(self) -> Iterator[tuple[ast.stmt, ast.expr]]:
        """What is added to scores before their softmax, with the statement that adds it."""
        for node in self.nodes:
            match node:
                case ast.BinOp(left=left, op=ast.Add(), right=right):
                    pass
                case ast.AugAssign(target=left, op=ast.Add(), value=right):
                    pass
                case _:
                    continue
            for one, other in ((left, right), (right, left)):
                are_scores = self.leads(one, self.is_scores) and not self.leads(one, self.is_weights)
                if are_scores and not self.leads(other, self.is_scores):
                    yield self.statement(right), other

    @cached_property
    def attends(self) -> bool:
        return bool(self.weights or self.sdpa)

    def where(self, *attributes: str) -> frozenset[str]:
        """This function, and the methods of its class that call it or read one of the attributes."""
        named = {self.function.name, *(each.removeprefix("self.") for each in attributes)}
        if self.unit is self.function:
            return frozenset({self.symbol})
        users = {
            f"{self.unit.name}.{method.name}"
            for method in self.unit.body
            if isinstance(method, ast.FunctionDef)
            for node in ast.walk(method)
            if isinstance(node, ast.Attribute) and node.attr in named
        }
        return frozenset({self.symbol, *users})

    def injection(
        self,
        rule: str,
        form: str,
        at: ast.expr | ast.stmt,
        *edits: Edit,
        base: tuple[Edit, ...] = (),
        reads: tuple[str, ...] = (),
        silent: str = "",
    ) -> Injection:
        where = self.where(*reads)
        return Injection(rule, form, self.unit.name, self.symbol, at.lineno, where, edits, base, silent)


def _up_to_the_end(block: list[object]) -> list[object]:
    """The items of a list, or the statements of a block up to one that ends it."""
    for index, each in enumerate(block):
        fails = isinstance(each, ast.Assert) and isinstance(each.test, ast.Constant) and not each.test.value
        if fails or isinstance(each, (ast.Raise, ast.Return)):
            return block[: index + 1]
    return block


def _is_own(node: ast.expr) -> bool:
    """An attribute of self, in another layout or a part of it."""
    while not name_of(node).startswith("self."):
        match node:
            case ast.Call(func=ast.Attribute(value=value)) | ast.Attribute(value=value) | ast.Subscript(value=value):
                node = value
            case _:
                return False
    return not isinstance(node, ast.Call)


def scopes(code: Code, about: re.Pattern[bytes] = ATTENTION) -> Iterator[list[Scope]]:
    """The functions of each class, and each function, of the module that has to do with the subject."""
    for unit in code.tree.body:
        if not isinstance(unit, (ast.ClassDef, ast.FunctionDef)):
            continue
        if not about.search(code.data[code.start(unit) : code.end(unit)]):
            continue
        parents = {child: node for node in ast.walk(unit) for child in ast.iter_child_nodes(node)}
        functions = unit.body if isinstance(unit, ast.ClassDef) else [unit]
        yield [Scope(code, unit, each, parents) for each in functions if isinstance(each, ast.FunctionDef)]
