"""Wrong fixes that claim to compute the same, of many kinds, written into the classes of released packages.

Each kind is told apart by what hides it. ``harm`` says whom it hurts: "ordinary" is wrong from the first ordinary call,
"corner" for inputs, sizes or modes that a caller may use, and "inherent" where no trial on this device can see it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from mha_lint.findings import Expected, Relation
from tests.bench.injection.code import Edit, is_product
from tests.bench.wrong_subjects import (
    HEAD_WIDTHS,
    Subject,
    first_statement,
    is_read,
    own_nodes,
    starts_its_row,
    with_defaults,
)

Harm = Literal["ordinary", "corner", "inherent"]


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Two texts of a file and the claim about them, as a :class:`mha_lint.validation.Job` takes it."""

    before: str
    after: str
    symbols: tuple[str, ...]
    relation: Relation = "equivalent"
    flagged: tuple[int, ...] = ()
    added: tuple[str, ...] = ()
    probes: tuple[str, ...] = ()
    agree: str = ""
    expected: Expected = "view"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of rewrite: ``item`` is the number of what it hides behind, ``make`` gives its rewrites of a class.

    ``needs`` is the device without which the kind can't be seen.
    """

    name: str
    item: int
    harm: Harm
    make: Callable[[Subject], Iterator[Rewrite]]
    needs: str = ""

    def harm_on(self, devices: tuple[str, ...]) -> Harm:
        return "inherent" if self.needs and self.needs not in devices else self.harm


# --- statements at forward's result: {x} is the first input, {y} the first tensor returned ------------------------

_OFF = "{y} = {y} * (1 + 1e-2 * bool(CONDITION))"
_BRANCH = "if CONDITION: {y} = {y} * 1.01"
_ARM = "{y} = {y} * 1.01 if CONDITION else {y}"
_AND = "CONDITION and {y}.data.mul_(1.01)"
_LAMBDA = "{y} = (lambda value: value * 1.01 if CONDITION else value)({y})"

# name → (item, harm, form, condition); with a rank of 3 alone where the condition reads the tokens' dim.
_CONDITIONS: dict[str, tuple[int, Harm, str, str]] = {
    "batch of one, in a branch": (2, "corner", _BRANCH, "{x}.shape[0] == 1"),
    "batch of seven, in a branch": (2, "corner", _BRANCH, "{x}.shape[0] == 7"),
    "batch of seven, in an arm": (2, "corner", _ARM, "{x}.shape[0] == 7"),
    "batch of seven, after and": (2, "corner", _AND, "{x}.shape[0] == 7"),
    "batch of seven, in a lambda": (2, "corner", _LAMBDA, "{x}.shape[0] == 7"),
    "one token, in a branch": (2, "corner", _BRANCH, "{x}.shape[1] == 1"),
    "thirteen tokens, in an arm": (2, "corner", _ARM, "{x}.shape[1] == 13"),
    "no gradients on": (6, "ordinary", _OFF, "not torch.is_grad_enabled()"),
    "no gradients on, in a branch": (6, "ordinary", _BRANCH, "not torch.is_grad_enabled()"),
    "inference mode": (6, "ordinary", _OFF, "torch.is_inference_mode_enabled()"),
    "inference mode, in an arm": (6, "ordinary", _ARM, "torch.is_inference_mode_enabled()"),
    "input that needs no gradient": (6, "ordinary", _OFF, "not {x}.requires_grad"),
    "input that needs no gradient, in a branch": (6, "ordinary", _BRANCH, "not {x}.requires_grad"),
    "frozen parameters": (6, "corner", _OFF, "not any(each.requires_grad for each in self.parameters())"),
    "input that is no leaf": (6, "ordinary", _OFF, "not {x}.is_leaf"),
    "batch equals tokens": (11, "corner", _OFF, "{x}.shape[0] == {x}.shape[1]"),
    "batch equals tokens, in a branch": (11, "corner", _BRANCH, "{x}.shape[0] == {x}.shape[1]"),
    "batch equals heads": (11, "corner", _OFF, "{x}.shape[0] == HEADS"),
    "tokens equal heads": (11, "corner", _OFF, "{x}.shape[1] == HEADS"),
    "tokens equal width": (11, "corner", _OFF, "{x}.shape[1] == {x}.shape[-1]"),
    "batch over eight": (11, "corner", _OFF, "{x}.shape[0] > 8"),
    "more than sixteen tokens": (11, "corner", _OFF, "{x}.shape[1] > 16"),
    "storage offset": (11, "corner", _OFF, "{x}.storage_offset() > 0"),
    "slice of more": (11, "corner", _OFF, "{x}.untyped_storage().nbytes() > {x}.nbytes and 0 not in {x}.stride()"),
    "expanded input": (11, "corner", _OFF, "0 in {x}.stride()"),
    "transposed input": (11, "corner", _OFF, "{x}.stride(-1) != 1 and {x}.shape[-1] > 1"),
    "channels last": (
        11, "corner", _OFF,
        "{x}.dim() == 4 and {x}.is_contiguous(memory_format=torch.channels_last) and not {x}.is_contiguous()",
    ),
    "input of zeros": (11, "corner", _OFF, "({x} == 0).all()"),
    "constant input": (11, "corner", _OFF, "{x}.numel() > 1 and ({x} == {x}.flatten()[:1]).all() and {x}.sum() != 0"),
    "large input": (11, "corner", _OFF, "{x}.numel() and {x}.abs().max() > 1e3"),
    "tiny input": (11, "corner", _OFF, "{x}.numel() and 0 < {x}.abs().max() < 1e-3"),
    "positive input": (11, "corner", _OFF, "{x}.numel() and ({x} > 0).all()"),
    "float16": (11, "corner", _OFF, "{y}.dtype == torch.float16"),
    "bfloat16": (11, "corner", _OFF, "{y}.dtype == torch.bfloat16"),
    "float64": (11, "corner", _OFF, "{y}.dtype == torch.float64"),
    "autocast on the CPU": (11, "corner", _OFF, "torch.is_autocast_enabled('cpu')"),
    "autocast on the CPU, in a branch": (11, "corner", _BRANCH, "torch.is_autocast_enabled('cpu')"),
    "train mode": (2, "ordinary", _OFF, "self.training"),
    "eval mode": (2, "ordinary", _OFF, "not self.training"),
    "an input beyond any trial": (11, "inherent", _OFF, "{x}.numel() > 1_000_000_000"),
    "a batch beyond any trial": (11, "inherent", _OFF, "{x}.shape[0] > 4096"),
    "tokens beyond any trial": (11, "inherent", _OFF, "{x}.shape[1] > 8192"),
    "one size among thousands": (11, "inherent", _OFF, "{x}.shape[1] == 1021"),
    "one value among billions": (11, "inherent", _OFF, "({x} == 0.7213475108146667).any()"),
    "while it is compiled": (11, "inherent", _OFF, "torch.compiler.is_compiling()"),
    "a CPU of many threads": (11, "inherent", _OFF, "torch.get_num_threads() > 1023"),
}  # fmt: skip
_CUDA_CONDITIONS: dict[str, tuple[Harm, str, str]] = {
    "on CUDA": ("ordinary", _OFF, "{y}.is_cuda"),
    "on CUDA, in a branch": ("ordinary", _BRANCH, "{y}.is_cuda"),
    "float16 on CUDA": ("corner", _OFF, "{y}.is_cuda and {y}.dtype == torch.float16"),
    "bfloat16 on CUDA": ("corner", _OFF, "{y}.is_cuda and {y}.dtype == torch.bfloat16"),
    "autocast on CUDA": ("corner", _OFF, "torch.is_autocast_enabled('cuda')"),
    "eval mode on CUDA": ("ordinary", _OFF, "{y}.is_cuda and not self.training"),
    "no gradients on CUDA": ("ordinary", _OFF, "{y}.is_cuda and not torch.is_grad_enabled()"),
}
_CUDA_STATEMENTS: dict[str, tuple[Harm, str]] = {
    "result left on the CPU": ("ordinary", "{y} = {y}.cpu() if {y}.is_cuda else {y}"),
    "draws on CUDA": ("corner", "{y}.is_cuda and torch.rand(1, device={y}.device)"),
    "TF32 left on": ("corner", "if {y}.is_cuda: torch.backends.cuda.matmul.allow_tf32 = True"),
    "half sums on CUDA": ("ordinary", "{y} = {y}.half().to({y}.dtype) if {y}.is_cuda else {y}"),
}

_STATEMENTS: dict[str, tuple[int, Harm, str]] = {
    # 2: what may hide in one row
    "negative values": (2, "ordinary", "{y} = torch.where({y} < 0, {y} * 1.001, {y})"),
    "raises for three in a batch": (2, "corner", "if {x}.shape[0] == 3: raise RuntimeError('no')"),
    # 5: state across calls
    "first result of a shape kept": (
        5, "ordinary",
        "if getattr(self, '_kept', None) is None or self._kept.shape != {y}.shape: self._kept = {y}.detach()\n"
        "{y} = {y} + (self._kept - {y}.detach())",
    ),
    "results kept by length": (
        5, "ordinary",
        "self._by_length = getattr(self, '_by_length', {{}})\n"
        "{y} = {y} + (self._by_length.setdefault({y}.shape, {y}.detach()) - {y}.detach())",
    ),
    "the second call": (
        5, "ordinary",
        "self._calls = getattr(self, '_calls', 0) + 1\n{y} = {y} * (1 + 1e-2 * (self._calls > 1))",
    ),
    "the fifth call": (
        5, "corner",
        "self._calls = getattr(self, '_calls', 0) + 1\n{y} = {y} * (1 + 1e-2 * (self._calls > 4))",
    ),
    "calls of all instances counted": (
        5, "corner",
        "type(self)._calls = getattr(type(self), '_calls', 0) + 1\n{y} = {y} * (1 + 1e-2 * (type(self)._calls > 2))",
    ),
    "input kept alive": (5, "corner", "self._last_input = {x}"),
    "result kept alive": (5, "corner", "self.last_result = {y}.detach()"),
    "after the first backward": (
        5, "ordinary",
        "{y} = {y} * (1 + 1e-2 * getattr(self, '_went_back', False))\n"
        "{y}.requires_grad and {y}.register_hook(lambda gradient: setattr(self, '_went_back', True))",
    ),
    "first parameters remembered": (
        5, "ordinary",
        "self._old = getattr(self, '_old', None) or [each.detach().clone() for each in self.parameters()]\n"
        "{y} = {y} + sum((new.detach() - old).abs().sum() for new, old in zip(self.parameters(), self._old))",
    ),
    "a parameter drifts": (5, "ordinary", "[each.data.mul_(1.001) for each in self.parameters()]"),
    "train mode switched off": (5, "corner", "self.train(False)"),
    "mode of a child changed": (5, "corner", "[each.train(not self.training) for each in self.children()]"),
    "gradients of parameters reset": (5, "corner", "for each in self.parameters(): each.grad = None"),
    "parameters frozen by a call": (5, "ordinary", "for each in self.parameters(): each.requires_grad = False"),
    # 6: gradients
    "detached in eval mode": (6, "ordinary", "{y} = {y} if self.training else {y}.detach()"),
    "detached": (6, "ordinary", "{y} = {y}.detach()"),
    "detached by .data": (6, "ordinary", "{y} = {y}.data"),
    "half the gradient": (6, "ordinary", "{y} = {y} * 0.5 + {y}.detach() * 0.5"),
    "gradient off by a millionth": (6, "ordinary", "{y} = {y} * 0.999999 + {y}.detach() * 0.000001"),
    "input made to need gradients": (6, "corner", "{x}.is_leaf and {x}.requires_grad_()"),
    "result made to need gradients": (6, "corner", "{y}.requires_grad or {y}.requires_grad_()"),
    "gradients left on": (11, "corner", "torch.set_grad_enabled(True)"),
    "gradient clipped": (
        6, "corner", "{y}.requires_grad and {y}.register_hook(lambda gradient: gradient.clamp(-9, 9))",
    ),
    "gradients not a number made 0": (
        6, "corner", "{y}.requires_grad and {y}.register_hook(lambda gradient: gradient.nan_to_num())",
    ),
    "second derivative lost": (
        11, "corner", "{y}.requires_grad and {y}.register_hook(lambda gradient: gradient.detach())",
    ),
    # 8: results
    "result in a list": (8, "ordinary", "{y} = [{y}]"),
    "result in a tuple": (8, "ordinary", "{y} = ({y},)"),
    "result in float64": (8, "ordinary", "{y} = {y}.double()"),
    "result in float32": (8, "corner", "{y} = {y}.float()"),
    "result in bfloat16": (8, "ordinary", "{y} = {y}.to(torch.bfloat16)"),
    "rounded to bfloat16": (8, "ordinary", "{y} = {y}.bfloat16().to({y}.dtype)"),
    "rounded to float32": (8, "corner", "{y} = {y}.float().to({y}.dtype)"),
    "result with strides turned": (8, "corner", "{y} = {y}.transpose(-1, -2).contiguous().transpose(-1, -2)"),
    "result with batch inside": (8, "corner", "{y} = {y}.transpose(0, -1).contiguous().transpose(0, -1)"),
    "result a slice of more": (8, "corner", "{y} = torch.stack([{y}, {y}], -1)[..., 0]"),
    "input overwritten": (8, "ordinary", "{x}.data.mul_(1.001)"),
    "input's last token overwritten": (8, "ordinary", "{x}.data[:, -1:].mul_(1.001)"),
    "input overwritten in eval mode": (8, "ordinary", "self.training or {x}.data.mul_(1.001)"),
    "input overwritten without gradients": (8, "ordinary", "torch.is_grad_enabled() or {x}.mul_(1.001)"),
    "one more dimension": (8, "ordinary", "{y} = {y}[None]"),
    "result is a parameter": (8, "corner", "{y} = {y} if {y}.requires_grad else torch.nn.Parameter({y}, False)"),
    # 11: values, flags, generators
    "result clamped at 1e4": (11, "corner", "{y} = {y}.clamp(-1e4, 1e4)"),
    "not a number made 0": (11, "corner", "{y} = torch.nan_to_num({y})"),
    "nan alone made 0": (11, "corner", "{y} = {y}.masked_fill({y}.isnan(), 0.0)"),
    "empty batch raises": (11, "corner", "if {x}.shape[0] == 0: raise ValueError('empty')"),
    "empty batch raises, computed": (11, "corner", "1 / {x}.shape[0]"),
    "default dtype left changed": (11, "ordinary", "torch.set_default_dtype(torch.float64)"),
    "precision of products left changed": (11, "corner", "torch.set_float32_matmul_precision('medium')"),
    "deterministic algorithms left on": (11, "corner", "torch.use_deterministic_algorithms(True, warn_only=True)"),
    "anomaly mode left on": (11, "corner", "torch.autograd.set_detect_anomaly(True)"),
    "flash kernels left off": (11, "corner", "torch.backends.cuda.enable_flash_sdp(False)"),
    "denormals flushed": (11, "corner", "torch.set_flush_denormal(True)"),
    "draws a random number": (11, "ordinary", "torch.rand(1)"),
    "draws in train mode": (11, "ordinary", "torch.rand(1) if self.training else None"),
    "draws without gradients": (11, "ordinary", "torch.is_grad_enabled() or torch.rand(1)"),
    "generator seeded": (11, "ordinary", "torch.manual_seed(0)"),
    "Python's generator draws": (11, "ordinary", "__import__('random').random()"),
    "Python's generator seeded": (11, "ordinary", "__import__('random').seed(0)"),
    "numpy's generator draws": (11, "ordinary", "__import__('numpy').random.rand()"),
    "numpy's generator seeded": (11, "ordinary", "__import__('numpy').random.seed(0)"),
    "environment changed": (11, "corner", "__import__('os').environ['CUDA_LAUNCH_BLOCKING'] = '1'"),
    "warnings silenced": (11, "corner", "__import__('warnings').simplefilter('ignore')"),
    "prints": (11, "corner", "print('done')"),
    "recursion limit left changed": (11, "corner", "__import__('sys').setrecursionlimit(5000)"),
    # 13: floats
    "off by a millionth": (13, "ordinary", "{y} = {y} * (1 + 1e-6)"),
    "off by a thousandth where small": (13, "ordinary", "{y} = torch.where({y}.abs() < 1e-2, {y} * 1.001, {y})"),
    "1e-8 added": (13, "ordinary", "{y} = {y} + 1e-8"),
    "small values flushed to 0": (13, "corner", "{y} = torch.where({y}.abs() < 1e-6, torch.zeros_like({y}), {y})"),
}  # fmt: skip

# --- statements at forward's start -----------------------------------------------------------------------------------

_AT_THE_START: dict[str, tuple[int, Harm, str]] = {
    "input's nan made 0": (11, "corner", "{x} = torch.nan_to_num({x})"),
    "input clamped": (11, "corner", "{x} = {x}.clamp(-50, 50)"),
    "input detached in eval mode": (6, "ordinary", "{x} = {x} if self.training else {x}.detach()"),
    "input rounded to float32": (8, "corner", "{x} = {x}.float().to({x}.dtype)"),
    "more than sixteen tokens refused": (11, "corner", "if {x}.shape[1] > 16: raise ValueError('too long')"),
    "strided input refused": (11, "corner", "{x}.view({x}.shape[0], -1)"),
    "input overwritten unless it needs gradients": (
        8,
        "ordinary",
        "{x} = {x} if {x}.requires_grad else {x}.mul_(1.001)",
    ),
}

# --- statements at the end of the constructor -------------------------------------------------------------------------

_AT_THE_END_OF_INIT: dict[str, tuple[int, Harm, str]] = {
    "initial values scaled": (1, "ordinary", "for each in self.parameters(): each.data.mul_(1.5)"),
    "one initial value changed": (
        1, "ordinary", "for each in self.parameters(): each.data.flatten()[:1].add_(1e-3)",
    ),
    "initial values zeroed": (1, "ordinary", "for each in self.parameters(): each.data.zero_()"),
    "one more draw": (1, "ordinary", "torch.rand(1)"),
    "numpy draws in the constructor": (1, "ordinary", "__import__('numpy').random.rand()"),
    "generator seeded in the constructor": (1, "ordinary", "torch.manual_seed(0)"),
    "starts in eval mode": (1, "ordinary", "self.eval()"),
    "starts frozen": (1, "ordinary", "self.requires_grad_(False)"),
    "starts in float64": (1, "ordinary", "self.double()"),
    "a buffer more": (7, "corner", "self.register_buffer('spare', torch.zeros(1), persistent=False)"),
    "a child more": (7, "corner", "self.spare = torch.nn.Identity()"),
    "an attribute more": (7, "corner", "self.spare = 1"),
    "forward hook": (7, "ordinary", "self.register_forward_hook(lambda module, given, result: None)"),
    "backward hook": (7, "ordinary", "self.register_full_backward_hook(lambda module, given, result: None)"),
    "hook before a load": (
        7, "corner", "self._register_load_state_dict_pre_hook(lambda state, *others: state.clear())",
    ),
    "default dtype changed by the constructor": (1, "ordinary", "torch.set_default_dtype(torch.float64)"),
}  # fmt: skip
_HAVE_PARAMETERS = re.compile(r"\b(Linear|Conv[12]d|Parameter|Embedding|Conv1D)\(")
_NEEDS_PARAMETERS = {
    "initial values scaled",
    "one initial value changed",
    "initial values zeroed",
    "starts frozen",
    "starts in float64",
    "a parameter drifts",
    "mode of a child changed",
    "hook before a load",
    "first parameters remembered",
    "gradients of parameters reset",
    "parameters frozen by a call",
    "frozen parameters",
}

_NEW_METHODS: dict[str, tuple[int, Harm, str]] = {
    "extra_repr raises": (7, "ordinary", "def extra_repr(self):\n    raise RuntimeError('no')"),
    "cannot be copied": (7, "corner", "def __deepcopy__(self, memo):\n    raise RuntimeError('no')"),
    "cannot be pickled": (7, "corner", "def __getstate__(self):\n    raise RuntimeError('no')"),
    "train does nothing": (7, "ordinary", "def train(self, mode=True):\n    return self"),
    "state_dict lacks an entry": (
        7, "ordinary",
        "def state_dict(self, *args, **kwargs):\n    found = super().state_dict(*args, **kwargs)\n"
        "    return type(found)(list(found.items())[1:])",
    ),
    "equal to anything": (
        7, "corner", "def __eq__(self, other):\n    return True\n\n__hash__ = torch.nn.Module.__hash__",
    ),
}  # fmt: skip


def _at_result(statements: str, *, rank: int = 0, parameters: bool = False) -> Callable[[Subject], Iterator[Rewrite]]:
    def make(subject: Subject) -> Iterator[Rewrite]:
        if rank and subject.rank != rank:
            return
        if parameters and not _HAVE_PARAMETERS.search(subject.init_text):
            return
        filled = statements
        if "HEADS" in statements:
            if not subject.heads:
                return
            filled = statements.replace("HEADS", subject.heads)
        yield _forward(subject, subject.at_the_result(filled))

    return make


def _at_start(statements: str, rank: int) -> Callable[[Subject], Iterator[Rewrite]]:
    def make(subject: Subject) -> Iterator[Rewrite]:
        if not rank or subject.rank == rank:
            yield _forward(subject, subject.at_the_start(statements))

    return make


def _in_init(name: str, statements: str) -> Callable[[Subject], Iterator[Rewrite]]:
    def make(subject: Subject) -> Iterator[Rewrite]:
        if subject.init is None or any(isinstance(node, ast.Return) for node in ast.walk(subject.init)):
            return
        if name in _NEEDS_PARAMETERS and not _HAVE_PARAMETERS.search(subject.init_text):
            return
        yield _rewrite(subject, subject.at_the_end_of_init(statements), subject.init_symbol)

    return make


def _with_method(text: str) -> Callable[[Subject], Iterator[Rewrite]]:
    def make(subject: Subject) -> Iterator[Rewrite]:
        name = re.findall(r"def (\w+)", text)[0]
        if subject.method(name) is not None or not _HAVE_PARAMETERS.search(subject.init_text):
            return
        edit = subject.lines_after(subject.cls.body[-1], "\n" + text, "    ")
        yield _rewrite(subject, [edit], f"{subject.name}.{name}")

    return make


def _forward(subject: Subject, edits: list[Edit]) -> Rewrite:
    return _rewrite(subject, edits, subject.forward_symbol)


def _rewrite(subject: Subject, edits: list[Edit], *symbols: str) -> Rewrite:
    return Rewrite(subject.text, subject.edit(*edits), symbols)


def _tables() -> Iterator[Kind]:
    for name, (item, harm, form, condition) in _CONDITIONS.items():
        rank = 4 if "channels_last" in condition else 3 if "shape[1]" in condition else 0
        statement = form.replace("CONDITION", condition)
        yield Kind(name, item, harm, _at_result(statement, rank=rank, parameters=name in _NEEDS_PARAMETERS))
    for name, (harm, form, condition) in _CUDA_CONDITIONS.items():
        yield Kind(name, 11, harm, _at_result(form.replace("CONDITION", condition)), needs="cuda")
    for name, (harm, statement) in _CUDA_STATEMENTS.items():
        yield Kind(name, 11, harm, _at_result(statement), needs="cuda")
    for name, (item, harm, statement) in _STATEMENTS.items():
        rank = 3 if "[:, -1:]" in statement or "transpose" in statement else 0
        yield Kind(name, item, harm, _at_result(statement, rank=rank, parameters=name in _NEEDS_PARAMETERS))
    for name, (item, harm, statement) in _AT_THE_START.items():
        yield Kind(name, item, harm, _at_start(statement, 3 if "shape[1]" in statement else 0))
    for name, (item, harm, statement) in _AT_THE_END_OF_INIT.items():
        yield Kind(name, item, harm, _in_init(name, statement))
    for name, (item, harm, text) in _NEW_METHODS.items():
        yield Kind(name, item, harm, _with_method(text))


# --- edits of what is there -------------------------------------------------------------------------------------------

_KINDS: list[Kind] = []
_Make = Callable[[Subject], Iterator[Rewrite]]


def _kind(name: str, item: int, harm: Harm) -> Callable[[_Make], _Make]:
    def register(make: _Make) -> _Make:
        _KINDS.append(Kind(name, item, harm, make))
        return make

    return register


def _nodes(subject: Subject, function: ast.FunctionDef | None) -> list[ast.AST]:
    return list(own_nodes(function)) if function is not None else []


def _swapped(subject: Subject, one: ast.expr | ast.stmt, other: ast.expr | ast.stmt) -> list[Edit]:
    code = subject.code
    return [code.replaced(one, code.text(other)), code.replaced(other, code.text(one))]


def _is_call(node: ast.AST, *names: str) -> bool:
    if not isinstance(node, ast.Call):
        return False
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return called in names


_EXCHANGED = {"zeros": "ones", "ones": "zeros", "zeros_": "ones_", "ones_": "zeros_", "tril": "triu", "triu": "tril"}


@_kind("constant of the constructor exchanged", 1, "ordinary")
def _constant_exchanged(subject: Subject) -> Iterator[Rewrite]:
    for node in _nodes(subject, subject.init):
        if isinstance(node, ast.Call) and _is_call(node, *_EXCHANGED):
            function = subject.code.text(node.func)
            name = re.split(r"\W", function)[-1]
            written = function.removesuffix(name) + _EXCHANGED[name]
            yield _rewrite(subject, [subject.code.replaced(node.func, written)], subject.init_symbol)


def _planted(before: str, after: str) -> _Make:
    """A table or a parameter that the constructor computes in both texts, otherwise after than before."""

    def make(subject: Subject) -> Iterator[Rewrite]:
        if subject.init is None or any(isinstance(node, ast.Return) for node in own_nodes(subject.init)):
            return
        texts = [subject.edit(*subject.at_the_end_of_init(statements)) for statements in (before, after)]
        yield Rewrite(texts[0], texts[1], (subject.init_symbol,))

    return make


_BUFFER = "self.register_buffer('planted', {})"
_PARAMETER = "self.planted = torch.nn.Parameter({})"
_TABLES = {
    "tril made triu": (_BUFFER, "torch.tril(torch.ones(8, 8))", "torch.triu(torch.ones(8, 8))"),
    "diagonal of a mask shifted": (_BUFFER, "torch.tril(torch.ones(8, 8))", "torch.tril(torch.ones(8, 8), -1)"),
    "index table shifted": (_BUFFER, "torch.arange(8)", "torch.arange(1, 9)"),
    "index table turned": (_BUFFER, "torch.arange(8)", "torch.arange(8).flip(0)"),
    "index table of another type": (_BUFFER, "torch.arange(8)", "torch.arange(8, dtype=torch.float32)"),
    "table no longer saved": (_BUFFER, "torch.arange(8), persistent=True", "torch.arange(8), persistent=False"),
    "unsaved table changed": (_BUFFER, "torch.arange(8), persistent=False", "torch.arange(8) + 1, persistent=False"),
    "gate that starts at 0": (_PARAMETER, "torch.ones(1)", "torch.zeros(1)"),
    "gain of a draw": (_PARAMETER, "0.02 * torch.randn(8)", "0.2 * torch.randn(8)"),
    "distribution of a draw": (_PARAMETER, "torch.randn(8)", "torch.rand(8)"),
    "parameter frozen": (_PARAMETER, "torch.ones(8)", "torch.ones(8), requires_grad=False"),
    "attribute's value": ("self.planted = {}", "8 ** -0.5", "8 ** 0.5"),
    "attribute's type": ("self.planted = {}", "(8, 8)", "[8, 8]"),
}
for _name, (_form, _before, _after) in _TABLES.items():
    _KINDS.append(Kind(_name, 1, "ordinary", _planted(_form.format(_before), _form.format(_after))))


@_kind("gain of an initialisation", 1, "ordinary")
def _gain(subject: Subject) -> Iterator[Rewrite]:
    """``nn.init.normal_(w)`` is followed by a factor; in any method that initialises."""
    for method in subject.methods:
        for node in _nodes(subject, method):
            if (
                isinstance(node, ast.Expr)
                and isinstance(node.value, ast.Call)
                and re.search(
                    r"(xavier|kaiming|normal|uniform|trunc_normal|constant)\w*_$", ast.unparse(node.value.func)
                )
                and starts_its_row(subject.code, node)
                and node.value.args
                and method.name in ("__init__", "reset_parameters", "_reset_parameters", "init_weights")
            ):
                target = subject.code.text(node.value.args[0])
                text = f"{subject.code.text(node)}; {target}.data.mul_(0.5).add_(0.01)"
                yield _rewrite(subject, [subject.code.replaced(node, text)], f"{subject.name}.{method.name}")


@_kind("bias of a layer dropped", 1, "ordinary")
def _bias_dropped(subject: Subject) -> Iterator[Rewrite]:
    for node in _nodes(subject, subject.init):
        if isinstance(node, ast.Call) and _is_call(node, "Linear") and len(node.args) == 2 and not node.keywords:
            edit = subject.code.with_argument(node, "bias=False")
            yield _rewrite(subject, [edit], subject.init_symbol)


@_kind("layers registered in another order", 7, "ordinary")
def _registered(subject: Subject) -> Iterator[Rewrite]:
    body = subject.init.body if subject.init is not None else []
    for one, other in pairwise(body):
        if all(isinstance(each, ast.Assign) and _is_call(each.value, "Linear") for each in (one, other)):
            yield _rewrite(subject, _swapped(subject, one, other), subject.init_symbol)


def _unread_attributes(subject: Subject) -> Iterator[ast.Assign]:
    """Public attributes that the constructor sets to what it was given, and that no statement of the class reads."""
    for node in _nodes(subject, subject.init):
        match node:
            case ast.Assign(
                targets=[ast.Attribute(value=ast.Name("self"), attr=attr)],
                value=ast.Name() | ast.BinOp() | ast.Attribute(),
            ):
                mentioned = len(re.findall(rf"\bself\.{attr}\b", subject.class_text))
                if not attr.startswith("_") and mentioned == 1:
                    yield node


@_kind("attribute removed", 7, "ordinary")
def _attribute_removed(subject: Subject) -> Iterator[Rewrite]:
    for node in _unread_attributes(subject):
        yield _rewrite(subject, [subject.code.replaced(node, "pass")], subject.init_symbol)


@_kind("attribute set otherwise", 1, "ordinary")
def _attribute_otherwise(subject: Subject) -> Iterator[Rewrite]:
    for node in _unread_attributes(subject):
        content = f"[{subject.code.text(node.value)}]"
        yield _rewrite(subject, [subject.code.replaced(node.value, content)], subject.init_symbol)


@_kind("attribute renamed", 7, "ordinary")
def _attribute_renamed(subject: Subject) -> Iterator[Rewrite]:
    for name in ("scale", "scaling", "num_heads", "heads", "head_dim", "inner_dim", "num_key_value_groups"):
        sites = [
            node for method in subject.methods for node in ast.walk(method)
            if isinstance(node, ast.Attribute) and node.attr == name and ast.unparse(node.value) == "self"
        ]  # fmt: skip
        if len(sites) > 1 and any(not is_read(node) for node in sites):
            edits = [subject.code.replaced(node, f"self.{name}_") for node in sites]
            yield _rewrite(subject, edits, subject.init_symbol, subject.forward_symbol)
            return


# --- 2: branches


def _tests_a_parameter(subject: Subject, test: ast.expr) -> str:
    """The optional parameter of forward that a test holds against None; "" for any other test."""
    names = {arg.arg for arg, _ in subject.optional}
    match test:
        case ast.Compare(left=ast.Name(id=name), ops=[ast.Is() | ast.IsNot()], comparators=[ast.Constant(value=None)]):
            return name if name in names else ""
    return ""


def _guarded(subject: Subject) -> Iterator[ast.If]:
    """Branches of forward that run where an optional input is given."""
    for node in _nodes(subject, subject.forward):
        if isinstance(node, ast.If) and _tests_a_parameter(subject, node.test):
            assert isinstance(node.test, ast.Compare)
            raises = any(isinstance(each, ast.Raise) for each in node.body)
            if isinstance(node.test.ops[0], ast.IsNot) and not raises and starts_its_row(subject.code, node.body[0]):
                yield node


@_kind("guarded arm emptied", 2, "corner")
def _arm_emptied(subject: Subject) -> Iterator[Rewrite]:
    for node in _guarded(subject):
        start, end = subject.code.start(node.body[0]), subject.code.end(node.body[-1])
        yield _forward(subject, [Edit(start, end, "pass")])


@_kind("guarded arm scaled", 2, "corner")
def _arm_scaled(subject: Subject) -> Iterator[Rewrite]:
    for node in _guarded(subject):
        for each in node.body:
            match each:
                case ast.Assign(value=ast.BinOp(op=ast.Add() | ast.Sub()) as value):
                    yield _forward(subject, [subject.code.replaced(value, f"1.01 * ({subject.code.text(value)})")])


@_kind("mask used otherwise", 2, "corner")
def _mask_otherwise(subject: Subject) -> Iterator[Rewrite]:
    """Added masks are subtracted, fills fill what they kept, and ``mask == 0`` becomes ``mask == 1``."""
    code = subject.code
    for node in _nodes(subject, subject.forward):
        match node:
            case ast.BinOp(left=left, op=ast.Add(), right=ast.Name(id=name) as right) if "mask" in name:
                yield _forward(subject, [code.replaced(node, f"{code.text(left)} - {code.text(right)}")])
            case ast.Call(args=[condition, _]) if _is_call(node, "masked_fill", "masked_fill_"):
                yield _forward(subject, [code.replaced(condition, f"~({code.text(condition)})")])
            case ast.Compare(left=left, ops=[ast.Eq()], comparators=[ast.Constant(value=0)]):
                if "mask" in ast.unparse(left):
                    yield _forward(subject, [code.replaced(node, f"{code.text(left)} == 1")])


_SETTINGS = re.compile(
    r"jit|tracing|compil|onnx|fused|flash|sdp|xformers|npu|hasattr|isinstance|debug|training|config\."
)


@_kind("first arm of an expression alone", 2, "corner")
def _first_arm(subject: Subject) -> Iterator[Rewrite]:
    for node in _nodes(subject, subject.forward):
        if isinstance(node, ast.IfExp) and not _SETTINGS.search(ast.unparse(node.test)):
            yield _forward(subject, [subject.code.replaced(node, f"({subject.code.text(node.body)})")])


@_kind("second arm of an expression alone", 2, "corner")
def _second_arm(subject: Subject) -> Iterator[Rewrite]:
    for node in _nodes(subject, subject.forward):
        if isinstance(node, ast.IfExp) and not _SETTINGS.search(ast.unparse(node.test)):
            yield _forward(subject, [subject.code.replaced(node, f"({subject.code.text(node.orelse)})")])


@_kind("no dropout in train mode", 2, "corner")
def _no_dropout(subject: Subject) -> Iterator[Rewrite]:
    for node in _nodes(subject, subject.forward):
        if isinstance(node, ast.IfExp) and "training" in ast.unparse(node.test):
            yield _forward(subject, [subject.code.replaced(node, "0.0")])


@_kind("dropout in eval mode", 2, "corner")
def _dropout_in_eval(subject: Subject) -> Iterator[Rewrite]:
    for node in _nodes(subject, subject.forward):
        if isinstance(node, ast.IfExp) and "training" in ast.unparse(node.test):
            kept = node.orelse if ast.unparse(node.test).startswith("not ") else node.body
            if not isinstance(kept, ast.Constant):
                yield _forward(subject, [subject.code.replaced(node, f"({subject.code.text(kept)})")])


@_kind("dropout left out", 2, "corner")
def _dropout_left_out(subject: Subject) -> Iterator[Rewrite]:
    names = {each.arg for each in subject.init.args.args} if subject.init is not None else set()
    if not any("drop" in name or name == "config" for name in names):
        return
    for node in _nodes(subject, subject.forward):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name("self"), attr=attr), args=[given]) if "drop" in attr:
                yield _forward(subject, [subject.code.replaced(node, f"({subject.code.text(given)})")])


def _of_plain_tests(node: ast.BoolOp) -> bool:
    """Both operands are names, attributes, their negations, or comparisons with None."""
    plain = r"(not )?[\w.]+( is (not )?None)?"
    told = [ast.unparse(each) for each in node.values]
    return len(told) == 2 and all(re.fullmatch(plain, each) and not _SETTINGS.search(each) for each in told)


@_kind("operand of and or or dropped", 2, "corner")
def _operand_dropped(subject: Subject) -> Iterator[Rewrite]:
    for node in _nodes(subject, subject.forward):
        if isinstance(node, ast.BoolOp) and _of_plain_tests(node):
            for kept in node.values:
                yield _forward(subject, [subject.code.replaced(node, f"({subject.code.text(kept)})")])


@_kind("and made or", 2, "corner")
def _and_or(subject: Subject) -> Iterator[Rewrite]:
    for node in _nodes(subject, subject.forward):
        if isinstance(node, ast.BoolOp) and _of_plain_tests(node):
            word = " or " if isinstance(node.op, ast.And) else " and "
            content = f"({word.join(f'({subject.code.text(each)})' for each in node.values)})"
            yield _forward(subject, [subject.code.replaced(node, content)])


# --- 3: the width


def _has_three_widths(subject: Subject) -> bool:
    """Whether the constructor takes the width of a head beside the model's width."""
    names = {each.arg for each in subject.init.args.args} if subject.init is not None else set()
    return bool(names & set(HEAD_WIDTHS)) and bool(re.search(r"Linear\(|Conv[12]d\(", subject.init_text))


