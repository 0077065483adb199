"""Names of one module are resolved here: imports, classes, functions, module-level constants."""

from __future__ import annotations

import ast
from functools import cached_property
from typing import Protocol

from msgspec import Struct, field

from mha_lint.syntax.changes import ANY, Changes, read, rebound
from mha_lint.syntax.module import Module
from mha_lint.syntax.nodes import FUNCTIONS, TRIES, Block, Function, dotted, text_of, walk
from mha_lint.vocabulary import IMPORTS, is_said

TORCH_BASES = frozenset(
    {
        "torch.nn.Module",
        "torch.nn.modules.module.Module",
        "lightning.LightningModule",
        "torch_geometric.nn.MessagePassing",
        "torch_geometric.nn.conv.MessagePassing",
        "torch_geometric.nn.conv.message_passing.MessagePassing",
    }
)


class Owner(Struct, frozen=True):
    """The module that a function belongs to, and its ``Class.method`` there."""

    home: ModuleNames
    symbol: str


class Resolver(Protocol):
    """Knows what a full name refers to in the other files of the project."""

    owners: dict[ast.AST, Owner]  # of the functions and methods of every module that was read

    def resolve(self, names: ModuleNames, full: str) -> Definition | str: ...

    def starred(self, module: ModuleNames, name: str) -> Definition | str | None: ...

    def users(self, name: str) -> list[ModuleNames]: ...


class Definition(Struct, frozen=True):
    """A class, a function or a constant, and the module that defines it."""

    home: ModuleNames
    value: ClassInfo | Function | ast.expr


class ClassInfo(Struct, eq=False, dict=True):
    """A class of the project. Once all classes are collected, what is asked of it is kept."""

    name: str
    node: ast.ClassDef
    home: ModuleNames
    methods: dict[str, Function] = field(default_factory=dict)
    constants: dict[str, ast.expr] = field(default_factory=dict)
    fields: frozenset[str] = frozenset()  # the names whose values are defaults of its constructor, if it has such

    @cached_property
    def rebound(self) -> frozenset[str]:
        """The names that its body binds more than once."""
        return self.home.changes.rebound_in.get(self.node, frozenset())

    @cached_property
    def bases(self) -> tuple[str, ...]:
        """The full names of its bases."""
        written = [base for base in self.node.bases if not isinstance(base, ast.Starred)]
        return tuple(self.home.qualify(base) or dotted(base) or "" for base in written)

    @cached_property
    def parent(self) -> ClassInfo | None:
        """The first base that is a class of the project."""
        return next((cls for base in self.bases if (cls := self.home.project_class(base)) is not None), None)

    @cached_property
    def lineage(self) -> list[ClassInfo]:
        """The class, then its bases of the project; a cycle is cut."""
        line: list[ClassInfo] = []
        cls: ClassInfo | None = self
        while cls is not None and cls not in line:
            line.append(cls)
            cls = cls.parent
        return line

    @cached_property
    def _every_method(self) -> dict[str, Function]:
        return {name: node for cls in reversed(self.lineage) for name, node in cls.methods.items()}

    @cached_property
    def _properties(self) -> frozenset[str]:
        return frozenset(name for name, node in self._every_method.items() if _is_property(node))

    def method(self, name: str) -> Function | None:
        return self._every_method.get(name)

    def is_property(self, name: str) -> bool:
        return name in self._properties


def _is_property(function: Function) -> bool:
    decorators = map(dotted, function.decorator_list)
    return any(name in ("property", "functools.cached_property", "cached_property") for name in decorators)


