"""The classes that wrong fixes and right rewrites are made of: which ones, and how their text is edited.

A subject is a class of a released package whose ``forward`` computes scores, takes a tensor first and gives one back,
alone or first of a tuple. Edits are made by positions in the text, so that all else stays byte by byte as it was.
"""

from __future__ import annotations

import ast
import hashlib
import re
import textwrap
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mha_lint import screen
from tests.bench.injection.code import Code, Edit, edited

Hints = dict[str, tuple[str | int | None, ...]]
HEADS = "num_heads n_heads heads num_attention_heads n_head nhead num_head h".split()
WIDTHS = (
    "dim_out out_dim embed_dim d_model hidden_size dim hidden_dim query_dim channels in_channels config.hidden_size"
    " config.embed_dim config.d_model config.dim"
).split()
HEAD_WIDTHS = "dim_head head_dim attn_head_dim attention_head_dim d_head kv_dim key_dim inner_dim".split()
_NO_LIBRARY = re.compile(r"(^|/)(tests?|testing|examples?|docs?|exporters|integrations)/|(^|/)modular_\w+\.py$")


@dataclass(frozen=True)
class Subject:
    """A class of a file.

    ``rank`` is that of forward's first input; 0 where it is not known to be 3. ``width`` is that of the result, as the
    constructor can say it; "" where it is not known.
    """

    package: str
    code: Code
    name: str
    hints: tuple[tuple[str, tuple[str | int | None, ...]], ...] = ()
    rank: int = 0
    width: str = ""

    @property
    def path(self) -> str:
        return str(self.code.path)

    @property
    def text(self) -> str:
        return self.code.data.decode()

    @property
    def forward_symbol(self) -> str:
        return f"{self.name}.forward"

    @property
    def init_symbol(self) -> str:
        return f"{self.name}.__init__"

    @cached_property
    def cls(self) -> ast.ClassDef:
        return next(node for node in self.code.tree.body if isinstance(node, ast.ClassDef) and node.name == self.name)

    @cached_property
    def forward(self) -> ast.FunctionDef:
        found = self.method("forward")
        assert found is not None
        return found

    @cached_property
    def init(self) -> ast.FunctionDef | None:
        return self.method("__init__")

    def method(self, name: str) -> ast.FunctionDef | None:
        found = [node for node in self.cls.body if isinstance(node, ast.FunctionDef) and node.name == name]
        return found[-1] if found else None

    @property
    def methods(self) -> list[ast.FunctionDef]:
        return [node for node in self.cls.body if isinstance(node, ast.FunctionDef)]

    @property
    def first(self) -> str:
        """The name of forward's first input."""
        return self.forward.args.args[1].arg

    @property
    def optional(self) -> list[tuple[ast.arg, ast.expr]]:
        """Forward's parameters that have a default, but for the first input."""
        return [pair for pair in with_defaults(self.forward) if pair[0].arg != self.first]

    @cached_property
    def class_text(self) -> str:
        return self.code.text(self.cls)

    @cached_property
    def forward_text(self) -> str:
        return self.code.text(self.forward)

    @cached_property
    def init_text(self) -> str:
        return self.code.text(self.init) if self.init else ""

    @cached_property
    def reads(self) -> set[str]:
        """Names that forward reads."""
        return {node.id for node in ast.walk(self.forward) if isinstance(node, ast.Name) and is_read(node)}

    @cached_property
    def attributes_read(self) -> set[str]:
        """Attributes of self that any method but the constructor reads."""
        others = [method for method in self.methods if method is not self.init]
        nodes = [node for method in others for node in ast.walk(method)]
        return {node.attr for node in nodes if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self"}

    @cached_property
    def heads(self) -> str:
        """The attribute that counts the heads; "" where there is none."""
        names = [name for name in HEADS if re.search(rf"self\.{name}\s*[:=]", self.init_text)]
        return f"self.{names[0]}" if names else ""

    @cached_property
    def returns(self) -> list[ast.Return]:
        """Forward's own statements that return a value."""
        return [node for node in own_nodes(self.forward) if isinstance(node, ast.Return) and node.value is not None]

    def serves(self) -> bool:
        """Its forward takes an input that must be given, returns something, and can be edited by rows."""
        forward = self.method("forward")
        if forward is None or len(forward.args.args) <= len(forward.args.defaults) + 1:
            return False
        if not re.search(rb"^import torch$", self.code.data, re.MULTILINE) or not self.returns:
            return False
        rows = [first_statement(forward), *self.returns, *(self.init.body[-1:] if self.init else [])]
        return all(starts_its_row(self.code, each) for each in rows)

    # --- texts

    def edit(self, *edits: Edit) -> str:
        return edited(self.code.data, edits).decode()

    def replaced(self, node: ast.expr | ast.stmt, content: str) -> str:
        return self.edit(self.code.replaced(node, content))

    def at_the_start(self, statements: str) -> list[Edit]:
        """Statements put before the first of forward."""
        return [self.lines_before(first_statement(self.forward), statements.format(x=self.first))]

    def at_the_result(self, statements: str, *, value: str = "outcome") -> list[Edit]:
        """Statements put before each return. In them ``{x}`` is the first input, ``{y}`` the first tensor returned.

        ``value`` is what is returned in that tensor's place.
        """
        edits: list[Edit] = []
        lines = statements.format(x="given", y="outcome")
        for each in self.returns:
            assert each.value is not None
            whole = each.value
            node = whole.elts[0] if isinstance(whole, ast.Tuple) else whole
            edits.append(self.lines_before(each, f"outcome = ({self.code.text(node)})\n{lines}"))
            edits.append(self.code.replaced(node, value))
        if "{x}" in statements or "given" in value:  # last, so that it comes before what is put at the same place
            edits += self.at_the_start("given = {x}")
        return edits

    def at_the_end_of_init(self, statements: str) -> list[Edit]:
        assert self.init is not None
        return [self.lines_after(self.init.body[-1], statements, own_indent(self.code, self.init.body[-1]))]

    def lines_before(self, statement: ast.stmt, lines: str) -> Edit:
        at = self.code.starts[statement.lineno - 1]
        return Edit(at, at, textwrap.indent(lines, own_indent(self.code, statement)) + "\n")

    def lines_after(self, statement: ast.stmt, lines: str, indent: str) -> Edit:
        at = self.code.end(statement)
        end = self.code.data.find(b"\n", at)  # a comment may follow
        at = len(self.code.data) if end < 0 else end
        return Edit(at, at, "\n" + textwrap.indent(lines, indent))


# --- small questions to a tree


def own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    """All nodes in a function, but for those of functions and classes inside."""
    for child in ast.iter_child_nodes(function):
        yield child
        if not isinstance(child, (ast.FunctionDef, ast.Lambda, ast.ClassDef, ast.AsyncFunctionDef)):
            yield from own_nodes(child)


def is_read(node: ast.Name | ast.Attribute) -> bool:
    return isinstance(node.ctx, ast.Load)


def with_defaults(function: ast.FunctionDef) -> list[tuple[ast.arg, ast.expr]]:
    spec = function.args
    positional = [*spec.posonlyargs, *spec.args]
    pairs = list(zip(positional[len(positional) - len(spec.defaults) :], spec.defaults, strict=True))
    return pairs + [(a, d) for a, d in zip(spec.kwonlyargs, spec.kw_defaults, strict=True) if d is not None]


def first_statement(function: ast.FunctionDef) -> ast.stmt:
    """The first that is no docstring."""
    first = function.body[0]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and len(function.body) > 1
    return function.body[1] if documented else first


def own_indent(code: Code, statement: ast.stmt) -> str:
    return code.data[code.starts[statement.lineno - 1] : code.start(statement)].decode()


def starts_its_row(code: Code, statement: ast.stmt) -> bool:
    return not own_indent(code, statement).strip()


def parses(text: str) -> bool:
    try:
        compile(text, "text", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return False
    return True


# --- which classes


@dataclass(frozen=True, slots=True)
class Named:
    """A class that may serve, by its file and name; ``digest`` is that of its tree: copies of a class have the same."""

    package: str
    path: Path
    name: str
    hints: tuple[tuple[str, tuple[str | int | None, ...]], ...]
    digest: str


def candidates(packages: Iterable[str], pool: Executor, wave: int) -> Iterator[Subject]:
    """Subjects in an order that is the same each time: packages in turn, files evenly spread, copies left out.

    ``wave`` files of each package are analysed at a time.
    """
    files = {package: _spread(_files(Path(package).resolve())) for package in packages}
    seen: set[str] = set()
    later: list[Named] = []
    for begin in range(0, max(map(len, files.values()), default=0), wave):
        rows = range(begin, begin + wave)
        asked = [(package, paths[row]) for row in rows for package, paths in files.items() if row < len(paths)]
        for group in pool.map(classes_of, *zip(*asked, strict=True)):
            fresh = [each for each in group if each.digest not in seen]
            seen.update(each.digest for each in fresh)
            later += fresh[2:]
            yield from (subject for each in fresh[:2] if (subject := subject_of(each)))
    yield from (subject for each in later if (subject := subject_of(each)))


def _files(folder: Path) -> list[Path]:
    found = [path for path in sorted(folder.rglob("*.py")) if not _NO_LIBRARY.search(str(path.relative_to(folder)))]
    return [path for path in found if _may_attend(path.read_bytes())]


def _may_attend(data: bytes) -> bool:
    return screen.admits(data) and bool(re.search(rb"softmax|scaled_dot_product|attention_interface", data))


def _spread(files: list[Path]) -> list[Path]:
    """The files in an order of which each beginning is evenly spread: by the reversed bits of their numbers."""
    width = max(len(files) - 1, 1).bit_length()
    numbers = [int(f"{index:0{width}b}"[::-1], 2) for index in range(2**width)]
    return [files[number] for number in numbers if number < len(files)]


def classes_of(package: str, path: Path) -> list[Named]:
    """The classes of a file whose ``forward`` computes scores, as the linter's model counts them."""

    from mha_lint.model.attention import analyse, is_module
    from mha_lint.model.hints import input_hints
    from mha_lint.syntax.module import Module

    data = path.read_bytes()
    try:
        model = analyse(Module(data.decode()))
        tree = ast.parse(data)
    except (RecursionError, ValueError, SyntaxError):
        return []
    nodes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    found: list[Named] = []
    for cls in model.names.every_class:
        forward = f"{cls.name}.forward"
        if forward in model.scored and is_module(cls) and cls.name in nodes:
            hints = tuple(input_hints(model, forward).items())
            found.append(Named(package, path, cls.name, hints, _digest(nodes[cls.name])))
    return found


def _digest(cls: ast.ClassDef) -> str:
    """Of the syntax tree without docstrings and without the name of the model."""
    body = "".join(ast.dump(node) for node in cls.body if not isinstance(node, ast.Expr))
    model = re.sub(r"(Self|Cross|Sdpa|Vision|Text)?(Attention\w*|Block)?$", "", cls.name)
    return hashlib.sha256((body.replace(model, "") if model else body).encode()).hexdigest()


def subject_of(named: Named) -> Subject | None:
    """The subject; None where it does not serve."""
    data = named.path.read_bytes()
    if b"\r" in data or data.startswith(b"\xef\xbb\xbf"):
        return None
    subject = Subject(named.package, Code(named.path, data, ast.parse(data)), named.name, named.hints)
    return subject if subject.serves() else None