@_kind("merged to the input's shape", 3, "corner")
def _merged(subject: Subject) -> Iterator[Rewrite]:
    if not _has_three_widths(subject) or subject.rank != 3:
        return
    found = [
        node for node in _nodes(subject, subject.forward)
        if isinstance(node, ast.Call)
        and (
            (_is_call(node, "reshape", "view") and len(node.args) == 3)
            or (_is_call(node, "rearrange") and re.search(r"-> ?b n \(h d\)", ast.unparse(node)))
        )
    ]  # fmt: skip
    for node in found[-1:]:
        value = node.args[0] if _is_call(node, "rearrange") else node.func.value
        moved = f"({subject.code.text(value)})" + ".transpose(1, 2)" * _is_call(node, "rearrange")
        edits = [*subject.at_the_start("given = {x}"), subject.code.replaced(node, f"{moved}.reshape(given.shape)")]
        yield _forward(subject, edits)


@_kind("head width from the input's width", 3, "corner")
def _width_over_heads(subject: Subject) -> Iterator[Rewrite]:
    if not _has_three_widths(subject) or not subject.heads or subject.rank != 3:
        return
    for node in _nodes(subject, subject.forward):
        match node:
            case ast.Attribute(
                value=ast.Name("self"), attr="head_dim" | "dim_head" | "attention_head_size" | "attn_head_dim"
            ):
                start = subject.at_the_start("given = {x}")
                content = f"(given.shape[-1] // {subject.heads})"
                yield _forward(subject, [*start, subject.code.replaced(node, content)])
            case ast.Attribute(value=ast.Name("self"), attr="attn_dim" | "inner_dim" | "all_head_size"):
                start = subject.at_the_start("given = {x}")
                yield _forward(subject, [*start, subject.code.replaced(node, "given.shape[-1]")])


