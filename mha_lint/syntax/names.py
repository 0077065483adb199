"""What a name refers to in one module: imports, classes, functions, module-level constants."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from functools import cached_property

from mha_lint.syntax.changes import ANY, Changes, read
from mha_lint.syntax.nodes import FUNCTIONS, TRIES, Block, Function, dotted

TORCH_BASES = frozenset({"torch.nn.Module", "torch.nn.modules.module.Module", "lightning.LightningModule"})


@dataclass(eq=False)
class ClassInfo:
    """A class of the file. ``bases`` are full names; bases of this file resolve through ``ModuleNames.classes``.

    Once all classes are collected, a class has all its parents and methods: what is asked of them is kept.
    """

    name: str
    node: ast.ClassDef
    bases: tuple[str, ...]
    methods: dict[str, Function] = field(default_factory=dict)
    constants: dict[str, ast.expr] = field(default_factory=dict)
    parent: ClassInfo | None = None  # the first base that is a class of this file
    rebound: frozenset[str] = frozenset()  # the names that its body binds more than once
    fields: frozenset[str] = frozenset()  # the names whose values are defaults of its constructor, if it has such

    @cached_property
    def lineage(self) -> list[ClassInfo]:
        """The class, then its bases of this file; a cycle is cut."""
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


@dataclass(eq=False, slots=True)
class ModuleNames:
    imports: dict[str, str] = field(default_factory=dict)
    classes: dict[str, ClassInfo] = field(default_factory=dict)  # by name: the last definition wins
    by_node: dict[ast.AST | None, ClassInfo] = field(default_factory=dict)  # every class, in the order of the text
    functions: dict[str, Function] = field(default_factory=dict)
    constants: dict[str, ast.expr] = field(default_factory=dict)
    changes: Changes = field(default_factory=Changes)

    @property
    def every_class(self) -> list[ClassInfo]:
        return list(self.by_node.values())

    def changes_of(self, cls: ClassInfo, name: str) -> list[ast.expr | None]:
        """The values that code outside of constructors may give to an attribute of the class's objects."""
        changes = [*self.changes.attributes.get(name, ()), *self.changes.attributes.get(ANY, ())]
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

    def qualify(self, node: ast.expr) -> str | None:
        """The full name of a dotted expression whose first name is imported, else None."""
        first = node
        while isinstance(first, ast.Attribute):
            first = first.value
        if not isinstance(first, ast.Name) or first.id not in self.imports:
            return None
        origin = self.imports[first.id]
        _, _, rest = (dotted(node) or "").partition(".")
        return f"{origin}.{rest}" if rest else origin


def collect(tree: ast.Module) -> ModuleNames:
    """Read the names of a module, those inside ``if`` and ``try`` at the top level included."""
    names = ModuleNames(changes=read(tree))
    _collect_block(tree.body, names)
    for cls in names.every_class:
        cls.parent = next((names.classes[base] for base in cls.bases if base in names.classes), None)
    return names


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
            for alias in aliases:
                head = alias.name.partition(".")[0]
                names.imports[alias.asname or head] = alias.name if alias.asname else head
        case ast.ImportFrom(module=origin, names=aliases, level=level):
            package = "." * level + (origin or "")
            for alias in aliases:
                if alias.name != "*":
                    names.imports[alias.asname or alias.name] = f"{package}.{alias.name}"
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            names.constants[name] = value
        case ast.AnnAssign(target=ast.Name(id=name), value=value) if value is not None:
            names.constants[name] = value


def _class(node: ast.ClassDef, names: ModuleNames) -> ClassInfo:
    bases = tuple(names.qualify(base) or dotted(base) or "" for base in node.bases if not isinstance(base, ast.Starred))
    info = ClassInfo(node.name, node, bases, rebound=names.changes.rebound_in.get(node, frozenset()))
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
