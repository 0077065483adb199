"""Builds an instance of a class that nobody prepared: finds arguments for its ``__init__``."""

from __future__ import annotations

import ast
import copy
import inspect
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mha_lint.validation.stubs import Stub
from mha_lint.validation.vocabulary import SIZINGS, Sizing, parts_of, role_of, value_of

_SIZES = ("width", "heads", "kv_heads", "head_dim", "mlp", "length", "vocab", "layers")
_LARGE = 256  # a default width beyond this is a production size; the same code runs at a small one
# What a configuration object conventionally answers where the general vocabulary would mislead.
_CONFIG_ANSWERS: dict[str, Any] = {
    "rope_scaling": None,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    "position_embedding_type": "absolute",
    "pretraining_tp": 1,
    "layer_types": ["full_attention"] * 4,
    "quantization_config": None,
    "torch_dtype": None,
    "partial_rotary_factor": 1.0,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "chunk_size_feed_forward": 0,
    "is_decoder": False,
    "initializer_range": 0.02,
}


@dataclass(frozen=True, slots=True)
class ConfigClass:
    """A configuration of a class of the user: built with ``arguments`` for each text's own version of the class."""

    cls: type
    arguments: Mapping[str, Any]

    def build(self, module: types.ModuleType) -> Any:
        own = getattr(module, self.cls.__name__, None)
        cls = own if isinstance(own, type) and own.__module__ == self.cls.__module__ else self.cls
        return cls(**{name: _fresh(value, module) for name, value in self.arguments.items()})


@dataclass(frozen=True, slots=True)
class Part:
    """A module of the user's file that another one takes as an argument: built anew for each text."""

    cls: str
    arguments: Mapping[str, Any]

    def build(self, module: types.ModuleType) -> Any:
        made = getattr(module, self.cls)(**{name: _fresh(value, module) for name, value in self.arguments.items()})
        return made.eval()


@dataclass(frozen=True, slots=True)
class OpenConfig:
    """A configuration nobody wrote: answers by the conventional meaning of each name that is asked for."""

    sizing: Sizing
    overrides: Mapping[str, Any] = field(default_factory=dict)
    absent: frozenset[str] = frozenset()

    def build(self, module: types.ModuleType) -> Any:
        return Answers(self)


