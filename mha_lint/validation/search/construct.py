"""Builds an instance of a class that nobody prepared: finds arguments for its ``__init__``."""

from __future__ import annotations

import ast
import inspect
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mha_lint.validation.child.imports import Loaded
from mha_lint.validation.child.stubs import Stub, StubTouched
from mha_lint.validation.search import learning
from mha_lint.validation.search.plan import (
    SIZES,
    ConfigClass,
    Layer,
    OpenConfig,
    Part,
    Plan,
)
from mha_lint.validation.search.reading import (
    attributes_set,
    compared_texts,
    is_taken_apart,
    literal_calls,
    nodes_of,
    nullable_names,
    optional_names,
    section_names,
)
from mha_lint.validation.search.vocabulary import APART, SIZINGS, Sizing, parts_of, role_of, value_of

# Sizes by default beyond which tables and masks of them take too much memory: a mask of 8192 by 8192 takes 256 MB.
_EXCESSIVE = {"length": 4096, "vocab": 65536, "space": 1024, "batch": 64, "layers": 64}
_LARGE = 256  # a default width beyond this is a production size; the same code runs at a small one


def plans(cls: type, module: types.ModuleType, tree: ast.Module) -> Iterator[Plan]:
    """Ways to call ``cls``, the likeliest first: sizes first, then unconventional parameters one at a time."""
    parameters = _parameters(cls)
    literals = literal_calls(cls.__name__, parameters, tree)
    context = _Context(module, tree, literals)
    first = [plan for sizing in SIZINGS for plan in _sized(parameters, sizing, context)]
    yield from first[:1]
    if layers := _layers(cls, parameters, first[0].sizing, tree):
        yield replace(first[0], arguments={**first[0].arguments, **layers})
    for item in parameters:
        if item.default is None and role_of(item.name) == "config":  # it may be needed all the same
            yield first[0].with_argument(item.name, _required(item, "config", first[0].sizing, context))
        if isinstance(first[0].arguments.get(item.name), ConfigClass):  # the annotation may not be what is meant
            yield first[0].with_argument(item.name, _open_config(first[0].sizing, context))
    if literals:
        written = {name: values[0] for name, values in literals.items()}
        yield replace(first[0], arguments={**first[0].arguments, **written})
    guessed = [parameter for parameter in parameters if parameter.default is parameter.empty]
    guessed += [
        item for item in parameters if item not in guessed and role_of(item.name) in ("window", "ratio", "kernel")
    ]
    alternatives = [
        (item.name, part)
        for item in guessed
        if _is_module(item, cls, tree)
        for part in _modules_for(item, first[0].sizing, context)
    ]
    alternatives += [(item.name, value) for item in guessed for value in _alternatives(item, first[0], context)]
    yield from first[1:4]
    for name, value in alternatives:
        yield first[0].with_argument(name, value)
    yield from first[4:]
    if len(guessed) > 1:
        for index, (name, value) in enumerate(alternatives):
            for other, second in alternatives[index + 1 :]:
                if other != name:
                    yield first[0].with_argument(name, value).with_argument(other, second)


def variants(
    cls: type, plan: Plan, module: types.ModuleType, tree: ast.Module, asked: Mapping[str, Any]
) -> Iterator[Plan]:
    """Other settings of a plan that works: each flag flipped, each optional part present, each named mode."""
    context = _Context(module, tree, {})
    for parameter in _parameters(cls):
        if _is_module(parameter, cls, tree) and not isinstance(plan.arguments.get(parameter.name), Part):
            for part in _modules_for(parameter, plan.sizing, context):
                yield plan.with_argument(parameter.name, part)
    for parameter in _parameters(cls):
        current = plan.arguments.get(parameter.name, parameter.default)
        if isinstance(current, bool):
            yield plan.with_argument(parameter.name, not current)
            continue
        if isinstance(current, OpenConfig):
            for name, answer in asked.items():
                others: list[Any] = [not answer] if isinstance(answer, bool) else []
                others += [text for text in compared_texts(name, tree) if text != answer]
                for other in others:
                    changed = replace(current, overrides={**current.overrides, name: other})
                    yield plan.with_argument(parameter.name, changed)
            continue
        if isinstance(current, ConfigClass):
            for inner in _parameters(current.cls):
                setting = current.arguments.get(inner.name, inner.default)
                if isinstance(setting, bool):
                    changed_class = replace(current, arguments={**current.arguments, inner.name: not setting})
                    yield plan.with_argument(parameter.name, changed_class)
            continue
        for text in compared_texts(parameter.name, tree):
            if text != current:
                yield plan.with_argument(parameter.name, text)
        role = role_of(parameter.name)
        if current is None and role not in ("", "device", "dtype", "config", "norm", "act"):
            yield plan.with_argument(parameter.name, value_of(role, plan.sizing))
        elif isinstance(current, int) and (role == "ratio" or current == 1):  # with one of something, it hides
            yield plan.with_argument(parameter.name, current + 1)
        elif role in ("norm", "") and current is None and "bool" not in str(parameter.annotation):
            import torch

            yield plan.with_argument(parameter.name, torch.nn.LayerNorm)


