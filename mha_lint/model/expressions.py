"""The value of an expression, the effect of a small statement, and the outcome of a condition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import libcst as cst

from mha_lint.model import einops_api, layers, torch_api
from mha_lint.model.sizes import ONE, Size, constant, equate, symbol
from mha_lint.model.torch_api import OPERATIONS, Call
from mha_lint.model.values import (
    NONE,
    NOTHING,
    ClassValue,
    Const,
    Function,
    Instance,
    Int,
    Layer,
    Method,
    Number,
    Qualified,
    Repeated,
    Self,
    Sequence,
    ShapeOf,
    Slice,
    State,
    Super,
    Tensor,
    Unknown,
    Value,
    as_int,
    as_size,
    as_tensor,
    integer,
    of_shape,
    truth,
)

if TYPE_CHECKING:
    from mha_lint.model.interpreter import Interpreter

_RESHAPING_IN_PLACE = frozenset(
    "transpose_ swapaxes_ swapdims_ t_ squeeze_ unsqueeze_ resize_ resize_as_ set_ as_strided_".split()
)


def evaluate(run: Interpreter, node: cst.BaseExpression, state: State) -> Value:
    """The abstract value of an expression; calls may refine ``state``."""
    run.step()
    handler = _EVALUATORS.get(type(node))
    return Unknown(run.key(node)) if handler is None else handler(run, node, state)


# --- names and literals ------------------------------------------------------------------------------------------


def _name(run: Interpreter, node: cst.Name, state: State) -> Value:
    name = node.value
    if name in state.variables:
        return state.variables[name]
    if name in ("None", "True", "False"):
        return Const({"None": None, "True": True, "False": False}[name])
    return _module_name(run, name)


def _module_name(run: Interpreter, name: str) -> Value:
    names = run.names
    if name in names.classes:
        return ClassValue(names.classes[name])
    if name in names.functions:
        return Function(names.functions[name])
    if name in names.imports:
        return Qualified(names.imports[name])
    if name in names.constants:
        value = names.constants[name]
        if isinstance(value, (cst.Integer, cst.Float, cst.SimpleString, cst.Name, cst.BinaryOperation)):
            return evaluate(run, value, State())
        return Unknown(name)
    return Qualified(f"builtins.{name}")


def _integer(run: Interpreter, node: cst.Integer, state: State) -> Value:
    return integer(node.evaluated_value)


def _float(run: Interpreter, node: cst.Float, state: State) -> Value:
    return Number()


def _string(run: Interpreter, node: cst.SimpleString | cst.ConcatenatedString, state: State) -> Value:
    value = node.evaluated_value
    return Const(value) if isinstance(value, str) else NOTHING


def _ellipsis(run: Interpreter, node: cst.Ellipsis, state: State) -> Value:
    return Const(...)


def _sequence(run: Interpreter, node: cst.Tuple | cst.List, state: State) -> Value:
    items: list[Value] = []
    for element in node.elements:
        value = evaluate(run, element.value, state)
        if not isinstance(element, cst.StarredElement):
            items.append(value)
        elif isinstance(value, Sequence):
            items += value.items
        else:
            return NOTHING
    return Sequence(tuple(items))


# --- attributes --------------------------------------------------------------------------------------------------


def _attribute(run: Interpreter, node: cst.Attribute, state: State) -> Value:
    name = node.attr.value
    qualified = run.names.qualify(node)
    if qualified is not None and not _shadowed(node, state):
        return Qualified(qualified)
    base = evaluate(run, node.value, state)
    return attribute(run, base, name, node, state)


def _shadowed(node: cst.Attribute, state: State) -> bool:
    head: cst.BaseExpression = node
    while isinstance(head, cst.Attribute):
        head = head.value
    return isinstance(head, cst.Name) and head.value in state.variables


def attribute(run: Interpreter, base: Value, name: str, node: cst.Attribute, state: State) -> Value:
    match base:
        case Self(cls) | Instance(cls):
            found = state.attributes.get(name) if isinstance(base, Self) else dict(base.attributes).get(name)
            if found is not None:
                return found
            method = cls.method(name)
            if method is not None:
                bound = Function(method, base)
                if cls.is_property(name):
                    return run.call_function(bound, Call(run, state, node, (), {}))
                return bound
            for info in cls.lineage:
                if name in info.constants:
                    value = evaluate(run, info.constants[name], State())
                    return value if isinstance(value, (Int, Const, Number)) else Unknown(f"self.{name}")
            return Unknown(f"self.{name}") if isinstance(base, Self) else Unknown(run.key(node))
        case Super(cls):
            method = cls.parent.method(name) if cls.parent is not None else None
            return NOTHING if method is None else Function(method, Self(cls))
        case Qualified(full):
            return Qualified(f"{full}.{name}")
        case Layer(kind="Linear", width_in=width_in, width_out=width_out) if name in ("in_features", "out_features"):
            size = width_in if name == "in_features" else width_out
            return Unknown(run.key(node)) if size is None else Int(size)
        case Sequence() | Repeated() if name == "append":
            return Method(base, name)
        case Layer() if name in ("weight", "bias"):
            weight = None
            if base.kind == "Linear" and name == "weight" and base.width_in and base.width_out:
                weight = (base.width_out, base.width_in)
            return of_shape(weight, roles=frozenset({"parameter"}))
        case Tensor() | Unknown():
            return _tensor_attribute(run, base, name, node, state)
        case Function() | ClassValue():
            return Unknown(run.key(node))
        case _:
            return Method(base, name)


def _tensor_attribute(run: Interpreter, base: Tensor | Unknown, name: str, node: cst.Attribute, state: State) -> Value:
    tensor = as_tensor(base)
    assert tensor is not None
    tensor = torch_api.normal(tensor, state)
    if name == "shape":
        return torch_api.shape_of(tensor)
    if name in ("T", "mT", "H", "mH", "data", "real", "ndim") and (isinstance(base, Tensor) or name != "real"):
        table = {"H": "T", "mH": "mT"}
        return OPERATIONS[table.get(name, name)](Call(run, state, node, (tensor,), {}))
    if name in OPERATIONS or name.endswith("_") or isinstance(base, Tensor):
        return Method(base, name)
    return Unknown(f"{base.key}.{name}" if base.key is not None else None)


# --- calls -------------------------------------------------------------------------------------------------------


def _call(run: Interpreter, node: cst.Call, state: State) -> Value:
    if isinstance(node.func, cst.Name) and node.func.value == "super" and run_owner(state) is not None:
        owner = run_owner(state)
        assert owner is not None
        return Super(owner.cls)
    function = evaluate(run, node.func, state)
    args: list[Value] = []
    keywords: dict[str, Value] = {}
    for arg in node.args:
        value = evaluate(run, arg.value, state)
        if arg.star == "*":
            if not isinstance(value, Sequence):
                keywords["**"] = NOTHING
                args.append(value)  # its items are not known one by one
                continue
            args += value.items
        elif arg.star == "**":
            keywords["**"] = NOTHING
        elif arg.keyword is not None:
            keywords[arg.keyword.value] = value
        else:
            args.append(value)
    if (
        "**" in keywords
        and isinstance(function, (Function, ClassValue, Self, Instance))
        and any(a.star == "*" for a in node.args)
    ):
        args = [value for arg, value in zip(node.args, args, strict=False) if arg.star == ""]
    return run.apply(function, Call(run, state, node, tuple(args), keywords))


def run_owner(state: State) -> Self | None:
    owner = state.variables.get("self")
    return owner if isinstance(owner, Self) else None


def call_method(run: Interpreter, receiver: Value, name: str, call: Call) -> Value:
    """``receiver.name(...)`` where the receiver is a tensor, or unknown and used as one."""
    if name in _RESHAPING_IN_PLACE:
        node = call.node
        if isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute):
            assign(run, node.func.value, Unknown(run.key(node)), call.state)
        return Unknown(run.key(call.node))
    if isinstance(receiver, (Tensor, Unknown)):
        operation = OPERATIONS.get(name)
        if operation is not None:
            tensor = as_tensor(receiver)
            assert tensor is not None
            return operated(operation, replace(call, args=(tensor, *call.args)))
        if name.endswith("_") and not name.startswith("__") and isinstance(receiver, Tensor):
            return receiver  # in place: same memory
    if isinstance(receiver, (Sequence, Repeated)) and name == "append" and len(call.args) == 1:
        return _append(run, receiver, call)
    return Unknown(run.key(call.node))


def _append(run: Interpreter, receiver: Sequence | Repeated, call: Call) -> Value:
    """``items.append(x)``: in a loop the list holds as many alike as the loop has turns."""
    node = call.node
    if isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute):
        longer: Value = NOTHING
        if run.looping and receiver in (Sequence(()), Repeated(call.args[0], run.turns)):
            longer = Repeated(call.args[0], run.turns)
        elif isinstance(receiver, Sequence) and not run.looping:
            longer = Sequence((*receiver.items, call.args[0]))
        assign(run, node.func.value, longer, call.state)
    return NONE


_TORCH_PREFIXES = ("torch.nn.functional.", "torch.linalg.", "torch.special.", "torch.nn.", "torch.")


def call_qualified(run: Interpreter, name: str, call: Call) -> Value:
    """A call of something imported, or of a builtin."""
    if name in _BUILTINS:
        return _BUILTINS[name](run, call)
    if name in ("einops.rearrange", "einops.einops.rearrange"):
        return einops_api.rearrange(call)
    if name in ("einops.repeat", "einops.einops.repeat"):
        return einops_api.repeat(call)
    if name == "einops.layers.torch.Rearrange":
        return layers.rearrange_layer(_as_call(call), call.args, call.keywords)
    if name.startswith("torch.nn.") and name.count(".") == 2 and name.rpartition(".")[2][:1].isupper():
        built = layers.build(name.rpartition(".")[2], _as_call(call), call.args, call.keywords, call.state)
        return Unknown(run.key(call.node)) if built == NOTHING else built
    for prefix in _TORCH_PREFIXES:
        if name.startswith(prefix):
            operation = OPERATIONS.get(name.removeprefix(prefix))
            return Unknown(run.key(call.node)) if operation is None else operated(operation, call)
    return Unknown(run.key(call.node))


def operated(operation: torch_api.Transfer, call: Call) -> Value:
    try:
        return operation(call)
    except (IndexError, ZeroDivisionError):  # a dimension that the tensor does not have: no run takes this path
        return NOTHING


def _as_call(call: Call) -> cst.Call:
    assert isinstance(call.node, cst.Call)
    return call.node


def _map(run: Interpreter, call: Call) -> Value:
    if len(call.args) != 2:
        return NOTHING
    function, items = call.args
    match items:
        case Sequence(values):
            return Sequence(tuple(run.apply(function, replace(call, args=(v,), keywords={})) for v in values))
        case Repeated(item, count):
            return Repeated(run.apply(function, replace(call, args=(item,), keywords={})), count)
        case Tensor():
            return _map(run, replace(call, args=(function, _unpacked(run, items, None, call.node, call.state))))
        case _:
            return Repeated(NOTHING)


def _zip(run: Interpreter, call: Call) -> Value:
    lengths = [len(value.items) for value in call.args if isinstance(value, Sequence)]
    if not lengths:
        return Repeated(Sequence(tuple(map(element, call.args))))
    return Sequence(
        tuple(
            Sequence(tuple(v.items[index] if isinstance(v, Sequence) else element(v) for v in call.args))
            for index in range(min(lengths))
        )
    )


def _range(run: Interpreter, call: Call) -> Value:
    size = as_size(call.args[0]) if len(call.args) == 1 else None
    return Repeated(Unknown(run.key(call.node)), None if size is None else call.state.normal(size))


def _enumerate(run: Interpreter, call: Call) -> Value:
    index = Unknown(run.key(call.node))
    match call.args[:1]:
        case (Sequence(items),):
            return Sequence(tuple(Sequence((integer(i), item)) for i, item in enumerate(items)))
        case (Repeated(item, count),):
            return Repeated(Sequence((index, item)), count)
        case _:
            return Repeated(Sequence((index, NOTHING)))


def _len(run: Interpreter, call: Call) -> Value:
    match call.args[:1]:
        case (Sequence(items),):
            return integer(len(items))
        case (Repeated(_, Size() as count),):
            return Int(count)
        case (Tensor() as tensor,):
            return torch_api.dimension(tensor, 0)
        case _:
            return Unknown(run.key(call.node))


def _first(run: Interpreter, call: Call) -> Value:
    return call.args[0] if call.args else Sequence(())


def _size_class(run: Interpreter, call: Call) -> Value:
    return call.args[0] if call.args else NOTHING


def _getattr(run: Interpreter, call: Call) -> Value:
    match call.args:
        case (Unknown(str(key)), Const(str(name)), *_):
            return Unknown(f"{key}.{name}")
        case _:
            return Unknown(run.key(call.node))


def _deepcopy(run: Interpreter, call: Call) -> Value:
    return call.args[0] if call.args else NOTHING


_BUILTINS: dict[str, Callable[[Interpreter, Call], Value]] = {
    "builtins.map": _map,
    "builtins.zip": _zip,
    "builtins.range": _range,
    "builtins.enumerate": _enumerate,
    "builtins.len": _len,
    "builtins.tuple": _first,
    "builtins.list": _first,
    "builtins.int": _first,
    "builtins.getattr": _getattr,
    "torch.Size": _size_class,
    "copy.deepcopy": _deepcopy,
    "copy.copy": _deepcopy,
}


# --- operators ---------------------------------------------------------------------------------------------------


def _binary(run: Interpreter, node: cst.BinaryOperation, state: State) -> Value:
    left, right = evaluate(run, node.left, state), evaluate(run, node.right, state)
    return binary(run, node.operator, left, right, node, state)


def binary(
    run: Interpreter, operator: object, left: Value, right: Value, node: cst.BaseExpression, state: State
) -> Value:
    if isinstance(left, Tensor) or isinstance(right, Tensor):
        call = Call(run, state, node, (left, right), {})
        if isinstance(operator, (cst.MatrixMultiply, cst.MatrixMultiplyAssign)):
            return OPERATIONS["matmul"](call)
        return torch_api.elementwise(call, left, right)
    if isinstance(operator, (cst.MatrixMultiply, cst.MatrixMultiplyAssign)):
        return OPERATIONS["matmul"](Call(run, state, node, (left, right), {}))
    if isinstance(left, Sequence) and isinstance(right, Sequence) and isinstance(operator, cst.Add):
        return Sequence(left.items + right.items)
    if isinstance(left, Sequence) and isinstance(operator, cst.Multiply) and (times := as_int(right)) is not None:
        return Sequence(left.items * times) if 0 <= times <= 64 else NOTHING
    if isinstance(left, (Number, Const)) or isinstance(right, (Number, Const)):
        return Number()
    first, second = as_size(left), as_size(right)
    if first is None or second is None:
        return NOTHING
    size = arithmetic(run, operator, state.normal(first), state.normal(second), node, state)
    return Number() if size is None else Int(size)


def arithmetic(
    run: Interpreter, operator: object, left: Size, right: Size, node: cst.BaseExpression, state: State
) -> Size | None:
    match operator:
        case cst.Add() | cst.AddAssign():
            return left + right
        case cst.Subtract() | cst.SubtractAssign():
            return left - right
        case cst.Multiply() | cst.MultiplyAssign():
            return left * right
        case cst.FloorDivide() | cst.FloorDivideAssign() | cst.Divide() | cst.DivideAssign():
            return divided(left, right, state, by_text=f"({left} // {right})")
        case cst.Power() if left.constant is not None and right.constant is not None and 0 <= right.constant < 32:
            return constant(left.constant**right.constant)
        case cst.Power() if right.constant == 2:
            return left * left
        case cst.Modulo():
            return constant(left.constant % right.constant) if left.constant is not None and right.constant else symbol(
                run.key(node)
            )  # fmt: skip
        case _:
            return None


def divided(left: Size, right: Size, state: State, *, by_text: str) -> Size:
    """``left // right``: exact where it can be, else a new symbol q with left = right * q."""
    if left.constant is not None and right.constant:
        return constant(left.constant // right.constant)
    quotient = left.divide(right)
    if quotient is not None:
        return quotient
    name = symbol(by_text)
    equate(left, right * name, state.definitions)
    return state.normal(name)


def _unary(run: Interpreter, node: cst.UnaryOperation, state: State) -> Value:
    value = evaluate(run, node.expression, state)
    match node.operator:
        case cst.Minus():
            if isinstance(value, Int):
                return Int(-value.size)
            return (
                torch_api.elementwise(Call(run, state, node, (value,), {}), value)
                if isinstance(value, Tensor)
                else Number()
            )
        case cst.Not():
            known = truth(value)
            return Unknown(run.key(node)) if known is None else Const(not known)
        case _:
            return value


def _boolean(run: Interpreter, node: cst.BooleanOperation, state: State) -> Value:
    left = evaluate(run, node.left, state)
    known = truth(left)
    if known is None:
        known = decide(run, node.left, state)
    if isinstance(node.operator, cst.Or):
        return left if known else evaluate(run, node.right, state)
    return evaluate(run, node.right, state) if known else left


def _comparison(run: Interpreter, node: cst.Comparison, state: State) -> Value:
    left = evaluate(run, node.left, state)
    if len(node.comparisons) != 1:
        return Unknown(run.key(node))
    target = node.comparisons[0]
    right = evaluate(run, target.comparator, state)
    match target.operator:
        case cst.Is() | cst.IsNot() if right == NONE:
            known = is_none(left)
            negated = isinstance(target.operator, cst.IsNot)
            return Unknown(run.key(node)) if known is None else Const(known != negated)
        case cst.Equal() | cst.NotEqual():
            if isinstance(left, Const) and isinstance(right, Const):
                return Const((left == right) == isinstance(target.operator, cst.Equal))
            first, second = as_size(left), as_size(right)
            if first is not None and second is not None:
                return _compare_sizes(run, target.operator, state.normal(first), state.normal(second), node)
        case cst.LessThan() | cst.GreaterThan() | cst.LessThanEqual() | cst.GreaterThanEqual():
            first, second = as_int(left), as_int(right)
            if first is not None and second is not None:
                return Const({"<": first < second, ">": first > second, "<=": first <= second, ">=": first >= second}[
                    _symbol_of(target.operator)])  # fmt: skip
    if isinstance(left, Tensor) or isinstance(right, Tensor):
        return torch_api.elementwise(Call(run, state, node, (left, right), {}), left, right)
    return Unknown(run.key(node))


def _compare_sizes(run: Interpreter, operator: cst.BaseCompOp, left: Size, right: Size, node: cst.Comparison) -> Value:
    wanted = isinstance(operator, cst.Equal)
    if left == right:
        return Const(wanted)
    if left.constant is not None and right.constant is not None:
        return Const(not wanted)
    return Unknown(run.key(node))


def _symbol_of(operator: cst.BaseCompOp) -> str:
    return {cst.LessThan: "<", cst.GreaterThan: ">", cst.LessThanEqual: "<=", cst.GreaterThanEqual: ">="}[
        type(operator)
    ]


def is_none(value: Value) -> bool | None:
    match value:
        case Const(None):
            return True
        case Unknown():
            return None
        case _:
            return False


def _conditional(run: Interpreter, node: cst.IfExp, state: State) -> Value:
    return evaluate(run, node.body if decide(run, node.test, state) else node.orelse, state)


def _lambda(run: Interpreter, node: cst.Lambda, state: State) -> Value:
    return Function(node, None, tuple(state.variables.items()))


def _walrus(run: Interpreter, node: cst.NamedExpr, state: State) -> Value:
    value = evaluate(run, node.value, state)
    assign(run, node.target, value, state)
    return value


def _comprehension(run: Interpreter, node: cst.ListComp | cst.GeneratorExp, state: State) -> Value:
    loop = node.for_in
    iterable = evaluate(run, loop.iter, state)
    if isinstance(iterable, Tensor):
        iterable = _unpacked(run, iterable, None, loop.iter, state)
    inner = state.copy()
    simple = not loop.ifs and loop.inner_for_in is None
    if isinstance(iterable, Sequence) and simple:
        items = []
        for item in iterable.items:
            assign(run, loop.target, item, inner)
            items.append(evaluate(run, node.elt, inner))
        state.definitions = inner.definitions
        return Sequence(tuple(items))
    assign(run, loop.target, element(iterable), inner)
    if loop.inner_for_in is not None:
        return Repeated(NOTHING)
    value = evaluate(run, node.elt, inner)
    state.definitions = inner.definitions
    return Repeated(value, iterable.count if isinstance(iterable, Repeated) and simple else None)


def _formatted(run: Interpreter, node: cst.FormattedString, state: State) -> Value:
    return Unknown(run.key(node))


# --- subscripts --------------------------------------------------------------------------------------------------


def _subscript(run: Interpreter, node: cst.Subscript, state: State) -> Value:
    base = evaluate(run, node.value, state)
    indices = [_index(run, item.slice, state) for item in node.slice]
    match base, indices:
        case Sequence(items), [Int(size)] if size.constant is not None:
            at = size.constant
            return items[at] if -len(items) <= at < len(items) else NOTHING
        case Sequence(items), [Slice() as part]:
            bounds = [None if end is None else as_int(end) for end in (part.start, part.stop, part.step)]
            known = all(end is None or number is not None
                        for end, number in zip((part.start, part.stop, part.step), bounds, strict=True))  # fmt: skip
            return Sequence(items[slice(*bounds)]) if known else NOTHING
        case Repeated(item, _), [Slice()]:
            return Repeated(item)
        case Repeated(item, _), [_]:
            return item
        case ShapeOf(tensor), [Int(size)] if size.constant is not None:
            known_tensor = as_tensor(tensor)
            assert known_tensor is not None
            return torch_api.dimension(known_tensor, size.constant)
        case Unknown(str(key)), [Const(str(name))]:
            return Unknown(f"{key}[{name!r}]")
        case Unknown(str(key)), [Int(size)] if size.constant is not None:
            return Unknown(f"{key}[{size.constant}]")
        case ((Tensor() | Unknown()), _):
            tensor = as_tensor(base)
            assert tensor is not None
            return indexed(run, torch_api.normal(tensor, state), indices, node, state)
        case _:
            return Unknown(run.key(node))


def _index(run: Interpreter, node: cst.BaseSlice, state: State) -> Value:
    match node:
        case cst.Index(value=value):
            return evaluate(run, value, state)
        case cst.Slice(lower=lower, upper=upper, step=step):
            ends = [None if end is None else evaluate(run, end, state) for end in (lower, upper, step)]
            return Slice(*ends)
        case _:
            return NOTHING


def indexed(run: Interpreter, tensor: Tensor, indices: list[Value], node: cst.BaseExpression, state: State) -> Value:
    """Basic indexing: integers select, slices cut, None inserts, an ellipsis fills."""
    plain = Tensor(key=run.key(node), roles=tensor.roles, merge=tensor.merge, part=tensor.part)
    if tensor.shape is None:
        return plain
    taken = sum(1 for index in indices if index not in (NONE, Const(...)))
    if taken > len(tensor.shape):
        return plain
    full: list[Value] = []
    for index in indices:
        full += [Slice(None, None)] * (len(tensor.shape) - taken) if index == Const(...) else [index]
    dim = 0
    for index in full:
        match index:
            case Const(None):
                tensor = torch_api.inserted(tensor, dim)
                dim += 1
            case Int():
                tensor = torch_api.without(tensor, dim)
            case Slice(start, stop, step):
                assert tensor.shape is not None
                cut = _cut(run, tensor.shape[dim], start, stop, step, node, state)
                if cut is None:
                    return plain
                tensor = torch_api.resized(tensor, dim, cut)
                if step is not None and tensor.strides is not None:
                    pace = as_size(step)
                    strides = None if pace is None else (
                        *tensor.strides[:dim], tensor.strides[dim] * pace, *tensor.strides[dim + 1 :])  # fmt: skip
                    tensor = replace(tensor, strides=strides, contiguous=False)
                dim += 1
            case _:
                return plain
    return tensor


def _cut(
    run: Interpreter, whole: Size, start: Value | None, stop: Value | None, step: Value | None,
    node: cst.BaseExpression, state: State,
) -> Size | None:  # fmt: skip
    """The size of ``[start:stop:step]`` of a dimension of size ``whole``; a new symbol where it depends."""
    if start is None and stop is None and step is None:
        return whole
    first = ONE - ONE if start is None else as_size(start)
    last = whole if stop is None else as_size(stop)
    if step is not None or first is None or last is None:
        return symbol(f"cut{run.key(node)}")
    first, last = state.normal(first), state.normal(last)
    if first.constant is not None and first.constant < 0:
        first = whole + first
    if last.constant is not None and last.constant < 0:
        last = whole + last
    if last != whole and not (
        whole.constant is not None and last.constant is not None and last.constant <= whole.constant
    ):
        # x[:, :n] may take all there is: the size is n at most.
        return symbol(f"cut{run.key(node)}") if stop is None or (whole - last).sign() != 1 else last - first
    return last - first


# --- assignment --------------------------------------------------------------------------------------------------


def execute(run: Interpreter, statement: cst.BaseSmallStatement, state: State) -> Value:
    """Run an assignment or an expression statement."""
    match statement:
        case cst.Expr(value=value):
            evaluate(run, value, state)
        case cst.Assign(targets=targets, value=value):
            result = evaluate(run, value, state)
            for target in targets:
                assign(run, target.target, result, state, value)
        case cst.AnnAssign(target=target, value=value) if value is not None:
            assign(run, target, evaluate(run, value, state), state, value)
        case cst.AugAssign(target=target, operator=operator, value=value):
            before = evaluate(run, target, state)
            result = binary(run, operator, before, evaluate(run, value, state), target, state)
            if (
                isinstance(before, Tensor)
                and not isinstance(operator, cst.MatrixMultiplyAssign)
                and isinstance(result, Tensor)
            ):
                result = replace(result, shape=before.shape, strides=before.strides, contiguous=before.contiguous)
            assign(run, target, result, state)
        case _:
            pass
    return NONE


def assign(
    run: Interpreter, target: cst.BaseExpression, value: Value, state: State, source: cst.BaseExpression | None = None
) -> None:
    """Bind ``value`` to a target; unpacking a tensor unbinds it."""
    match target:
        case cst.Name(name):
            state.variables[name] = value
            state.forget_conditions_on(name)
        case cst.Attribute(value=cst.Name(owner), attr=cst.Name(name)) if isinstance(state.variables.get(owner), Self):
            state.attributes[name] = value
            state.forget_conditions_on(f"{owner}.{name}")
        case cst.Tuple(elements=elements) | cst.List(elements=elements):
            parts = _parts(run, elements, value, source or target, state)
            for element_node, part in zip(elements, parts, strict=True):
                assign(run, element_node.value, part, state)


def _parts(run: Interpreter, elements: Any, value: Value, source: cst.BaseExpression, state: State) -> list[Value]:
    count = len(elements)
    starred = [index for index, item in enumerate(elements) if isinstance(item, cst.StarredElement)]
    if isinstance(value, ShapeOf) and not starred:
        known = run.refine(state, as_tensor(value.tensor) or Tensor(), count)
        value = torch_api.shape_of(known) if known.shape is not None else NOTHING
    if isinstance(value, Tensor) and not starred:
        value = _unpacked(run, value, count, source, state)
    if isinstance(value, Sequence):
        items = list(value.items)
        if len(starred) == 1 and len(items) >= count - 1:
            at, extra = starred[0], len(items) - count + 1
            return [*items[:at], Sequence(tuple(items[at : at + extra])), *items[at + extra :]]
        if not starred and len(items) == count:
            return items
    if isinstance(value, Repeated) and not starred:
        return [value.item] * count
    return [Unknown(f"{run.key(source)}.{index}") for index in range(count)]


def _unpacked(run: Interpreter, tensor: Tensor, count: int | None, source: cst.BaseExpression, state: State) -> Value:
    """Iterating over a tensor calls ``unbind(0)``."""
    tensor = torch_api.normal(tensor, state)
    if tensor.shape is None:
        return Repeated(Tensor(roles=tensor.roles, merge=tensor.merge))
    parts = torch_api.unbound(Call(run, state, source, (tensor,), {}), tensor, 0)
    if isinstance(parts, Repeated) and count is not None and tensor.shape[0].constant is None:
        return Sequence((parts.item,) * count)
    return parts


def length(iterable: Value) -> Size | None:
    """How many items an iterable has, where that is known."""
    match iterable:
        case Repeated(_, count):
            return count
        case Sequence(items):
            return constant(len(items))
        case _:
            return None


def element(iterable: Value) -> Value:
    """What a loop variable holds in some iteration."""
    match iterable:
        case Repeated(item, _):
            return item
        case Sequence(items) if items and all(item == items[0] for item in items):
            return items[0]
        case Tensor():
            return Tensor(roles=iterable.roles)
        case _:
            return NOTHING


# --- conditions --------------------------------------------------------------------------------------------------


def decide(run: Interpreter, test: cst.BaseExpression, state: State) -> bool:
    """Whether a condition holds: known, decided before on this path, or chosen now."""
    match test:
        case cst.UnaryOperation(operator=cst.Not(), expression=inner):
            return not decide(run, inner, state)
        case cst.BooleanOperation(left=left, operator=cst.And(), right=right):
            return decide(run, left, state) and decide(run, right, state)
        case cst.BooleanOperation(left=left, operator=cst.Or(), right=right):
            return decide(run, left, state) or decide(run, right, state)
        case cst.Comparison(
            comparisons=[cst.ComparisonTarget(operator=cst.IsNot() | cst.NotEqual() as operator, comparator=other)]
        ):
            positive = cst.Is() if isinstance(operator, cst.IsNot) else cst.Equal()
            return not _decide_atom(
                run, test, f"{run.text(test.left)} {_word(positive)} {run.text(other)}", state, negated=True
            )
        case cst.Comparison(
            left=left, comparisons=[cst.ComparisonTarget(operator=cst.Is() | cst.Equal() as operator, comparator=other)]
        ):
            return _decide_atom(run, test, f"{run.text(left)} {_word(operator)} {run.text(other)}", state)
        case _:
            return _decide_atom(run, test, run.text(test), state)


def _word(operator: cst.BaseCompOp) -> str:
    return "is" if isinstance(operator, cst.Is) else "=="


def _decide_atom(run: Interpreter, test: cst.BaseExpression, text: str, state: State, *, negated: bool = False) -> bool:
    known = truth(evaluate(run, test, state))
    if known is not None:
        return known != negated
    if text in state.conditions:
        return state.conditions[text]
    taken = run.choose(2) == 0
    state.conditions[text] = taken
    if taken and text.endswith(" is None"):
        target = test.left if isinstance(test, cst.Comparison) else test
        if isinstance(target, cst.Name):
            state.variables[target.value] = NONE
    return taken


_EVALUATORS: Mapping[type[cst.CSTNode], Callable[[Interpreter, Any, State], Value]] = {
    cst.Name: _name,
    cst.Integer: _integer,
    cst.Float: _float,
    cst.SimpleString: _string,
    cst.ConcatenatedString: _string,
    cst.Ellipsis: _ellipsis,
    cst.Tuple: _sequence,
    cst.List: _sequence,
    cst.Attribute: _attribute,
    cst.Call: _call,
    cst.BinaryOperation: _binary,
    cst.UnaryOperation: _unary,
    cst.BooleanOperation: _boolean,
    cst.Comparison: _comparison,
    cst.IfExp: _conditional,
    cst.Lambda: _lambda,
    cst.NamedExpr: _walrus,
    cst.ListComp: _comprehension,
    cst.GeneratorExp: _comprehension,
    cst.FormattedString: _formatted,
    cst.Subscript: _subscript,
}
