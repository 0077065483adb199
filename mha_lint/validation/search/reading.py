"""Read from the source of a file how a parameter is used, and with what it is compared or called."""

from __future__ import annotations

import ast
import functools
import inspect
from typing import Any

from mha_lint.validation.search.plan import SIZES
from mha_lint.validation.search.vocabulary import role_of


@functools.cache
def nodes_of(node: ast.AST) -> tuple[ast.AST, ...]:
    """Return the nodes that ``ast.walk`` visits. They are cached: a search asks the same tree again and again."""
    return tuple(ast.walk(node))


@functools.cache
def is_taken_apart(name: str, tree: ast.Module) -> bool:
    """Tell if the file uses something of this name as a sequence: subscripted, unpacked, iterated over, measured."""

    def is_it(node: ast.expr) -> bool:
        return isinstance(node, (ast.Name, ast.Attribute)) and ast.unparse(node).rpartition(".")[2] == name

    for node in nodes_of(tree):
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


def literal_calls(name: str, parameters: list[inspect.Parameter], tree: ast.Module) -> dict[str, list[Any]]:
    """Literal arguments that the file itself passes to ``name``, by parameter."""
    found: dict[str, list[Any]] = {}
    known = {item.name for item in parameters}
    for node in nodes_of(tree):
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


@functools.cache
def keyword_texts(name: str, tree: ast.Module) -> tuple[str, ...]:
    """Texts that the file's calls hand over under this keyword, as the pattern of a rearrangement."""
    texts: list[str] = []
    for call in _calls_with(name, tree):
        for keyword in call.keywords:
            match keyword:
                case ast.keyword(arg=arg, value=ast.Constant(str(text))) if arg == name:
                    texts.append(text)
    return tuple(dict.fromkeys(texts))


def keywords_beside(name: str, tree: ast.Module) -> list[str]:
    """The other keywords of the calls that hand over a text under this one."""
    calls = _calls_with(name, tree)
    return list(dict.fromkeys(keyword.arg for call in calls for keyword in call.keywords if keyword.arg))


def _calls_with(name: str, tree: ast.Module) -> list[ast.Call]:
    calls = [node for node in nodes_of(tree) if isinstance(node, ast.Call)]
    return [
        call
        for call in calls
        for keyword in call.keywords
        if keyword.arg == name and isinstance(keyword.value, ast.Constant) and isinstance(keyword.value.value, str)
    ]


@functools.cache
def compared_texts(name: str, tree: ast.Module) -> tuple[str, ...]:
    """Text constants that the file compares something of this name with: the modes it knows."""
    texts: list[str] = []
    for node in nodes_of(tree):
        if isinstance(node, ast.Compare) and ast.unparse(node.left).rpartition(".")[2].strip("_") == name.strip("_"):
            for comparator in node.comparators:
                for constant in ast.walk(comparator):
                    if isinstance(constant, ast.Constant) and isinstance(constant.value, str):
                        texts.append(constant.value)
    return tuple(dict.fromkeys(texts))


@functools.cache
def optional_names(tree: ast.Module) -> frozenset[str]:
    """Names that the file asks for with ``getattr(config, name, default)`` alone: absent, so the default holds."""
    optional: set[str] = set()
    needed: set[str] = set()
    for node in nodes_of(tree):
        match node:
            case ast.Call(func=ast.Name("getattr" | "hasattr"), args=[_, ast.Constant(str(name)), *_]):
                optional.add(name)
            case ast.Attribute(attr=name):
                needed.add(name)
    return frozenset(name for name in optional - needed if role_of(name) not in SIZES)


@functools.cache
def nullable_names(tree: ast.Module) -> frozenset[str]:
    """Names of attributes, and of what is kept in them, that the file compares with None."""
    found: set[str] = set()
    for node in nodes_of(tree):
        match node:
            case ast.Compare(left=ast.Attribute(attr=name), ops=[ast.Is() | ast.IsNot()]):
                found.add(name)
    for node in nodes_of(tree):
        match node:
            case ast.Assign(targets=[ast.Attribute(attr=kept)], value=ast.Attribute(attr=name)) if kept in found:
                found.add(name)
    return frozenset(found)


@functools.cache
def section_names(tree: ast.Module) -> frozenset[str]:
    """Names of parts of a configuration that are configurations themselves: ``model`` of ``cfg.model.num_heads``."""
    methods = {id(node.func) for node in nodes_of(tree) if isinstance(node, ast.Call)}
    aliases: dict[str, str] = {}
    found: set[str] = set()
    for node in nodes_of(tree):
        match node:
            case ast.Assign(targets=[ast.Name(alias)], value=value) if name := _setting(value):
                aliases[alias] = name
    for node in nodes_of(tree):
        match node:
            case ast.Attribute(value=value, attr=attr) if attr == "get" or id(node) not in methods:
                is_tensor_like = attr in ("shape", "dtype", "device")
            case ast.Subscript(value=value, slice=ast.Constant(str())):
                is_tensor_like = False
            case _:
                continue
        name = aliases.get(value.id, "") if isinstance(value, ast.Name) else _setting(value)
        if name and not is_tensor_like:
            found.add(name)
    return frozenset(found)


def _setting(value: ast.expr) -> str:
    """The name of what is read from a configuration, or from a part of one; "" where the value is nothing such."""
    match value:
        case ast.Attribute(value=holder, attr=name) | ast.Subscript(value=holder, slice=ast.Constant(str(name))):
            last = ast.unparse(holder).rpartition(".")[2] if isinstance(holder, (ast.Name, ast.Attribute)) else ""
            return name if role_of(last) == "config" or _setting(holder) else ""
    return ""


@functools.cache
def attributes_set(node: ast.AST) -> frozenset[str]:
    """The attributes that statements within ``node`` assign."""
    return frozenset(
        item.attr for item in nodes_of(node) if isinstance(item, ast.Attribute) and isinstance(item.ctx, ast.Store)
    )