@dataclass(frozen=True, slots=True)
class _Context:
    module: types.ModuleType
    tree: ast.Module
    literals: Mapping[str, list[Any]]


_IMPLEMENTATION = "_attn_implementation"  # how transformers calls the setting


def by_other_kernels(plan: Plan, tree: ast.Module) -> Iterator[Plan]:
    """The plan with a made-up configuration that asks for PyTorch's own attention, where the code reads that."""
    if not any(isinstance(node, ast.Attribute) and node.attr == _IMPLEMENTATION for node in nodes_of(tree)):
        return
    for name, value in plan.arguments.items():
        if isinstance(value, OpenConfig):
            yield plan.with_argument(name, replace(value, overrides={**value.overrides, _IMPLEMENTATION: "sdpa"}))


def filled(cls: type, plan: Plan) -> Iterator[Plan]:
    """Each flag flipped, with a value for every size that is absent or zero by default: a mode often needs one."""
    parameters = _parameters(cls)
    sizes = {
        item.name: value_of(role, plan.sizing)
        for item in parameters
        if (role := role_of(item.name)) in ("window", "length", "space", "ratio", "kernel", "width", "head_dim")
        and item.name not in plan.arguments
        and (item.default is None or (item.default == 0 and not isinstance(item.default, bool)))
    }
    for item in parameters if sizes else ():
        current = plan.arguments.get(item.name, item.default)
        if isinstance(current, bool):
            yield replace(plan, arguments={**plan.arguments, **sizes, item.name: not current})


def completed(plan: Plan, names: Sequence[str], error: BaseException, loaded: Loaded) -> Iterator[Plan]:
    """The plan with another answer of its configuration to one of ``names``, which an error is about."""
    is_sequence = re.search("subscriptable|iterable|unpack|has no len", str(error))
    key = error.args[0] if isinstance(error, KeyError) and error.args else None
    known = learning.keys_of_tables(error, loaded)
    lacking = learning.keys_asked_for(error, loaded.pseudo, loaded.tree) if "NoneType" in str(error) else []
    for parameter, config in plan.arguments.items():
        if not isinstance(config, OpenConfig):
            continue
        others: dict[str, list[Any]] = {}
        for name in names:
            current = config.answer(name)
            if known and (current == key or (isinstance(current, list) and key in current)):
                others[name] = [text if current == key else [text] * len(current) for text in known]
            elif isinstance(current, dict) and key is not None:
                others[name] = [{**current, key: value} for value in (1.0, plan.sizing.head_dim)]
            elif isinstance(current, dict) and lacking:
                others[name] = [{**current, **{asked: _entry(asked, plan.sizing) for asked in lacking}}]
            elif isinstance(current, (bool, int)) and is_sequence:
                others[name] = [[current or plan.sizing.width] * 4]
            elif current is False or (current is None and name in config.nullable):
                others[name] = [plan.sizing.head_dim, plan.sizing.width, 2, 1, None]
        for place in range(5):
            changes = {name: values[place] for name, values in others.items() if place < len(values)}
            together = [changes] if len(changes) > 1 else []
            for change in [*({name: value} for name, value in changes.items()), *together]:
                yield plan.with_argument(parameter, replace(config, overrides={**config.overrides, **change}))


def _entry(key: str, sizing: Sizing) -> Any:
    """The number that a table of settings conventionally has under this key."""
    role = role_of(key)
    return value_of(role, sizing) if role in (*SIZES, "theta", "count", "rank") else 1.0


def apart(cls: type, plan: Plan) -> Plan | None:
    """The plan with a width that is not heads × head width; None where the class does not take the three apart."""
    if plan.written or plan.factory:
        return None
    arguments = _sizes_apart(_parameters(cls), plan.arguments)
    return None if arguments is None else Plan(APART, arguments)


