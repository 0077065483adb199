"""What a name refers to in one module: imports, classes, functions, module-level constants."""

from __future__ import annotations

from dataclasses import dataclass, field

import libcst as cst

from mha_lint.model.changes import ANY, Changes, read

TORCH_BASES = frozenset({"torch.nn.Module", "torch.nn.modules.module.Module", "lightning.LightningModule"})


@dataclass(eq=False, slots=True)
class ClassInfo:
    """A class of the file. ``bases`` are full names; bases of this file resolve through ``ModuleNames.classes``."""

    name: str
    node: cst.ClassDef
    bases: tuple[str, ...]
    methods: dict[str, cst.FunctionDef] = field(default_factory=dict)
    constants: dict[str, cst.BaseExpression] = field(default_factory=dict)
    parent: ClassInfo | None = None  # the first base that is a class of this file
    rebound: frozenset[str] = frozenset()  # the names that its body binds more than once
    fields: frozenset[str] = frozenset()  # the names whose values are defaults of its constructor, if it has such

    @property
    def lineage(self) -> list[ClassInfo]:
        """The class, then its bases of this file; a cycle is cut."""
        line: list[ClassInfo] = []
        cls: ClassInfo | None = self
        while cls is not None and cls not in line:
            line.append(cls)
            cls = cls.parent
        return line

    def method(self, name: str) -> cst.FunctionDef | None:
        return next((cls.methods[name] for cls in self.lineage if name in cls.methods), None)

    def is_property(self, name: str) -> bool:
        node = self.method(name)
        return node is not None and any(
            dotted(decorator.decorator) in ("property", "functools.cached_property", "cached_property")
            for decorator in node.decorators
        )


@dataclass(eq=False, slots=True)
class ModuleNames:
    imports: dict[str, str] = field(default_factory=dict)
    classes: dict[str, ClassInfo] = field(default_factory=dict)  # by name: the last definition wins
    every_class: list[ClassInfo] = field(default_factory=list)
    functions: dict[str, cst.FunctionDef] = field(default_factory=dict)
    constants: dict[str, cst.BaseExpression] = field(default_factory=dict)
    changes: Changes = field(default_factory=Changes)

    def changes_of(self, cls: ClassInfo, name: str) -> list[cst.BaseExpression | None]:
        """The values that code outside of constructors may give to an attribute of the class's objects."""
        changes = [*self.changes.attributes.get(name, ()), *self.changes.attributes.get(ANY, ())]
        if not changes:
            return []
        related = [other.node for other in self.every_class if other in cls.lineage or cls in other.lineage]
        return [change.value for change in changes if change.owner is None or change.owner in related]

    def qualify(self, node: cst.BaseExpression) -> str | None:
        """The full name of a dotted expression whose first name is imported, else None."""
        first = node
        while isinstance(first, cst.Attribute):
            first = first.value
        if not isinstance(first, cst.Name) or first.value not in self.imports:
            return None
        origin = self.imports[first.value]
        _, _, rest = (dotted(node) or "").partition(".")
        return f"{origin}.{rest}" if rest else origin


def dotted(node: cst.BaseExpression) -> str | None:
    """``a.b.c`` as text, or None for any other expression."""
    match node:
        case cst.Name(value):
            return value
        case cst.Attribute(value=base, attr=cst.Name(name)):
            prefix = dotted(base)
            return None if prefix is None else f"{prefix}.{name}"
        case _:
            return None


def collect(module: cst.Module) -> ModuleNames:
    """Read the names of a module, those inside ``if`` and ``try`` at the top level included."""
    names = ModuleNames(changes=read(module))
    _collect_block(module.body, names)
    for cls in names.every_class:
        cls.parent = next((names.classes[base] for base in cls.bases if base in names.classes), None)
    return names


def _collect_block(body: object, names: ModuleNames) -> None:
    for statement in body if isinstance(body, (list, tuple)) else ():
        match statement:
            case cst.SimpleStatementLine(body=small):
                for part in small:
                    collect_small(part, names)
            case cst.ClassDef(name=cst.Name(name)):
                names.classes[name] = _class(statement, names)
                names.every_class.append(names.classes[name])
            case cst.FunctionDef(name=cst.Name(name)):
                names.functions[name] = statement
            case cst.If() | cst.Else() | cst.Try() | cst.Finally():
                _collect_block(statement.body.body, names)
                if isinstance(statement, cst.Try):
                    for handler in statement.handlers:
                        _collect_block(handler.body.body, names)
                if isinstance(statement, (cst.If, cst.Try)) and statement.orelse is not None:
                    _collect_block([statement.orelse], names)


def collect_small(part: cst.CSTNode, names: ModuleNames) -> None:
    match part:
        case cst.Import(names=aliases):
            for alias in aliases:
                full = dotted(alias.name)
                if full is None:
                    continue
                if alias.asname is not None:
                    names.imports[dotted(alias.asname.name) or full] = full
                else:
                    head = full.partition(".")[0]
                    names.imports[head] = head
        case cst.ImportFrom(module=origin, names=aliases, relative=dots) if not isinstance(aliases, cst.ImportStar):
            package = "." * len(dots) + (dotted(origin) or "" if origin is not None else "")
            for alias in aliases:
                name = dotted(alias.name) or ""
                bound = dotted(alias.asname.name) if alias.asname is not None else name
                names.imports[bound or name] = f"{package}.{name}"
        case cst.Assign(targets=[cst.AssignTarget(target=cst.Name(name))], value=value):
            names.constants[name] = value
        case cst.AnnAssign(target=cst.Name(name), value=value) if value is not None:
            names.constants[name] = value


def _class(node: cst.ClassDef, names: ModuleNames) -> ClassInfo:
    bases = tuple(names.qualify(base.value) or dotted(base.value) or "" for base in node.bases if base.star == "")
    info = ClassInfo(node.name.value, node, bases, rebound=names.changes.rebound_in.get(node, frozenset()))
    for statement in node.body.body:
        match statement:
            case cst.FunctionDef(name=cst.Name(name)):
                info.methods.setdefault(name, statement)
            case cst.SimpleStatementLine(body=small):
                for part in small:
                    match part:
                        case cst.Assign(targets=[cst.AssignTarget(target=cst.Name(name))], value=value):
                            info.constants[name] = value
                        case cst.AnnAssign(target=cst.Name(name), value=value) if value is not None:
                            info.constants[name] = value
                            if _is_field(node, part):
                                info.fields |= {name}
    return info


def _is_field(cls: cst.ClassDef, node: cst.AnnAssign) -> bool:
    """Return True where a decorator, or a base that is no module of torch, may make a parameter of an annotation."""
    kind = node.annotation.annotation
    kind = kind.value if isinstance(kind, cst.Subscript) else kind
    if (dotted(kind) or "").rpartition(".")[2] in ("ClassVar", "Final"):
        return False
    return bool(cls.decorators) or not any((dotted(base.value) or "").endswith("Module") for base in cls.bases)