class Answers:
    """The object that stands where the code expects its configuration; attributes and items are the same."""

    def __init__(self, spec: OpenConfig) -> None:
        self.__dict__["_spec"] = spec

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        spec: OpenConfig = self.__dict__["_spec"]
        if name in spec.absent:
            raise AttributeError(name)
        value = copy.deepcopy(_answer(name, spec))
        self.__dict__[name] = value
        return value

    def __getitem__(self, name: str) -> Any:
        try:
            return getattr(self, name)
        except (AttributeError, TypeError) as error:
            raise KeyError(name) from error

    def __contains__(self, name: str) -> bool:
        return isinstance(name, str) and name not in self.__dict__["_spec"].absent

    def get(self, name: str, default: Any = None) -> Any:
        return getattr(self, name) if role_of(name) in _SIZES else default

    def asked(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_spec"}


def _answer(name: str, spec: OpenConfig) -> Any:
    if name in spec.overrides:
        return spec.overrides[name]
    if name in _CONFIG_ANSWERS:
        return _CONFIG_ANSWERS[name]
    role = role_of(name)
    if role == "config":
        return Answers(spec)
    try:
        return value_of(role, spec.sizing)
    except KeyError:
        return False


@dataclass(frozen=True, slots=True)
class Plan:
    """Arguments for one attempt: by parameter name, plus the sizes that they were chosen from."""

    sizing: Sizing
    arguments: Mapping[str, Any]

    def with_argument(self, name: str, value: Any) -> Plan:
        return replace(self, arguments={**self.arguments, name: value})

    def describe(self) -> str:
        return ", ".join(f"{name}={_word(value)}" for name, value in self.arguments.items())


def _word(value: Any) -> str:
    match value:
        case ConfigClass(cls=cls, arguments=arguments):
            inner = ", ".join(f"{name}={_word(item)}" for name, item in arguments.items())
            return f"{cls.__name__}({inner})"
        case Part(cls=part, arguments=arguments):
            return f"{part}({', '.join(f'{name}={_word(item)}' for name, item in arguments.items())})"
        case OpenConfig(overrides=overrides):
            return f"<configuration by conventional names{'' if not overrides else f' with {dict(overrides)}'}>"
        case type():
            return value.__name__
    return repr(value)[:60]


def build(target: Any, plan: Plan, module: types.ModuleType) -> Any:
    """Call ``target`` with the plan's arguments, made afresh; whatever it raises passes through."""
    return target(**{name: _fresh(value, module) for name, value in plan.arguments.items()})


def _fresh(value: Any, module: types.ModuleType) -> Any:
    if isinstance(value, (ConfigClass, OpenConfig, Part)):
        return value.build(module)
    return copy.deepcopy(value) if isinstance(value, (list, dict)) else value


def plans(cls: type, module: types.ModuleType, tree: ast.Module) -> Iterator[Plan]:
    """Ways to call ``cls``, the likeliest first: sizes first, then unconventional parameters one at a time."""
    parameters = _parameters(cls)
    literals = _literal_calls(cls.__name__, parameters, tree)
    context = _Context(module, tree, literals)
    first = [plan for sizing in SIZINGS for plan in _sized(parameters, sizing, context)]
    yield from first[:1]
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
                others += [text for text in _compared_texts(name, tree) if text != answer]
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
        for text in _compared_texts(parameter.name, tree):
            if text != current:
                yield plan.with_argument(parameter.name, text)
        role = role_of(parameter.name)
        if current is None and role not in ("", "device", "dtype", "config", "norm", "act"):
            yield plan.with_argument(parameter.name, value_of(role, plan.sizing))
        elif role == "ratio" and isinstance(current, int):
            yield plan.with_argument(parameter.name, current + 1)
        elif role in ("norm", "") and current is None and "bool" not in str(parameter.annotation):
            import torch

            yield plan.with_argument(parameter.name, torch.nn.LayerNorm)


@dataclass(frozen=True, slots=True)
class _Context:
    module: types.ModuleType
    tree: ast.Module
    literals: Mapping[str, list[Any]]


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


def without_dropout(plan: Plan) -> Plan:
    """The same plan with every rate at zero: some code cannot train with dropout."""
    rates = {name: 0.0 if role_of(name) == "rate" else value for name, value in plan.arguments.items()}
    return replace(plan, arguments=rates)


def _parameters(cls: Any) -> list[inspect.Parameter]:
    try:
        signature = inspect.signature(cls)
    except (ValueError, TypeError):
        return []
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [item for item in signature.parameters.values() if item.kind not in variadic]


def _sized(parameters: list[inspect.Parameter], sizing: Sizing, context: _Context) -> list[Plan]:
    """One plan for this sizing, which gives way to the head count and head width that the class itself defaults to."""
    numbers = [item for item in parameters if isinstance(item.default, int) and not isinstance(item.default, bool)]
    defaults = {role_of(item.name): item.default for item in numbers}
    large = any(defaults.get(role, 0) > _LARGE for role in ("width", "mlp"))
    heads, head_dim = defaults.get("heads"), defaults.get("head_dim")
    if not large:
        if heads:
            sizing = replace(sizing, heads=heads, kv_heads=heads)
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
        elif large and role in _SIZES and isinstance(item.default, int) and not isinstance(item.default, bool):
            arguments[item.name] = value_of(role, sizing)
        elif role == "layers" and isinstance(item.default, int):
            arguments[item.name] = min(item.default, 2)
    return [Plan(sizing, arguments)]


def _required(item: inspect.Parameter, role: str, sizing: Sizing, context: _Context) -> Any:
    annotation = _resolve(item.annotation, context.module)
    text = _text(item.annotation)
    if isinstance(annotation, type) and annotation not in (int, float, bool, str, tuple, list, dict):
        own = _own_instance(annotation, sizing, context)
        if own is not None:
            return own
    if role == "config":
        return OpenConfig(sizing, absent=_optional_names(context.tree))
    if item.name in context.literals and role not in _SIZES:
        return context.literals[item.name][0]
    texts = _compared_texts(item.name, context.tree)
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
        return OpenConfig(sizing, absent=_optional_names(context.tree))
    return value


def _own_instance(cls: type, sizing: Sizing, context: _Context) -> Any:
    """A configuration-like class: built small where it takes sizes, by its defaults otherwise; None where it is not."""
    parameters = _parameters(cls)
    looks_like_config = role_of("_".join(parts_of(cls.__name__))) == "config" or hasattr(cls, "__dataclass_fields__")
    if not looks_like_config:
        return None
    small: dict[str, Any] = {}
    for item in parameters:
        role = role_of(item.name)
        sized = isinstance(item.default, int) and not isinstance(item.default, bool) and role in _SIZES
        if item.default is item.empty or sized:
            small[item.name] = _required(replace_annotation(item), role, sizing, context)
        elif role == "rate" and isinstance(item.default, (int, float)):
            small[item.name] = 0.1
    for arguments in (small, {}):
        try:
            config = ConfigClass(cls, arguments)
            config.build(context.module)
            return config
        except Exception:
            continue
    return None if parameters and not hasattr(cls, "__getattr__") else OpenConfig(sizing)


def replace_annotation(item: inspect.Parameter) -> inspect.Parameter:
    """The parameter with no annotation where that names a class: a configuration's parts are built by convention."""
    plain = _text(item.annotation) in ("int", "float", "bool", "str", "") or "uple" in _text(item.annotation)
    return item if plain else item.replace(annotation=inspect.Parameter.empty)


def _alternatives(item: inspect.Parameter, plan: Plan, context: _Context) -> list[Any]:
    import torch

    role, text = role_of(item.name), _text(item.annotation)
    current = plan.arguments.get(item.name)
    choices: list[Any] = [*context.literals.get(item.name, []), *_compared_texts(item.name, context.tree)]
    pair = role in ("window", "space", "kernel") or _is_taken_apart(item.name, context.tree)
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
        choices.append(OpenConfig(plan.sizing, absent=_optional_names(context.tree)))
    elif role == "length":
        choices += [16, 49, 5]
    elif role == "width":
        choices += [2 * plan.sizing.width, plan.sizing.head_dim]
    elif role == "head_dim":
        choices += [plan.sizing.width]
    return [choice for choice in choices if choice is not current]


def _is_module(item: inspect.Parameter, cls: type, tree: ast.Module) -> bool:
    """Whether a parameter is a module: by its annotation, or because the class calls the attribute that keeps it."""
    if "Module" in _text(item.annotation) and not any(word in _text(item.annotation) for word in ("Type", "Callable")):
        return True
    bodies = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == cls.__name__]
    nodes = [node for body in bodies for node in ast.walk(body)]
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
        (plan,) = _sized(parameters, sizing, context)
        found.append(Part(name, plan.arguments))
        for inner in parameters:
            if inner.default is inner.empty and role_of(inner.name) in ("window", "space", "kernel", "length"):
                others = _alternatives(inner, plan, context)
                found += [Part(name, {**plan.arguments, inner.name: other}) for other in others]
    return [*found, torch.nn.Identity()]