def _sizes_apart(parameters: Sequence[inspect.Parameter], given: Mapping[str, Any]) -> dict[str, Any] | None:
    """The arguments with the three sizes apart, those of a configuration among them; None where one is missing."""
    changed = dict(given)
    sized: set[str] = set()
    for item in parameters:
        value, role = given.get(item.name, item.default), role_of(item.name)
        if isinstance(value, OpenConfig):
            return {**given, item.name: replace(value, sizing=APART)}
        if isinstance(value, ConfigClass):
            inner = _sizes_apart(_parameters(value.cls), value.arguments)
            return None if inner is None else {**given, item.name: replace(value, arguments=inner)}
        is_open = value is None and role == "head_dim"
        if role in ("width", "heads", "kv_heads", "head_dim") and (_is_whole(value) or is_open):
            changed[item.name] = value_of(role, APART)
            sized.add(role)
    return changed if sized >= {"width", "heads", "head_dim"} else None


_ABSENT_SIZES = frozenset(
    "space window length width head_dim ratio kernel heads kv_heads mlp rank count experts".split()
)
_FLIPPED = 6  # flags, and sizes that are absent, that one error of a constructor is worth


def mended(cls: type, plan: Plan, error: BaseException, loaded: Loaded) -> Iterator[Plan]:
    """The plan changed so that a constructor may not raise ``error`` again.

    Arguments that it passes on and that are lacking get values. Of the parameters that the statement is about which
    raised, each flag is the other way round, and each size that is absent by default is given.
    """
    context = _Context(loaded.module, loaded.tree, {})
    lacking = learning.lacking(error)
    if lacking and _passes_on(cls):
        items = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in lacking]
        values = {item.name: _required(item, role_of(item.name), plan.sizing, context) for item in items}
        yield replace(plan, arguments={**plan.arguments, **values})
        return
    yield from _changed(cls, plan, learning.blamed(error, loaded.pseudo, _constructor(cls, loaded.tree)))


def _changed(cls: type, plan: Plan, names: Sequence[str]) -> Iterator[Plan]:
    """The plan with each flag of these names the other way round, and with each size or flag that is absent."""
    known = {item.name: item for item in _parameters(cls)}
    absent: dict[str, Any] = {}
    changes: list[dict[str, Any]] = []
    for name in names:
        if name not in known:
            continue
        current = plan.arguments.get(name, known[name].default)
        role = role_of(name)
        if isinstance(current, bool):
            changes.append({name: not current})
        elif current is None and role in _ABSENT_SIZES:
            absent[name] = value_of(role, plan.sizing)
            changes.append({name: absent[name]})
            if role in ("space", "window"):
                changes.append({name: (absent[name], absent[name])})
        elif current is None and (not role or "bool" in str(known[name].annotation)):
            absent[name] = False
            changes += [{name: False}, {name: True}]
    together = [absent] if len(absent) > 1 else []
    for change in [*together, *changes[:_FLIPPED]]:
        yield replace(plan, arguments={**plan.arguments, **change})


def with_parts(cls: type, plan: Plan, error: BaseException, loaded: Loaded) -> Iterator[Plan]:
    """The plan changed so that the object has the parts that a call used in vain.

    A part is lacking where its attribute is None, or was never set. The conditions under which the class sets it name
    the arguments that decide it, or other parts that do.
    """
    parts = learning.parts_lacking(error, loaded.pseudo, loaded.tree)
    deciding: dict[str, None] = {}
    for _ in range(2):
        deciding |= dict.fromkeys(name for part in parts for name in _conditions_of(part, cls, loaded.tree))
        parts = set(deciding)
    yield from _changed(cls, plan, list(deciding))


def _conditions_of(part: str, cls: type, tree: ast.Module) -> Iterator[str]:
    """The names that the conditions read under which a class of the file sets an attribute."""
    bases = {base.__name__ for base in cls.__mro__}
    for body in [node for node in nodes_of(tree) if isinstance(node, ast.ClassDef) and node.name in bases]:
        for node in nodes_of(body):
            match node:
                case ast.If(test=test) | ast.Assign(value=ast.IfExp(test=test)) if part in attributes_set(node):
                    yield from _names_in(test)


def _names_in(test: ast.expr) -> Iterator[str]:
    """The names and the attributes that a condition reads, those that it asks for by ``getattr`` among them."""
    for node in nodes_of(test):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name):
                yield name
            case ast.Call(func=ast.Name("getattr" | "hasattr"), args=[_, ast.Constant(str(name)), *_]):
                yield name