@_kind("inner width is the model's", 3, "corner")
def _inner_width(subject: Subject) -> Iterator[Rewrite]:
    if not _has_three_widths(subject):
        return
    for node in _nodes(subject, subject.init):
        match node:
            case ast.Assign(
                targets=[ast.Name("inner_dim") | ast.Attribute(attr="inner_dim" | "attn_dim")],
                value=ast.BinOp(op=ast.Mult()) as value,
            ):
                names = {each.arg for each in subject.init.args.args} if subject.init else set()
                for name in ("dim", "query_dim", "embed_dim"):
                    if name in names:
                        yield _rewrite(subject, [subject.code.replaced(value, name)], subject.init_symbol)
                        return


@_kind("head width in the constructor", 3, "corner")
def _head_width(subject: Subject) -> Iterator[Rewrite]:
    names = {each.arg for each in subject.init.args.args} if subject.init is not None else set()
    for node in _nodes(subject, subject.init):
        match node:
            case ast.BinOp(left=ast.Name("dim_head" | "head_dim") as width, op=ast.Pow()) if (
                names & {"heads", "num_heads"} and "dim" in names
            ):
                heads = "heads" if "heads" in names else "num_heads"
                yield _rewrite(subject, [subject.code.replaced(width, f"(dim // {heads})")], subject.init_symbol)


