"""Builds an instance of a class that nobody prepared: finds arguments for its ``__init__``."""

from __future__ import annotations

import ast
import inspect
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from mha_lint.validation.search.parameters import (
    Context,
    alternatives_for,
    is_module,
    is_whole,
    layers_for,
    modules_for,
    open_config,
    parameters_of,
    required_value,
    sized_plans,
)
from mha_lint.validation.search.plan import ConfigClass, OpenConfig, Part, Plan
from mha_lint.validation.search.reading import compared_texts, literal_calls, nodes_of
from mha_lint.validation.search.vocabulary import APART, SIZINGS, role_of, value_of


def plans(cls: type, module: types.ModuleType, tree: ast.Module) -> Iterator[Plan]:
    """Ways to call ``cls``, the likeliest first: sizes first, then unconventional parameters one at a time."""
    parameters = parameters_of(cls)
    literals = literal_calls(cls.__name__, parameters, tree)
    context = Context(module, tree, literals)
    first = [plan for sizing in SIZINGS for plan in sized_plans(parameters, sizing, context)]
    yield from first[:1]
    if layers := layers_for(cls, parameters, first[0].sizing, tree):
        yield replace(first[0], arguments={**first[0].arguments, **layers})
    for item in parameters:
        if item.default is None and role_of(item.name) == "config":  # it may be needed all the same
            yield first[0].with_argument(item.name, required_value(item, "config", first[0].sizing, context))
        if isinstance(first[0].arguments.get(item.name), ConfigClass):  # the annotation may not be what is meant
            yield first[0].with_argument(item.name, open_config(first[0].sizing, context))
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
        if is_module(item, cls, tree)
        for part in modules_for(item, first[0].sizing, context)
    ]
    alternatives += [(item.name, value) for item in guessed for value in alternatives_for(item, first[0], context)]
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
    context = Context(module, tree, {})
    for parameter in parameters_of(cls):
        if is_module(parameter, cls, tree) and not isinstance(plan.arguments.get(parameter.name), Part):
            for part in modules_for(parameter, plan.sizing, context):
                yield plan.with_argument(parameter.name, part)
    for parameter in parameters_of(cls):
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
            for inner in parameters_of(current.cls):
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
    parameters = parameters_of(cls)
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


def apart(cls: type, plan: Plan) -> Plan | None:
    """The plan with a width that is not heads × head width; None where the class does not take the three apart."""
    if plan.written or plan.factory:
        return None
    arguments = _sizes_apart(parameters_of(cls), plan.arguments)
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
            inner = _sizes_apart(parameters_of(value.cls), value.arguments)
            return None if inner is None else {**given, item.name: replace(value, arguments=inner)}
        is_open = value is None and role == "head_dim"
        if role in ("width", "heads", "kv_heads", "head_dim") and (is_whole(value) or is_open):
            changed[item.name] = value_of(role, APART)
            sized.add(role)
    return changed if sized >= {"width", "heads", "head_dim"} else None


def rounded(cls: type, plan: Plan, divisor: int) -> Iterator[Plan]:
    """The plan with widths that the number divides: for one, those of a head are multiples of it as well."""
    parameters = parameters_of(cls)
    sizes: dict[str, int] = {}
    for item in parameters:
        value = plan.arguments.get(item.name, item.default)
        if role_of(item.name) in ("width", "head_dim", "mlp") and is_whole(value):
            sizes[item.name] = value
    heads = [plan.arguments.get(item.name, item.default) for item in parameters if role_of(item.name) == "heads"]
    factor = next((count for count in heads if is_whole(count)), plan.sizing.heads)
    for step in dict.fromkeys((divisor * factor, divisor)):
        changed = {name: -(-size // step) * step for name, size in sizes.items()}
        if changed != sizes:
            yield replace(plan, arguments={**plan.arguments, **changed})


def divided(cls: type, plan: Plan, sizes: Sequence[int], divisor: int) -> Plan | None:
    """The plan with each argument that is one of these sizes a multiple of the number; None where there is none.

    Each is another multiple, lest swapped sizes hide.
    """
    changed: dict[str, int] = {}
    for item in parameters_of(cls):
        value = plan.arguments.get(item.name, item.default)
        if is_whole(value) and value in sizes:
            changed[item.name] = divisor * (len(changed) + 1)
    return replace(plan, arguments={**plan.arguments, **changed}) if changed else None


def multiplied(cls: type, plan: Plan, factor: int) -> Iterator[Plan]:
    """The plan with widths of the model that are as many times as large: some are made of a head's, by a ratio."""
    sizes: dict[str, int] = {}
    for item in parameters_of(cls):
        value = plan.arguments.get(item.name, item.default)
        if role_of(item.name) == "width" and is_whole(value):
            sizes[item.name] = value * factor
    if sizes and factor > 1:
        yield replace(plan, arguments={**plan.arguments, **sizes})


def part_of(name: str, module: types.ModuleType, tree: ast.Module) -> Part:
    """An object of the class, built with what its constructor's parameters conventionally hold."""
    plan, *_ = sized_plans(parameters_of(getattr(module, name)), SIZINGS[0], Context(module, tree, {}))
    return Part(name, plan.arguments)


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