class ModuleNames(Struct, eq=False, dict=True):
    """The names of one module. ``imports`` gives full names; those of relative imports begin with dots."""

    module: Module
    path: str = ""
    program: Resolver | None = None
    imports: dict[str, str] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)  # the modules of star imports
    classes: dict[str, ClassInfo] = field(default_factory=dict)  # by name: the last definition wins
    by_node: dict[ast.AST | None, ClassInfo] = field(default_factory=dict)  # every class, in the order of the text
    functions: dict[str, Function] = field(default_factory=dict)
    constants: dict[str, ast.expr] = field(default_factory=dict)
    _changes_of: dict[tuple[ClassInfo, str], list[ast.expr | None]] = field(default_factory=dict)

    @cached_property
    def changes(self) -> Changes:
        """The names that the module binds more than once, and the attributes that it changes in its objects."""
        return read(self.module.tree)

    @cached_property
    def rebound(self) -> frozenset[str]:
        """The names that the module binds more than once."""
        return self.changes.rebound if "global" in self.module.text else rebound(self.module.tree)

    @property
    def every_class(self) -> list[ClassInfo]:
        return list(self.by_node.values())

    def changes_of(self, cls: ClassInfo, name: str) -> list[ast.expr | None]:
        """The values that code outside of constructors may give to an attribute of the class's objects.

        The code is that of this module, and of the modules that define the class and its bases.
        """
        known = self._changes_of.get((cls, name))
        if known is None:
            known = self._changes_of[cls, name] = self._read_changes_of(cls, name)
        return known

    def _read_changes_of(self, cls: ClassInfo, name: str) -> list[ast.expr | None]:
        others = dict.fromkeys(info.home for info in cls.lineage if info.home is not self)
        changed = self._changed(cls, [name, ANY])
        for home in others:
            if f".{name}" in home.module.text:  # a look at the text costs less than reading all that it changes
                changed += home._changed(cls, [name])
        return changed

    def _changed(self, cls: ClassInfo, names: list[str]) -> list[ast.expr | None]:
        changes = [change for name in names for change in self.changes.attributes.get(name, ())]
        if not changes:
            return []
        return [change.value for change in changes if change.owner is None or self._are_akin(change.owner, cls)]

    def _are_akin(self, node: ast.ClassDef, cls: ClassInfo) -> bool:
        """The class that a statement defines is a base of another, or is built on it."""
        other = self.class_of(node)
        return other is not None and (other in cls.lineage or cls in other.lineage)

    def class_of(self, node: ast.AST | None) -> ClassInfo | None:
        """The class that a statement defines."""
        return self.by_node.get(node)

    def definition(self, full: str) -> Definition | str:
        """Return the project's definition that a full name refers to; the name in full where it lies outside."""
        return full if self.program is None else self.program.resolve(self, full)

    def star(self, name: str) -> Definition | str | None:
        """Return the definition or the full name that a star import binds a name to; None where that is not known."""
        if not self.stars or self.program is None:
            return None
        return self.program.starred(self, name)

    def users(self, name: str) -> list[ModuleNames]:
        """The other modules of the package that say a name of this one."""
        return [] if self.program is None else self.program.users(name)

    def project_class(self, full: str) -> ClassInfo | None:
        """The class that a full name, or a name of this module, refers to in the project."""
        if full in self.classes:
            return self.classes[full]
        found = self.definition(full) if "." in full else self.star(full)
        return found.value if isinstance(found, Definition) and isinstance(found.value, ClassInfo) else None

    def qualify(self, node: ast.expr) -> str | None:
        """The full name of a dotted expression whose first name is imported, else None."""
        first = node
        rest: list[str] = []
        while isinstance(first, ast.Attribute):
            rest.append(first.attr)
            first = first.value
        if not isinstance(first, ast.Name):
            return None
        origin = self.imports.get(first.id) or self._starred_module(first.id)
        if origin is None:
            return None
        full = ".".join((origin, *reversed(rest)))
        found = self.definition(full)
        return found if isinstance(found, str) else full

    def _starred_module(self, name: str) -> str | None:
        """The module outside of the project, or its part, that a star import binds a name to."""
        if not self.stars or name in self.classes or name in self.functions or name in self.constants:
            return None
        found = self.star(name)
        return found if isinstance(found, str) else None


def collect(module: Module, *, path: str = "", program: Resolver | None = None) -> ModuleNames:
    """Read the names of a module, those inside ``if`` and ``try`` at the top level included."""
    names = ModuleNames(module, path, program)
    _collect_block(module.tree.body, names)
    if program is not None:
        program.owners |= _owned(names)
    return names


def _owned(names: ModuleNames) -> dict[ast.AST, Owner]:
    functions: dict[ast.AST, Owner] = {node: Owner(names, name) for name, node in names.functions.items()}
    lambdas = {node: Owner(names, name) for name, node in names.constants.items() if isinstance(node, ast.Lambda)}
    methods = {
        node: Owner(names, f"{cls.name}.{name}") for cls in names.every_class for name, node in cls.methods.items()
    }
    return functions | lambdas | methods


def _collect_block(body: Block, names: ModuleNames) -> None:
    for statement in body:
        if isinstance(statement, ast.ClassDef):
            names.classes[statement.name] = _class(statement, names)
            names.by_node[statement] = names.classes[statement.name]
        elif isinstance(statement, FUNCTIONS):
            names.functions[statement.name] = statement
        elif isinstance(statement, ast.If):
            _collect_block(statement.body, names)
            _collect_block(statement.orelse, names)
        elif isinstance(statement, TRIES):
            _collect_block(statement.body, names)
            for handler in statement.handlers:
                _collect_block(handler.body, names)
            _collect_block(statement.orelse, names)
        else:
            collect_small(statement, names)