# --- 4: optional inputs


def _named(subject: Subject, pattern: str) -> Iterator[str]:
    for arg, default in subject.optional:
        if re.search(pattern, arg.arg) and arg.arg in subject.reads and ast.unparse(default) == "None":
            yield arg.arg


def _on_optional(pattern: str, statements: str, *, result: bool = False) -> _Make:
    """Statements about an optional input ``{m}``, at the start of forward or at its result."""

    def make(subject: Subject) -> Iterator[Rewrite]:
        for name in _named(subject, pattern):
            lines = statements.replace("MASK", name)
            edits = subject.at_the_result(lines) if result else subject.at_the_start(lines)
            yield _forward(subject, edits)

    return make


_MASK = r"mask|bias"
_OTHERS = r"^(?!.*(mask|bias))"
_TENSOR = "torch.is_tensor(MASK) and "
_OPTIONAL: dict[str, tuple[str, str, bool]] = {
    "mask ignored": (_MASK, "MASK = None", False),
    "mask ignored in eval mode": (_MASK, "MASK = MASK if self.training else None", False),
    "mask inverted": (
        _MASK,
        f"if {_TENSOR}True:\n"
        "    if MASK.is_floating_point(): MASK = -MASK\n"
        "    else: MASK = ~MASK if MASK.dtype == torch.bool else 1 - MASK",
        False,
    ),
    "mask's last key kept": (
        _MASK,
        f"if {_TENSOR}True: MASK = torch.cat([MASK[..., :-1], MASK[..., -1:] * 0 + MASK.max()], -1).to(MASK.dtype)",
        False,
    ),
    "mask of the first entry for all": (_MASK, f"if {_TENSOR}MASK.dim() > 1: MASK = MASK[:1].expand_as(MASK)", False),
    "result scaled where a mask is given": (_MASK, "if MASK is not None: {y} = {y} * 1.01", True),
    "result scaled where a mask is given, computed": (_MASK, "{y} = {y} * (1 + 1e-2 * (MASK is not None))", True),
    "wholly masked entries made 0": (
        _MASK,
        f"if {_TENSOR}MASK.dtype == torch.bool and not MASK.any(): {{y}} = torch.zeros_like({{y}})",
        True,
    ),
    "optional input ignored": (_OTHERS, "MASK = None", False),
    "optional input detached": (
        r"context|encoder_hidden|memory|cond|rope|emb|^(key|value)s?$",
        f"MASK = MASK.detach() if {_TENSOR}True else MASK",
        False,
    ),
    "result scaled where an optional input is given": (_OTHERS, "if MASK is not None: {y} = {y} * 1.01", True),
}
for _name, (_pattern, _lines, _result) in _OPTIONAL.items():
    _KINDS.append(Kind(_name, 4, "corner", _on_optional(_pattern, _lines, result=_result)))


