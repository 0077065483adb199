"""Tells what the parameters of a constructor conventionally hold, by their names, annotations and defaults."""

from __future__ import annotations

import ast
import inspect
import types
from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from mha_lint.validation.child.stubs import Stub, StubTouched
from mha_lint.validation.search.plan import SIZES, ConfigClass, Layer, OpenConfig, Part, Plan
from mha_lint.validation.search.reading import (
    compared_texts,
    is_taken_apart,
    nodes_of,
    nullable_names,
    optional_names,
    section_names,
)
from mha_lint.validation.search.vocabulary import Sizing, parts_of, role_of, value_of

# Sizes by default beyond which tables and masks of them take too much memory: a mask of 8192 by 8192 takes 256 MB.
_EXCESSIVE = {"length": 4096, "vocab": 65536, "space": 1024, "batch": 64, "layers": 64}
# A default width beyond this, or that of all heads, is a production size; the same code runs at a small one.
_LARGE = 256


class Context(Struct, frozen=True):
    """Keep what a file tells of its parameters: its names, its tree, and the values that its own calls write."""

    module: types.ModuleType
    tree: ast.Module
    literals: Mapping[str, list[Any]]


def parameters_of(cls: Any) -> list[inspect.Parameter]:
    """The named parameters of the constructor; none where it has no signature."""
    try:
        signature = inspect.signature(cls)
    except (ValueError, TypeError):
        return []
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [item for item in signature.parameters.values() if item.kind not in variadic]


def sized_plans(parameters: list[inspect.Parameter], sizing: Sizing, context: Context) -> list[Plan]:
    """Plans for this sizing, the likeliest first.

    With one head, much that is wrong with several is right: where that is the default, several are tried first. A size
    by default that would take gigabytes comes after a small one, and so do heads by default that make the model wide.
    """
    by_default = {item.name: item.default for item in parameters if is_whole(item.default)}
    several = {name: sizing.heads for name, value in by_default.items() if role_of(name) == "heads" and value == 1}
    small = {
        name: value_of(role_of(name), sizing)
        for name, value in by_default.items()
        if value > _EXCESSIVE.get(role_of(name), value)
    }
    narrow = {
        name: value_of(role_of(name), sizing)
        for name in by_default
        if role_of(name) in ("heads", "kv_heads", "head_dim") and _is_wide(by_default)
    }
    changes = [{**several, **small, **narrow}, {**several, **small}, small if several else {}, {}]
    different = [change for at, change in enumerate(changes) if change not in changes[:at]]
    return [_plan_of(parameters, sizing, context, change) for change in different]


def _is_wide(by_default: Mapping[str, int]) -> bool:
    """Tell whether all heads together are as wide by default as in production."""
    sizes = {role_of(name): value for name, value in by_default.items()}
    return sizes.get("heads", 1) * sizes.get("head_dim", 1) > _LARGE


def is_whole(value: Any) -> bool:
    """Tell whether a value is a whole number, and no flag."""
    return isinstance(value, int) and not isinstance(value, bool)


def _plan_of(parameters: list[inspect.Parameter], sizing: Sizing, context: Context, changed: Mapping[str, int]) -> Plan:
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
            arguments[item.name] = required_value(item, role, sizing, context)
        elif role == "rate" and isinstance(item.default, (int, float)) and not isinstance(item.default, bool):
            arguments[item.name] = 0.1  # train mode must draw random numbers, or equal draws would not be seen
        elif large and role in SIZES and isinstance(item.default, int) and not isinstance(item.default, bool):
            arguments[item.name] = value_of(role, sizing)
        elif role == "index" and item.default is None:
            arguments[item.name] = 0
        elif role == "layers" and isinstance(item.default, int):
            arguments[item.name] = min(item.default, 2)
    return Plan(sizing, {**arguments, **changed})


def required_value(item: inspect.Parameter, role: str, sizing: Sizing, context: Context) -> Any:
    """The value for a parameter without a default."""
    annotation = _resolve(item.annotation, context.module)
    text = _text(item.annotation)
    if isinstance(annotation, type) and annotation not in (int, float, bool, str, tuple, list, dict):
        own = _own_instance(annotation, sizing, context)
        if own is not None:
            return own
    if role == "config":
        return open_config(sizing, context)
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
        return open_config(sizing, context)
    return value


def open_config(sizing: Sizing, context: Context) -> OpenConfig:
    """A configuration that answers each question by the convention for its name."""
    tree = context.tree
    return OpenConfig(sizing, absent=optional_names(tree), nullable=nullable_names(tree), sections=section_names(tree))


def _own_instance(cls: type, sizing: Sizing, context: Context) -> Any:
    """A configuration-like class: built small where it takes sizes, by its defaults otherwise; None where it is not."""
    parameters = parameters_of(cls)
    looks_like_config = role_of("_".join(parts_of(cls.__name__))) == "config" or hasattr(cls, "__dataclass_fields__")
    if not looks_like_config:
        return None
    small: dict[str, Any] = {}
    for item in parameters:
        role = role_of(item.name)
        sized = isinstance(item.default, int) and not isinstance(item.default, bool) and role in SIZES
        if item.default is item.empty or sized:
            small[item.name] = required_value(replace_annotation(item), role, sizing, context)
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
            return open_config(sizing, context)
        except Exception:  # the user's own class may raise anything
            continue
    return None if parameters and not hasattr(cls, "__getattr__") else open_config(sizing, context)


def replace_annotation(item: inspect.Parameter) -> inspect.Parameter:
    """The parameter with no annotation where that names a class: a configuration's parts are built by convention."""
    plain = _text(item.annotation) in ("int", "float", "bool", "str", "") or "uple" in _text(item.annotation)
    return item if plain else item.replace(annotation=inspect.Parameter.empty)


def alternatives_for(item: inspect.Parameter, plan: Plan, context: Context) -> list[Any]:
    """Other values that a parameter may need, the likeliest first."""
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
        choices.append(open_config(plan.sizing, context))
    elif role == "length":
        choices += [16, 49, 5]
    elif role == "width":
        choices += [2 * plan.sizing.width, plan.sizing.head_dim]
    elif role == "head_dim":
        choices += [plan.sizing.width]
    return [choice for choice in choices if choice is not current]


def is_module(item: inspect.Parameter, cls: type, tree: ast.Module) -> bool:
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


def modules_for(item: inspect.Parameter, sizing: Sizing, context: Context) -> list[Any]:
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
        parameters = parameters_of(value)
        plan, *_ = sized_plans(parameters, sizing, context)
        found.append(Part(name, plan.arguments))
        for inner in parameters:
            if inner.default is inner.empty and role_of(inner.name) in ("window", "space", "kernel", "length"):
                others = alternatives_for(inner, plan, context)
                found += [Part(name, {**plan.arguments, inner.name: other}) for other in others]
    return [*found, torch.nn.Identity()]


_KEY_PARTS = frozenset("k v kv key value keys values".split())
_NO_LAYER = frozenset("norm ln rope rotary emb embedding embeddings pos positional act activation dropout drop".split())


def layers_for(cls: type, parameters: list[inspect.Parameter], sizing: Sizing, tree: ast.Module) -> dict[str, Any]:
    """Layers for all required parameters that are modules at once, where there are several: projections, mostly."""
    import torch

    modules = [item for item in parameters if item.default is item.empty and is_module(item, cls, tree)]
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