def _is_taken_apart(name: str, tree: ast.Module) -> bool:
    """Whether the file uses something of this name as a sequence: subscripted, unpacked, iterated over, measured."""

    def is_it(node: ast.expr) -> bool:
        return isinstance(node, (ast.Name, ast.Attribute)) and ast.unparse(node).rpartition(".")[2] == name

    for node in ast.walk(tree):
        match node:
            case (
                ast.Subscript(value=used) | ast.Starred(value=used) | ast.For(iter=used) | ast.comprehension(iter=used)
            ):
                found = is_it(used)
            case ast.Assign(targets=[ast.Tuple() | ast.List()], value=used):
                found = is_it(used)
            case ast.Call(func=ast.Name("len" | "zip" | "enumerate" | "tuple" | "list" | "prod"), args=arguments):
                found = any(is_it(argument) for argument in arguments)
            case _:
                found = False
        if found:
            return True
    return False


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


def _literal_calls(name: str, parameters: list[inspect.Parameter], tree: ast.Module) -> dict[str, list[Any]]:
    """Literal arguments that the file itself passes to ``name``, by parameter."""
    found: dict[str, list[Any]] = {}
    known = {item.name for item in parameters}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or ast.unparse(node.func).rpartition(".")[2] != name:
            continue
        given = [(item.name, argument) for item, argument in zip(parameters, node.args, strict=False)]
        given += [(keyword.arg, keyword.value) for keyword in node.keywords if keyword.arg in known and keyword.arg]
        for parameter, value in given:
            try:
                literal = ast.literal_eval(value)
            except (ValueError, TypeError, SyntaxError):
                continue
            if literal not in found.setdefault(parameter, []):
                found[parameter].append(literal)
    return {parameter: values for parameter, values in found.items() if values}


def _compared_texts(name: str, tree: ast.Module) -> list[str]:
    """Text constants that the file compares something of this name with: the modes it knows."""
    texts: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and ast.unparse(node.left).rpartition(".")[2].strip("_") == name.strip("_"):
            for comparator in node.comparators:
                for constant in ast.walk(comparator):
                    if isinstance(constant, ast.Constant) and isinstance(constant.value, str):
                        texts.append(constant.value)
    return list(dict.fromkeys(texts))


def _optional_names(tree: ast.Module) -> frozenset[str]:
    """Names that the file asks for with ``getattr(config, name, default)`` alone: absent, so the default holds."""
    optional: set[str] = set()
    needed: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name("getattr" | "hasattr"), args=[_, ast.Constant(str(name)), *_]):
                optional.add(name)
            case ast.Attribute(attr=name):
                needed.add(name)
    return frozenset(name for name in optional - needed if role_of(name) not in _SIZES)