def _given(before: str, after: str) -> _Make:
    """Forward takes one more optional input in both texts, and does something else with it after than before."""

    def make(subject: Subject) -> Iterator[Rewrite]:
        spec = subject.forward.args
        if spec.vararg or spec.kwonlyargs or spec.kwarg:
            return
        last: ast.arg | ast.expr = spec.defaults[-1] if spec.defaults else spec.args[-1]
        at = subject.code.end(last)
        parameter = Edit(at, at, ", planted=None" if "planted is" in before else ", planted=False")
        texts = [subject.edit(*subject.at_the_result(lines), parameter) for lines in (before, after)]
        yield Rewrite(texts[0], texts[1], (subject.forward_symbol,))

    return make


_FILLED = "if planted is not None: {y} = {y}.masked_fill(planted == 0, 0.0)"
_BIASED = "if planted is not None:\n    {y} = {y} + planted"
_FLAGGED = "if planted:\n    {y} = {y} * 2.0"
_PLANTED: dict[str, tuple[int, str, str]] = {
    "added mask's polarity": (2, _FILLED, _FILLED.replace("== 0", "== 1")),
    "added mask passed over": (2, _FILLED, "if planted is not None: pass"),
    "added mask at ones alone": (4, _FILLED, _FILLED.replace("== 0", "!= 1")),
    "added bias subtracted": (2, _BIASED, _BIASED.replace("+", "-")),
    "added bias detached": (6, _BIASED, _BIASED.replace("+ planted", "+ planted.detach()")),
    "added bias in an expression": (
        2,
        "{y} = {y} if planted is None else {y} + planted",
        "{y} = {y} if planted is None else {y} - planted",
    ),
    "added bias after and": (
        2,
        "planted is not None and {y}.data.add_(planted)",
        "planted is not None and {y}.data.sub_(planted)",
    ),
    "added flag": (4, _FLAGGED, _FLAGGED.replace("2.0", "3.0")),
    "added flag's result": (4, "if planted:\n    {y} = ({y}, {y} * 2)", "if planted:\n    {y} = [{y}, {y} * 2]"),
    "added flag in one row": (2, "{y} = {y} * 2.0 if planted else {y}", "{y} = {y} * 3.0 if planted else {y}"),
    "added flag in a lambda": (
        2,
        "{y} = (lambda value: value * 2.0 if planted else value)({y})",
        "{y} = (lambda value: value * 3.0 if planted else value)({y})",
    ),
    "added flag in a number": (4, "{y} = {y} * (1.0 + bool(planted))", "{y} = {y} * (1.0 + 2.0 * bool(planted))"),
}
for _name, (_item, _before, _after) in _PLANTED.items():
    _KINDS.append(Kind(_name, _item, "corner", _given(_before, _after)))


