"""What a file defines: its imports, classes, functions and constants, read off its syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Sequence

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


class Class:
    """A class of the file; ``parent`` is its first base that is another."""

    def __init__(self, node: ast.ClassDef) -> None:
        self.node = node
        self.name = node.name
        self.methods = {
            s.name: s for s in reversed(node.body) if isinstance(s, (ast.FunctionDef, ast.AsyncFunctionDef))
        }
        self.parent: Class | None = None

    @property
    def lineage(self) -> list[Class]:
        """The class, then its bases of this file; a cycle is cut."""
        line: list[Class] = []
        cls: Class | None = self
        while cls is not None and cls not in line:
            line.append(cls)
            cls = cls.parent
        return line

    def method(self, name: str) -> Function | None:
        return next((cls.methods[name] for cls in self.lineage if name in cls.methods), None)


def related(cls: Class | None, other: Class | None) -> bool:
    """Whether an object may have the methods of both."""
    return cls is None or other is None or cls in other.lineage or other in cls.lineage


class Outline:
    """The names of a module, those inside ``if`` and ``try`` at the top level included."""

    def __init__(self, tree: ast.Module) -> None:
        self.body = tree.body
        self.imports: dict[str, str] = {}
        self.classes: dict[str, Class] = {}  # the last definition of a name wins
        self.every_class: list[Class] = []
        self.functions: dict[str, Function] = {}
        self.constants: dict[str, ast.expr] = {}
        self.constants_of_classes: dict[str, list[ast.expr]] = {}
        self.methods: dict[str, list[Function]] = {}
        self.properties: set[Function] = set()
        self.bound: set[Function] = set()  # methods whose first parameter is the object
        self.owners: dict[Function, Class] = {}
        self.everything: list[Function] = []
        self.assigning: dict[str, list[Function]] = {}  # attribute → functions that assign it
        self.defined: dict[str, list[ast.stmt]] = {}  # name → statements at the top level that define it
        for statement in tree.body:
            for name in _defined_by(statement):
                self.defined.setdefault(name, []).append(statement)
        self._collect(tree.body)
        for cls in self.every_class:
            bases = (base.id for base in cls.node.bases if isinstance(base, ast.Name))
            cls.parent = next((self.classes[base] for base in bases if base in self.classes), None)

    def _collect(self, body: Sequence[ast.stmt]) -> None:
        for statement in body:
            match statement:
                case ast.Import() | ast.ImportFrom():
                    self.add_import(statement)
                case ast.ClassDef():
                    cls = self.classes[statement.name] = Class(statement)
                    self.every_class.append(cls)
                    for name, method in cls.methods.items():
                        self.methods.setdefault(name, []).append(method)
                        self.owners[method] = cls
                        if not any(getattr(d, "id", "") == "staticmethod" for d in method.decorator_list):
                            self.bound.add(method)
                        self._function(method)
                    for part in statement.body:
                        for name, value in _constant(part):
                            self.constants_of_classes.setdefault(name, []).append(value)
                case ast.FunctionDef() | ast.AsyncFunctionDef():
                    self.functions[statement.name] = statement
                    self._function(statement)
                case ast.If() | ast.Try():
                    self._collect(statement.body)
                    for handler in statement.handlers if isinstance(statement, ast.Try) else ():
                        self._collect(handler.body)
                    self._collect(statement.orelse)
                case _:
                    self.constants.update(_constant(statement))

    def add_import(self, statement: ast.Import | ast.ImportFrom) -> None:
        for alias in statement.names:
            if isinstance(statement, ast.ImportFrom):
                origin = "." * statement.level + (statement.module or "")
                self.imports[alias.asname or alias.name] = f"{origin}.{alias.name}"
            elif alias.asname:
                self.imports[alias.asname] = alias.name
            else:
                head = alias.name.partition(".")[0]
                self.imports[head] = head

    def _function(self, function: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.everything.append(function)
        for decorator in function.decorator_list:
            if "property" in (getattr(decorator, "id", "")[-8:], getattr(decorator, "attr", "")[-8:]):
                self.properties.add(function)
        for statement in statements_of(function.body):
            match statement:
                case ast.Expr(
                    ast.Call(ast.Attribute(attr="register_buffer"), args=[ast.Constant(value=str(name)), *_])
                ):
                    self.assigning.setdefault(name, []).append(function)
            targets = statement.targets if isinstance(statement, ast.Assign) else (
                [statement.target] if isinstance(statement, (ast.AnnAssign, ast.AugAssign, ast.For)) else ()
            )  # fmt: skip
            for target in targets:
                for leaf in target.elts if isinstance(target, (ast.Tuple, ast.List)) else (target,):
                    if isinstance(leaf, ast.Attribute):
                        assigning = self.assigning.setdefault(leaf.attr, [])
                        if function not in assigning:
                            assigning.append(function)


def _constant(statement: ast.stmt) -> list[tuple[str, ast.expr]]:
    """The name that a statement gives a value, and the value."""
    match statement:
        case ast.Assign(targets=[ast.Name(name)], value=value):
            return [(name, value)]
        case ast.AnnAssign(target=ast.Name(name), value=ast.expr() as value):
            return [(name, value)]
    return []


def _defined_by(statement: ast.stmt) -> list[str]:
    """Names that a statement at the top level binds to something of the file."""
    match statement:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return [name]
        case ast.Assign(targets=[ast.Name(name)]) | ast.AnnAssign(target=ast.Name(name)):
            return [name]
        case ast.If() | ast.Try():
            return [name for inner in statements_of([statement])[1:] for name in _defined_by(inner)]
    return []


def statements_of(body: Sequence[ast.stmt]) -> list[ast.stmt]:
    """All statements of a body, nested ones included."""
    found: list[ast.stmt] = []
    pending = list(body)
    while pending:
        statement = pending.pop()
        found.append(statement)
        for name in ("body", "orelse", "finalbody"):
            pending += getattr(statement, name, ())
        for handler in getattr(statement, "handlers", ()):
            pending += handler.body
    return found


def mentioned(node: ast.AST) -> frozenset[str]:
    """The names in a piece of code, as LibCST sees names: those of attributes, arguments and imports as well."""
    found: set[str | None] = set()
    for inner in ast.walk(node):
        match inner:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name) | ast.keyword(arg=name):
                found.add(name)
            case ast.alias():
                found.update((*inner.name.split("."), inner.asname))
    return frozenset(name for name in found if name is not None)