def collect_small(statement: ast.stmt, names: ModuleNames) -> None:
    """Read the names that an import or an assignment binds."""
    match statement:
        case ast.Import(names=aliases):
            names.imports |= _imported(aliases)
        case ast.ImportFrom(module=origin, names=aliases, level=level):
            names.imports |= _imported_from(statement)
            names.stars += ["." * level + (origin or "") for alias in aliases if alias.name == "*"]
        case ast.Assign(targets=[target], value=ast.Call() as call) if full := lazily_imported(call, names):
            _collect_lazy(target, full, names)
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.Attribute() as value) if full := _alias(value, names):
            names.imports[name] = full
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            names.constants[name] = value
        case ast.AnnAssign(target=ast.Name(id=name), value=value) if value is not None:
            names.constants[name] = value


def lazily_imported(call: ast.Call, names: ModuleNames) -> str | None:
    """The full name of what a call imports: ``import_module("einops")``, or a function of the module that imports it.

    ``name=`` is that of a part of the module.
    """
    if not call.args and not call.keywords and isinstance(call.func, ast.Name):
        function = names.functions.get(call.func.id)
        return None if function is None else _handed_out(function)
    named = {keyword.arg: text_of(keyword.value) for keyword in call.keywords}
    module = text_of(call.args[0]) if call.args else named.get("name")
    if not module or not all(part.isidentifier() for part in module.split(".")) or not _imports(call.func):
        return None
    part = named.get("name") if call.args else None
    return f"{module}.{part}" if part else module


_ALIASED = ("torch", "einops", "numpy", "math")


def _alias(value: ast.Attribute, names: ModuleNames) -> str | None:
    """The full name of a part of a package that the model knows: ``linear = nn.Linear``."""
    origin = ""
    base: ast.expr = value
    while isinstance(base, ast.Attribute):
        base = base.value
    if isinstance(base, ast.Name):
        origin = names.imports.get(base.id, "")
        _, _, rest = (dotted(value) or "").partition(".")
    elif isinstance(base, ast.Call) and base is value.value:
        origin, rest = lazily_imported(base, names) or "", value.attr
    return f"{origin}.{rest}" if origin.partition(".")[0] in _ALIASED else None


def _imports(function: ast.expr) -> bool:
    """The function is called as one that imports: ``importlib.import_module``, ``lazy.load``, ``LazyLoader``."""
    return any(is_said(IMPORTS, part) for part in (dotted(function) or "").split("."))


def _handed_out(function: Function) -> str | None:
    """The full name of what a function imports and returns, where it returns nothing else but None."""
    inside = [node for node in walk(function) if isinstance(node, (ast.Import, ast.ImportFrom, ast.Return))]
    scratch: dict[str, str] = {}
    for node in inside:
        match node:
            case ast.Import(names=aliases):
                scratch |= _imported(aliases)
            case ast.ImportFrom():
                scratch |= _imported_from(node)
    values = [node.value for node in inside if isinstance(node, ast.Return) and node.value is not None]
    returned = [value for value in values if not (isinstance(value, ast.Constant) and value.value is None)]
    if len(returned) != 1 or not scratch:
        return None
    first, _, rest = (dotted(returned[0]) or "").partition(".")
    origin = scratch.get(first)
    return None if origin is None else f"{origin}.{rest}" if rest else origin


def _imported(aliases: list[ast.alias]) -> dict[str, str]:
    bound = {}
    for alias in aliases:
        head = alias.name.partition(".")[0]
        bound[alias.asname or head] = alias.name if alias.asname else head
    return bound


def _imported_from(statement: ast.ImportFrom) -> dict[str, str]:
    package = "." * statement.level + (statement.module or "")
    dot = "." if statement.module else ""
    return {alias.asname or alias.name: f"{package}{dot}{alias.name}" for alias in statement.names if alias.name != "*"}


def _collect_lazy(target: ast.expr, full: str, names: ModuleNames) -> None:
    """``einops, _ = optional_import("einops")`` binds the module, as does the same with one target."""
    match target:
        case ast.Name(id=name) | ast.Tuple(elts=[ast.Name(id=name), *_]):
            names.imports[name] = full


def _class(node: ast.ClassDef, names: ModuleNames) -> ClassInfo:
    info = ClassInfo(node.name, node, names)
    for statement in node.body:
        match statement:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                info.methods.setdefault(name, statement)
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                info.constants[name] = value
            case ast.AnnAssign(target=ast.Name(id=name), value=value) if value is not None:
                info.constants[name] = value
                if _is_field(node, statement):
                    info.fields |= {name}
    return info


def _is_field(cls: ast.ClassDef, node: ast.AnnAssign) -> bool:
    """Return True where a decorator, or a base that is no module of torch, may make a parameter of an annotation."""
    kind = node.annotation
    kind = kind.value if isinstance(kind, ast.Subscript) else kind
    if (dotted(kind) or "").rpartition(".")[2] in ("ClassVar", "Final"):
        return False
    return bool(cls.decorator_list) or not any((dotted(base) or "").endswith("Module") for base in cls.bases)