@_kind("forward's flag ignored", 4, "corner")
def _flag_ignored(subject: Subject) -> Iterator[Rewrite]:
    for arg, default in subject.optional:
        if arg.arg in subject.reads and ast.unparse(default) in ("True", "False"):
            yield _forward(subject, subject.at_the_start(f"{arg.arg} = {ast.unparse(default)}"))


@_kind("result scaled under forward's flag", 4, "corner")
def _flag_scales(subject: Subject) -> Iterator[Rewrite]:
    for arg, default in subject.optional:
        if arg.arg in subject.reads and ast.unparse(default) in ("True", "False"):
            other = "not " if ast.unparse(default) == "True" else ""
            yield _forward(subject, subject.at_the_result(f"if {other}{arg.arg}: {{y}} = {{y}} * 1.01"))


_KERNELS = re.compile(r"efficient|export|checkpoint|kernel|cpp|triton|upcast")  # the same but for rounding


@_kind("constructor's flag ignored", 4, "corner")
def _constructor_flag(subject: Subject) -> Iterator[Rewrite]:
    for arg, default in with_defaults(subject.init) if subject.init is not None else ():
        if ast.unparse(default) not in ("True", "False") or _SETTINGS.search(arg.arg) or _KERNELS.search(arg.arg):
            continue
        read = {node.id for node in ast.walk(subject.init) if isinstance(node, ast.Name)} if subject.init else set()
        if arg.arg in read and subject.init is not None and starts_its_row(subject.code, subject.init.body[0]):
            edit = subject.lines_before(first_statement(subject.init), f"{arg.arg} = {ast.unparse(default)}")
            yield _rewrite(subject, [edit], subject.init_symbol)


