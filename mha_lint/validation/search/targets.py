"""Find and build what is run: a class or function of the user's file, found by name."""

from __future__ import annotations

import ast
import inspect
import types
from collections.abc import Callable, Iterator
from typing import Any

import torch
from msgspec import Struct

from mha_lint.validation.child.imports import Loaded, quiet
from mha_lint.validation.search import flags
from mha_lint.validation.search.parents import parents_of
from mha_lint.validation.search.plan import Plan, build
from mha_lint.validation.search.reading import nodes_of
from mha_lint.validation.trials import trial


class Target(Struct, frozen=True):
    """Name what is run: a module class, or a module-level function, by its qualified name.

    With ``method``, that method of the class is called instead of forward. With ``handed``, its parameter of this name
    is given an object of the class ``part``, which is no module by itself.
    """

    name: str
    is_class: bool
    method: str = ""
    handed: str = ""
    part: str = ""

    def __str__(self) -> str:
        return f"{self.name}.{self.method}" if self.method else self.name


class FunctionModule(torch.nn.Module):
    """A plain function as a module without parameters."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


class MethodModule(torch.nn.Module):
    """One method of a module as a module of its own, which has the attributes of the other."""

    def __init__(self, instance: torch.nn.Module, method: str) -> None:
        super().__init__()
        self.instance = instance
        self.method = method

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return getattr(self.instance, self.method)(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "instance":
                raise
            return getattr(self.instance, name)


def lookup(module: types.ModuleType, name: str) -> Any:
    """The object of this qualified name; None when there is none."""
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def instantiate(
    target: Target, plan: Plan, module: types.ModuleType, seed: int, given: dict[str, Any] | None = None
) -> Any:
    """Build the target from ``module``; whatever its ``__init__`` raises passes through.

    The arguments of the constructor are put into ``given``.
    """
    trial.seed_everything(seed)
    _put_defaults_in_train(module)
    with quiet(), flags.globals_set(plan.flags, module):
        found = lookup(module, target.name)
        if target.is_class:
            built = build(found, plan, module, given)
            subject = MethodModule(built, target.method) if target.method else built
        else:
            subject = FunctionModule(found)
    if plan.flags:
        flags.put_on(subject, plan.flags, module)
    return subject


def _put_defaults_in_train(module: types.ModuleType) -> None:
    """Put layers that are defaults of constructors in train mode: all objects share them, in the mode of the last."""
    for cls in [*vars(module).values()]:
        if not isinstance(cls, type) or cls.__module__ != module.__name__:
            continue
        made = getattr(cls, "__init__", None)
        defaults = [
            *(getattr(made, "__defaults__", None) or ()),
            *(getattr(made, "__kwdefaults__", None) or {}).values(),
        ]
        for value in defaults:
            if isinstance(value, torch.nn.Module):
                value.train()


def signature_of(module: Any) -> inspect.Signature:
    if isinstance(module, FunctionModule):
        return inspect.signature(module.function)
    if isinstance(module, MethodModule):
        return inspect.signature(getattr(module.instance, module.method))
    return inspect.signature(module.forward if has_forward(module) else module.__call__)


def has_forward(module: Any) -> bool:
    return type(module).forward is not torch.nn.Module.forward


def targets(loaded: Loaded, symbols: tuple[str, ...]) -> list[Target]:
    """Return the targets: the class or function itself, its subclasses, what uses it in this file, then a method alone.

    A function is used by the functions that mention it as well, and by what mentions those.
    """
    found: list[Target] = []
    methods: list[Target] = []
    for symbol in symbols:
        owner = owner_of(loaded.module, symbol)
        if owner is None:
            continue
        thing = lookup(loaded.module, owner)
        parents = parents_of(owner, thing, loaded.module) if isinstance(thing, type) else []
        handing = [Target(parent, True, handed=parameter, part=owner) for parent, parameter in parents]
        if isinstance(thing, type) and issubclass(thing, torch.nn.Module):
            found += [Target(owner, True), *handing]
            method = symbol.removeprefix(owner).removeprefix(".")
            if method.isidentifier() and not method.startswith("__") and method != "forward":
                methods.append(Target(owner, True, method))
        elif isinstance(thing, type):
            found += handing
        elif callable(thing):
            found.append(Target(owner, False))
        found += [
            Target(name, True) for name, cls in _classes(loaded) if isinstance(thing, type) and _extends(cls, thing)
        ]
        names = {owner.rpartition(".")[2]}
        for _ in range(2):
            users = [name for name, _ in _classes(loaded) if _mentions(loaded.tree, name, names)]
            found += [Target(name, True) for name in users]
            callers = [] if isinstance(thing, type) else _callers(loaded.tree, names)
            found += [Target(caller.name, False) for caller in callers]
            names = {*users, *(caller.name for caller in callers), *names}
    ordered = sorted(dict.fromkeys(found), key=lambda target: not target.is_class and len(found) > 1)
    return [*ordered, *dict.fromkeys(methods)]


def owner_of(module: types.ModuleType, symbol: str) -> str | None:
    """The longest prefix that is a class of the module, or the function that the symbol starts with."""
    parts = symbol.split(".")
    for count in range(len(parts), 0, -1):
        name = ".".join(parts[:count])
        if isinstance(lookup(module, name), type):
            return name
    return parts[0] if callable(getattr(module, parts[0], None)) else None


def _classes(loaded: Loaded) -> list[tuple[str, type]]:
    own = [(name, value) for name, value in vars(loaded.module).items() if isinstance(value, type)]
    return [
        (name, cls)
        for name, cls in own
        if issubclass(cls, torch.nn.Module) and cls.__module__ == loaded.module.__name__
    ]


def extending(loaded: Loaded, base: type) -> list[tuple[str, type]]:
    """The classes of the file that extend another, by name."""
    return [(name, cls) for name, cls in _classes(loaded) if _extends(cls, base)]


def _extends(cls: type, base: type) -> bool:
    return issubclass(cls, base) and cls is not base


def _mentions(tree: ast.Module, class_name: str, names: set[str]) -> bool:
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == class_name and class_name not in names:
            return any(isinstance(inner, ast.Name) and inner.id in names for inner in nodes_of(node))
    return False


def is_handed_its_arguments(tree: ast.Module, target: Target) -> bool:
    """Tell whether the method or function is called with what other code of the file, or a subclass, hands it.

    A class, and a method or function that nobody in the file mentions, get their arguments from outside, as a test
    may hand them.
    """
    if target.method:
        inner = target.method.startswith("_") and not target.method.startswith("__")
        return inner or any(_reads_attribute(node, target.method) for node in _outside(tree, target.method))
    if target.is_class:
        return False
    in_classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    return bool(_callers(tree, {target.name})) or any(_reads_name(node, target.name) for node in in_classes)


def _callers(tree: ast.Module, names: set[str]) -> list[ast.FunctionDef]:
    """The functions of the file that mention one of ``names``.

    One without parameters is a script or a test, and hands over examples alone.
    """
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name not in names]
    return [
        node
        for node in functions
        if (node.args.posonlyargs or node.args.args or node.args.kwonlyargs or node.args.vararg or node.args.kwarg)
        and any(_reads_name(node, name) for name in names)
    ]


def _outside(tree: ast.Module, method: str) -> Iterator[ast.AST]:
    """The functions and methods of the file but those named ``method``: an overridden one hands on what it got."""
    for node in nodes_of(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name != method:
            yield node


def _reads_name(node: ast.AST, name: str) -> bool:
    return any(isinstance(inner, ast.Name) and inner.id == name for inner in nodes_of(node))


def _reads_attribute(node: ast.AST, name: str) -> bool:
    """Tell whether an attribute of this name is read, perhaps by ``getattr``."""
    for inner in nodes_of(node):
        match inner:
            case ast.Attribute(attr=attr) if attr == name:
                return True
            case ast.Call(func=ast.Name("getattr"), args=[_, ast.Constant(value=str(given)), *_]) if given == name:
                return True
    return False


def function_of(tree: ast.Module, target: Target, module: Any) -> ast.FunctionDef | None:
    """The source of forward or of the method (its own, or one inherited within the file), or of the function."""
    if not target.is_class:
        named = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == target.name]
        return named[0] if named else None
    wanted = (target.method,) if target.method else ("forward", "__call__")
    bodies = {node.name: node for node in nodes_of(tree) if isinstance(node, ast.ClassDef)}
    cls = type(module.instance if isinstance(module, MethodModule) else module)
    for base in cls.__mro__:
        for node in bodies[base.__name__].body if base.__name__ in bodies else ():
            if isinstance(node, ast.FunctionDef) and node.name in wanted:
                return node
    return None