def _passes_on(cls: type) -> bool:
    """Tell whether the constructor takes keywords that it does not name."""
    try:
        signature = inspect.signature(cls)
    except (ValueError, TypeError):
        return False
    return any(item.kind is inspect.Parameter.VAR_KEYWORD for item in signature.parameters.values())


def _constructor(cls: type, tree: ast.Module) -> ast.FunctionDef | None:
    """The source of the constructor, the class's own or one inherited within the file."""
    bodies = {node.name: node for node in nodes_of(tree) if isinstance(node, ast.ClassDef)}
    for base in cls.__mro__:
        for node in bodies[base.__name__].body if base.__name__ in bodies else ():
            if isinstance(node, ast.FunctionDef) and node.name == "__init__":
                return node
    return None


def rounded(cls: type, plan: Plan, divisor: int) -> Iterator[Plan]:
    """The plan with widths that the number divides: for one, those of a head are multiples of it as well."""
    parameters = _parameters(cls)
    sizes: dict[str, int] = {}
    for item in parameters:
        value = plan.arguments.get(item.name, item.default)
        if role_of(item.name) in ("width", "head_dim", "mlp") and _is_whole(value):
            sizes[item.name] = value
    heads = [plan.arguments.get(item.name, item.default) for item in parameters if role_of(item.name) == "heads"]
    factor = next((count for count in heads if _is_whole(count)), plan.sizing.heads)
    for step in dict.fromkeys((divisor * factor, divisor)):
        changed = {name: -(-size // step) * step for name, size in sizes.items()}
        if changed != sizes:
            yield replace(plan, arguments={**plan.arguments, **changed})


def part_of(name: str, module: types.ModuleType, tree: ast.Module) -> Part:
    """An object of the class, built with what its constructor's parameters conventionally hold."""
    plan, *_ = _sized(_parameters(getattr(module, name)), SIZINGS[0], _Context(module, tree, {}))
    return Part(name, plan.arguments)


_KEY_PARTS = frozenset("k v kv key value keys values".split())
_NO_LAYER = frozenset("norm ln rope rotary emb embedding embeddings pos positional act activation dropout drop".split())


def _layers(cls: type, parameters: list[inspect.Parameter], sizing: Sizing, tree: ast.Module) -> dict[str, Any]:
    """Layers for all required parameters that are modules at once, where there are several: projections, mostly."""
    import torch

    modules = [item for item in parameters if item.default is item.empty and _is_module(item, cls, tree)]
    if len(modules) < 2:
        return {}
    has_fewer = any(role_of(item.name) == "kv_heads" for item in parameters)
    layers: dict[str, Any] = {}
    for item in modules:
        parts = set(parts_of(item.name))
        heads = sizing.kv_heads if has_fewer and parts & _KEY_PARTS else sizing.heads
        does_nothing = bool(parts & _NO_LAYER)
        layers[item.name] = torch.nn.Identity() if does_nothing else Layer(sizing.width, heads * sizing.head_dim)
    return layers


def without_dropout(plan: Plan) -> Plan:
    """The same plan with every rate at zero: some code cannot train with dropout."""
    return replace(plan, arguments=_without_rates(plan.arguments))


def _without_rates(arguments: Mapping[str, Any]) -> dict[str, Any]:
    changed = {name: 0.0 if role_of(name) == "rate" else value for name, value in arguments.items()}
    for name, value in changed.items():
        if isinstance(value, OpenConfig):
            changed[name] = replace(value, rate=0.0)
        elif isinstance(value, ConfigClass):
            changed[name] = replace(value, arguments=_without_rates(value.arguments))
    return changed


def _parameters(cls: Any) -> list[inspect.Parameter]:
    try:
        signature = inspect.signature(cls)
    except (ValueError, TypeError):
        return []
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [item for item in signature.parameters.values() if item.kind not in variadic]


def _sized(parameters: list[inspect.Parameter], sizing: Sizing, context: _Context) -> list[Plan]:
    """Plans for this sizing, the likeliest first.

    With one head, much that is wrong with several is right: where that is the default, several are tried first. A size
    by default that would take gigabytes comes after a small one.
    """
    by_default = {item.name: item.default for item in parameters if _is_whole(item.default)}
    several = {name: sizing.heads for name, value in by_default.items() if role_of(name) == "heads" and value == 1}
    small = {
        name: value_of(role_of(name), sizing)
        for name, value in by_default.items()
        if value > _EXCESSIVE.get(role_of(name), value)
    }
    changes = [{**several, **small}, small if several else {}, {}]
    different = [change for at, change in enumerate(changes) if change not in changes[:at]]
    return [_plan_of(parameters, sizing, context, change) for change in different]


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _plan_of(
    parameters: list[inspect.Parameter], sizing: Sizing, context: _Context, changed: Mapping[str, int]
) -> Plan:
    """The plan for this sizing, which gives way to the head count and head width that the class itself defaults to.

    The defaults of some parameters are ``changed``.
    """
    parameters = [item.replace(default=changed.get(item.name, item.default)) for item in parameters]
    numbers = [item for item in parameters if isinstance(item.default, int) and not isinstance(item.default, bool)]
    defaults = {role_of(item.name): item.default for item in numbers}
    large = any(defaults.get(role, 0) > _LARGE for role in ("width", "mlp"))
    heads, head_dim = defaults.get("heads"), defaults.get("head_dim")
    if not large:
        if heads:
            sizing = replace(sizing, heads=heads, kv_heads=heads // 2 if heads % 2 == 0 and heads > 2 else heads)
        if head_dim:
            sizing = replace(sizing, head_dim=head_dim)
        width = defaults.get("width")
        if width and sizing.width != width and width % sizing.heads == 0:
            sizing = replace(sizing, head_dim=width // sizing.heads)
    arguments: dict[str, Any] = {}
    for item in parameters:
        role = role_of(item.name)
        if item.default is item.empty:
            arguments[item.name] = _required(item, role, sizing, context)
        elif role == "rate" and isinstance(item.default, (int, float)) and not isinstance(item.default, bool):
            arguments[item.name] = 0.1  # train mode must draw random numbers, or equal draws would not be seen
        elif large and role in SIZES and isinstance(item.default, int) and not isinstance(item.default, bool):
            arguments[item.name] = value_of(role, sizing)
        elif role == "index" and item.default is None:
            arguments[item.name] = 0
        elif role == "layers" and isinstance(item.default, int):
            arguments[item.name] = min(item.default, 2)
    return Plan(sizing, {**arguments, **changed})


def _required(item: inspect.Parameter, role: str, sizing: Sizing, context: _Context) -> Any:
    annotation = _resolve(item.annotation, context.module)
    text = _text(item.annotation)
    if isinstance(annotation, type) and annotation not in (int, float, bool, str, tuple, list, dict):
        own = _own_instance(annotation, sizing, context)
        if own is not None:
            return own
    if role == "config":
        return _open_config(sizing, context)
    if item.name in context.literals and role not in SIZES:
        return context.literals[item.name][0]
    texts = compared_texts(item.name, context.tree)
    if texts and (text in ("str", "") or "Literal" in text) and role in ("", "act", "norm", "implementation"):
        return texts[0]
    if role == "norm" or role == "act":
        import torch

        return torch.nn.LayerNorm if role == "norm" else ("gelu" if text == "str" else torch.nn.GELU)
    if text == "bool":
        return False
    value: Any = 4
    if role:
        value = value_of(role, sizing)
    if text == "float" and not role:
        return 0.5
    if any(word in text.lower() for word in ("tuple", "list", "sequence")) and isinstance(value, int):
        return (value, value)
    if isinstance(annotation, Stub):
        return _open_config(sizing, context)
    return value


def _open_config(sizing: Sizing, context: _Context) -> OpenConfig:
    tree = context.tree
    return OpenConfig(sizing, absent=optional_names(tree), nullable=nullable_names(tree), sections=section_names(tree))


def _own_instance(cls: type, sizing: Sizing, context: _Context) -> Any:
    """A configuration-like class: built small where it takes sizes, by its defaults otherwise; None where it is not."""
    parameters = _parameters(cls)
    looks_like_config = role_of("_".join(parts_of(cls.__name__))) == "config" or hasattr(cls, "__dataclass_fields__")
    if not looks_like_config:
        return None
    small: dict[str, Any] = {}
    for item in parameters:
        role = role_of(item.name)
        sized = isinstance(item.default, int) and not isinstance(item.default, bool) and role in SIZES
        if item.default is item.empty or sized:
            small[item.name] = _required(replace_annotation(item), role, sizing, context)
        elif role == "rate" and isinstance(item.default, (int, float)):
            small[item.name] = 0.1
    # Where a check of its own ties one size to a default that is none of ours, that one keeps its default too.
    fewer = [{name: value for name, value in small.items() if name != left} for left in small]
    for arguments in (small, *fewer, {}):
        try:
            config = ConfigClass(cls, arguments)
            config.build(context.module)
            return config
        except StubTouched:  # its package is missing: what the code asks of it has a conventional answer
            return _open_config(sizing, context)
        except Exception:  # the user's own class may raise anything
            continue
    return None if parameters and not hasattr(cls, "__getattr__") else _open_config(sizing, context)


def replace_annotation(item: inspect.Parameter) -> inspect.Parameter:
    """The parameter with no annotation where that names a class: a configuration's parts are built by convention."""
    plain = _text(item.annotation) in ("int", "float", "bool", "str", "") or "uple" in _text(item.annotation)
    return item if plain else item.replace(annotation=inspect.Parameter.empty)


def _alternatives(item: inspect.Parameter, plan: Plan, context: _Context) -> list[Any]:
    import torch

    role, text = role_of(item.name), _text(item.annotation)
    current = plan.arguments.get(item.name)
    choices: list[Any] = [*context.literals.get(item.name, []), *compared_texts(item.name, context.tree)]
    pair = role in ("window", "space", "kernel") or is_taken_apart(item.name, context.tree)
    if pair and isinstance(current, int) and not isinstance(current, bool):
        choices.append((current, current))
    if role in ("window", "space", "kernel", "ratio"):
        choices += [2, 7, (7, 7), 1, 8]
    elif role in ("", "flag", "scale"):
        choices += [plan.sizing.width, 1, 2, True, None, 0.5, torch.nn.LayerNorm, torch.nn.Identity()]
        if not text or "Module" in text or "Callable" in text:
            choices += [torch.nn.GELU, torch.nn.Linear(plan.sizing.width, plan.sizing.width)]
    elif role in ("norm", "act"):
        choices += [torch.nn.LayerNorm, torch.nn.GELU, "gelu", "layer", False, None, torch.nn.Identity]
    elif role == "config":
        choices.append(_open_config(plan.sizing, context))
    elif role == "length":
        choices += [16, 49, 5]
    elif role == "width":
        choices += [2 * plan.sizing.width, plan.sizing.head_dim]
    elif role == "head_dim":
        choices += [plan.sizing.width]
    return [choice for choice in choices if choice is not current]


def _is_module(item: inspect.Parameter, cls: type, tree: ast.Module) -> bool:
    """Tell if a parameter is a module: by its annotation, or because the class calls the attribute that keeps it."""
    if "Module" in _text(item.annotation) and not any(word in _text(item.annotation) for word in ("Type", "Callable")):
        return True
    bodies = [node for node in nodes_of(tree) if isinstance(node, ast.ClassDef) and node.name == cls.__name__]
    nodes = [node for body in bodies for node in nodes_of(body)]
    kept = {
        target.attr
        for node in nodes
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) and node.value.id == item.name
        for target in node.targets
        if isinstance(target, ast.Attribute)
    }
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and ast.unparse(node.func.value) == "self"
        and node.func.attr in kept
        for node in nodes
    )


def _modules_for(item: inspect.Parameter, sizing: Sizing, context: _Context) -> list[Any]:
    """Modules of the file whose names resemble the parameter's, each in a few sizes; then one that does nothing."""
    import torch

    parts = {part for part in parts_of(item.name) if len(part) > 2}
    found: list[Any] = []
    for name, value in vars(context.module).items():
        if not (isinstance(value, type) and issubclass(value, torch.nn.Module)):
            continue
        if value.__module__ != context.module.__name__:
            continue
        words = parts_of(name)
        initials = "".join(word[0] for word in words)
        alike = [part for part in parts if part in words or part in initials or part in name.lower()]
        if not alike and name not in _text(item.annotation):
            continue
        parameters = _parameters(value)
        plan, *_ = _sized(parameters, sizing, context)
        found.append(Part(name, plan.arguments))
        for inner in parameters:
            if inner.default is inner.empty and role_of(inner.name) in ("window", "space", "kernel", "length"):
                others = _alternatives(inner, plan, context)
                found += [Part(name, {**plan.arguments, inner.name: other}) for other in others]
    return [*found, torch.nn.Identity()]


def _text(annotation: Any) -> str:
    if annotation is inspect.Parameter.empty:
        return ""
    if isinstance(annotation, str):
        return annotation.strip("'\"")
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _resolve(annotation: Any, module: types.ModuleType) -> Any:
    if isinstance(annotation, str):
        found: Any = module
        for part in annotation.strip("'\"").split("|")[0].strip().split("."):
            found = getattr(found, part, None)
        return found
    return annotation