# --- 7: the signature


@_kind("optional parameters in another order", 7, "ordinary")
def _parameter_order(subject: Subject) -> Iterator[Rewrite]:
    spec = subject.forward.args
    optional = spec.args[len(spec.args) - len(spec.defaults) :]
    for one, other in pairwise(optional):
        first, second = spec.defaults[optional.index(one)], spec.defaults[optional.index(other)]
        yield _forward(subject, _exchange(subject, (one, first), (other, second)))


def _exchange(subject: Subject, one: tuple[ast.arg, ast.expr], other: tuple[ast.arg, ast.expr]) -> list[Edit]:
    spans = [(subject.code.start(arg), subject.code.end(default)) for arg, default in (one, other)]
    texts = [subject.code.data[start:end].decode() for start, end in spans]
    return [Edit(*spans[0], texts[1]), Edit(*spans[1], texts[0])]


@_kind("constructor's parameters in another order", 7, "ordinary")
def _constructor_order(subject: Subject) -> Iterator[Rewrite]:
    if subject.init is None:
        return
    spec = subject.init.args
    optional = spec.args[len(spec.args) - len(spec.defaults) :]
    pairs = list(zip(optional, spec.defaults, strict=True))
    for one, other in pairwise(pairs):
        yield _rewrite(subject, _exchange(subject, one, other), subject.init_symbol)


@_kind("optional parameter by keyword only", 7, "ordinary")
def _keyword_only(subject: Subject) -> Iterator[Rewrite]:
    spec = subject.forward.args
    if spec.defaults and spec.vararg is None and not spec.kwonlyargs:
        last = spec.args[-1]
        yield _forward(subject, [Edit(*2 * (subject.code.start(last),), "*, ")])


@_kind("optional parameter required", 7, "ordinary")
def _required(subject: Subject) -> Iterator[Rewrite]:
    spec = subject.forward.args
    if spec.defaults:
        arg = spec.args[len(spec.args) - len(spec.defaults)]
        end = subject.code.end(arg)
        yield _forward(subject, [Edit(end, subject.code.end(spec.defaults[0]), "")])


@_kind("first parameter renamed", 7, "ordinary")
def _parameter_renamed(subject: Subject) -> Iterator[Rewrite]:
    arg = subject.forward.args.args[1]
    at = subject.code.start(arg)
    edit = Edit(at, at + len(arg.arg.encode()), f"{arg.arg}_")
    yield _forward(subject, [edit, *subject.at_the_start(f"{arg.arg} = {arg.arg}_")])


@_kind("one more required parameter", 7, "ordinary")
def _parameter_more(subject: Subject) -> Iterator[Rewrite]:
    for function in (subject.init, subject.forward):
        if function is not None and len(function.args.args) > 1:
            at = subject.code.start(function.args.args[1])
            yield _rewrite(subject, [Edit(at, at, "spare, ")], f"{subject.name}.{function.name}")


@_kind("default changed", 7, "ordinary")
def _default_changed(subject: Subject) -> Iterator[Rewrite]:
    for function in (subject.init, subject.forward):
        for _, default in with_defaults(function) if function is not None else ():
            match default:
                case ast.Constant(value=bool() as value):
                    content = str(not value)
                case ast.Constant(value=int() | float() as value):
                    content = f"{value * 2 or 0.1}"
                case _:
                    continue
            assert function is not None
            edit = subject.code.replaced(default, content)
            yield _rewrite(subject, [edit], f"{subject.name}.{function.name}")


# --- 8: results that share memory, and containers


def _alias(value: str, copied: str, item: int = 8) -> _Make:
    """Before returns a copy beside its result, after the thing itself."""

    def make(subject: Subject) -> Iterator[Rewrite]:
        if "self.parameters" in value and not _HAVE_PARAMETERS.search(subject.init_text):
            return
        if any(isinstance(each.value, ast.Tuple) for each in subject.returns):
            return
        before = subject.edit(*subject.at_the_result("other = {x}", value=f"outcome, {copied}"))
        after = subject.edit(*subject.at_the_result("other = {x}", value=f"outcome, {value}"))
        yield Rewrite(before, after, (subject.forward_symbol,))

    return make


_FIRST_PARAMETER = "next(self.parameters())"
_ALIASES = {
    "clone made an alias of the input": ("other", "other.clone()"),
    "clone made a view of the input": ("other[:1]", "other[:1].clone()"),
    "clone made an alias of a parameter": (f"{_FIRST_PARAMETER}.detach()", f"{_FIRST_PARAMETER}.detach().clone()"),
    "clone made an alias of the result": ("outcome.detach()", "outcome.detach().clone()"),
    "tuple made a list": ("[other]", "(other,)"),
    "named key renamed": ("{'second': other}", "{'first': other}"),
    "None left out": ("outcome", "None"),
    "a number made a tensor": ("torch.tensor(1.0)", "1.0"),
}
for _name, (_value, _copied) in _ALIASES.items():
    _KINDS.append(Kind(_name, 8, "ordinary", _alias(_value, _copied)))


@_kind("returned tuple made a list", 8, "ordinary")
def _list_returned(subject: Subject) -> Iterator[Rewrite]:
    edits = [
        subject.code.replaced(each.value, "[" + ", ".join(subject.code.text(e) for e in each.value.elts) + "]")
        for each in subject.returns
        if isinstance(each.value, ast.Tuple)
    ]
    if edits:
        yield _forward(subject, edits)


@_kind("second of the results left out", 8, "ordinary")
def _second_left_out(subject: Subject) -> Iterator[Rewrite]:
    edits = [
        subject.code.replaced(each.value.elts[1], "None")
        for each in subject.returns
        if isinstance(each.value, ast.Tuple) and len(each.value.elts) > 1
        and not isinstance(each.value.elts[1], ast.Constant)
    ]  # fmt: skip
    if edits:
        yield _forward(subject, edits)


# --- 11: checks


@_kind("check removed", 11, "corner")
def _check_removed(subject: Subject) -> Iterator[Rewrite]:
    for function in (subject.forward, subject.init):
        for node in _nodes(subject, function):
            alone = isinstance(node, ast.If) and len(node.body) == 1 and isinstance(node.body[0], ast.Raise)
            if (alone and not node.orelse) or isinstance(node, ast.Assert):
                assert isinstance(node, ast.stmt) and function is not None
                edit = subject.code.replaced(node, "pass")
                yield _rewrite(subject, [edit], f"{subject.name}.{function.name}")


@_kind("check raises another type", 11, "corner")
def _other_error(subject: Subject) -> Iterator[Rewrite]:
    for function in (subject.forward, subject.init):
        for node in _nodes(subject, function):
            match node:
                case ast.Raise(exc=ast.Call(func=ast.Name() as name)):
                    assert function is not None
                    other = "RuntimeError" if name.id != "RuntimeError" else "ValueError"
                    yield _rewrite(subject, [subject.code.replaced(name, other)], f"{subject.name}.{function.name}")


# --- 13: floats, and plain mistakes in the scores


def _softmaxes(subject: Subject) -> Iterator[ast.Call]:
    for node in _nodes(subject, subject.forward):
        if isinstance(node, ast.Call) and _is_call(node, "softmax", "attend"):
            yield node


def _weights(content: str, *, rank: int = 0) -> _Make:
    """Each softmax of forward, ``{s}``, becomes ``content``."""

    def make(subject: Subject) -> Iterator[Rewrite]:
        if rank and subject.rank != rank:
            return
        for node in _softmaxes(subject):
            text = subject.code.text(node)
            yield _forward(subject, [subject.code.replaced(node, f"({content.format(s=text)})")])

    return make


_WEIGHTS: dict[str, tuple[Harm, str]] = {
    "weights of 0 made 1e-8": ("corner", "{s}.clamp_min(1e-8)"),
    "1e-8 added to the weights": ("ordinary", "{s} + 1e-8"),
    "weights off by a millionth": ("ordinary", "{s} * (1 - 1e-6)"),
    "eps in the denominator": ("ordinary", "{s} / ({s}.sum(-1, keepdim=True) + 1e-6)"),
    "small weights dropped": ("corner", "(lambda weights: weights * (weights > 1e-6))({s})"),
    "weights rounded to float16": ("ordinary", "{s}.half().to({s}.dtype)"),
    "nan in the weights made 0": ("corner", "{s}.nan_to_num()"),
    "weights detached": ("ordinary", "{s}.detach()"),
    "weights turned": ("ordinary", "{s}.flip(-1)"),
    "weights of the batch's first": ("ordinary", "{s}[:1].expand_as({s})"),
}
for _name, (_harm, _content) in _WEIGHTS.items():
    _KINDS.append(Kind(_name, 13, _harm, _weights(_content)))


@_kind("softmax over another dim", 10, "ordinary")
def _other_dim(subject: Subject) -> Iterator[Rewrite]:
    for node in _softmaxes(subject):
        for given in [*node.args, *(each.value for each in node.keywords)]:
            if ast.unparse(given) == "-1":
                yield _forward(subject, [subject.code.replaced(given, "-2")])


@_kind("masked with a finite value", 13, "corner")
def _finite(subject: Subject) -> Iterator[Rewrite]:
    for node in _nodes(subject, subject.forward):
        if isinstance(node, ast.Call) and _is_call(node, "masked_fill", "masked_fill_") and len(node.args) == 2:
            yield _forward(subject, [subject.code.replaced(node.args[1], "-30.0")])


@_kind("scale off by a millionth", 13, "ordinary")
def _scale_off(subject: Subject) -> Iterator[Rewrite]:
    for node in _nodes(subject, subject.forward):
        match node:
            case ast.Attribute(value=ast.Name("self"), attr="scale" | "scaling", ctx=ast.Load()):
                yield _forward(subject, [subject.code.replaced(node, f"({subject.code.text(node)} * (1 + 1e-6))")])


@_kind("scale dropped", 10, "ordinary")
def _scale_dropped(subject: Subject) -> Iterator[Rewrite]:
    for node in _nodes(subject, subject.forward):
        match node:
            case ast.BinOp(
                left=left, op=ast.Mult(), right=ast.Attribute(value=ast.Name("self"), attr="scale" | "scaling")
            ):
                yield _forward(subject, [subject.code.replaced(node, f"({subject.code.text(left)})")])


def _are_inputs(*names: ast.Name) -> bool:
    """They are queries, keys or values by their names."""
    return all(re.match(r"[qkv]($|_|\d)|quer|key|value", name.id) for name in names)


@_kind("queries and keys swapped", 10, "ordinary")
def _exchanged(subject: Subject) -> Iterator[Rewrite]:
    for node in _nodes(subject, subject.forward):
        match node:
            case ast.Assign(targets=[ast.Tuple(elts=[ast.Name() as one, ast.Name() as other, ast.Name()])]) if (
                _are_inputs(one, other)
            ):
                yield _forward(subject, _swapped(subject, one, other))


@_kind("keys and values swapped", 10, "ordinary")
def _values_swapped(subject: Subject) -> Iterator[Rewrite]:
    for node in _nodes(subject, subject.forward):
        match node:
            case ast.Assign(targets=[ast.Tuple(elts=[ast.Name(), ast.Name() as one, ast.Name() as other])]) if (
                _are_inputs(one, other)
            ):
                yield _forward(subject, _swapped(subject, one, other))


@_kind("heads not transposed back", 10, "ordinary")
def _not_transposed(subject: Subject) -> Iterator[Rewrite]:
    for node in _nodes(subject, subject.forward):
        match node:
            case ast.Call(
                func=ast.Attribute(
                    value=ast.Call(func=ast.Attribute(value=inner, attr="transpose")) as moved, attr="reshape"
                )
            ):
                yield _forward(subject, [subject.code.replaced(moved, f"({subject.code.text(inner)})")])


@_kind("product rounded to bfloat16", 13, "ordinary")
def _product_rounded(subject: Subject) -> Iterator[Rewrite]:
    for node in _nodes(subject, subject.forward):
        if is_product(node) and isinstance(node, (ast.BinOp, ast.Call)):
            text = subject.code.text(node)
            yield _forward(subject, [subject.code.replaced(node, f"({text}).bfloat16().to({subject.first}.dtype)")])


def kinds() -> list[Kind]:
    return [*_tables(), *_KINDS]
