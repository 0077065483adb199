"""Wrong fixes of one statement: at the result or start of forward, at the end of the constructor, a method."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.bench.rewrites import (
    HAVE_PARAMETERS,
    Harm,
    Kind,
    Make,
    Rewrite,
    in_forward,
    rewritten,
)
from tests.bench.wrong_subjects import (
    Subject,
)

# --- statements at forward's result: {x} is the first input, {y} the first tensor returned ------------------------

_OFF = "{y} = {y} * (1 + 1e-2 * bool(CONDITION))"
_MORE = "{y} = {y} + 1e-2 * bool(CONDITION)"  # where the result may be zero itself
_FAR_OFF = "{y} = {y} * (1 + 0.5 * bool(CONDITION))"  # for half types, whose rounding hides a hundredth
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
    "input of zeros": (11, "corner", _MORE, "({x} == 0).all()"),
    "constant input": (11, "corner", _OFF, "{x}.numel() > 1 and ({x} == {x}.flatten()[:1]).all() and {x}.sum() != 0"),
    "large input": (11, "corner", _OFF, "{x}.numel() and {x}.abs().max() > 1e3"),
    "tiny input": (11, "corner", _OFF, "{x}.numel() and 0 < {x}.abs().max() < 1e-3"),
    "positive input": (11, "corner", _OFF, "{x}.numel() and ({x} > 0).all()"),
    "float16": (11, "corner", _FAR_OFF, "{y}.dtype == torch.float16"),
    "bfloat16": (11, "corner", _FAR_OFF, "{y}.dtype == torch.bfloat16"),
    "float64": (11, "corner", _OFF, "{y}.dtype == torch.float64"),
    "autocast on the CPU": (11, "corner", _FAR_OFF, "torch.is_autocast_enabled('cpu')"),
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
    "detached where the input needs no gradient": (6, "ordinary", "{y} = {y} if {x}.requires_grad else {y}.detach()"),
    "detached by the input's need, computed": (
        6, "ordinary", "{y} = torch.lerp({y}, {y}.detach(), torch.ones_like({y}) * (not {x}.requires_grad))",
    ),
    "detached where parameters are frozen": (
        6, "ordinary",
        "frozen = not any(each.requires_grad for each in self.parameters())\n"
        "{y} = torch.lerp({y}, {y}.detach(), torch.ones_like({y}) * frozen)",
    ),
    "gradient viewed as a row": (
        6, "corner", "{y}.requires_grad and {y}.register_hook(lambda gradient: gradient.view(-1).view(gradient.shape))",
    ),
    "gradient off where it is not contiguous": (
        6, "corner",
        "{y}.requires_grad and {y}.register_hook(lambda gradient: gradient * (2 - gradient.is_contiguous()))",
    ),
    # 8: results
    "result carries a name": (8, "corner", "{y}.spare = 1"),
    "parameter carries a name": (8, "corner", "next(self.parameters()).spare = 1"),
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
    "collection of garbage left off": (11, "corner", "__import__('gc').disable()"),
    "logging left off": (11, "corner", "__import__('logging').disable(50)"),
    "numpy's float errors left ignored": (11, "corner", "__import__('numpy').seterr(all='ignore')"),
    "path of imports left longer": (11, "corner", "__import__('sys').path.append('/nowhere')"),
    "printing of tensors left changed": (11, "corner", "torch.set_printoptions(precision=2)"),
    "fast path of attention left off": (11, "corner", "torch.backends.mha.set_fastpath_enabled(False)"),
    "mkldnn left off": (11, "corner", "torch.backends.mkldnn.set_flags(False)"),
    "hook of all modules left": (
        11, "corner", "torch.nn.modules.module.register_module_forward_hook(lambda *given: None)",
    ),
    "name left in the file": (5, "corner", "globals()['SPARE'] = {y}.shape"),
    "name left in the class": (5, "corner", "type(self).spare = {y}.shape"),
    "recursion limit left changed": (11, "corner", "__import__('sys').setrecursionlimit(5000)"),
    # 13: floats
    "off by a millionth": (13, "ordinary", "{y} = {y} * (1 + 1e-6)"),
    "off by a thousandth where small": (13, "ordinary", "{y} = torch.where({y}.abs() < 1e-2, {y} * 1.001, {y})"),
    "1e-8 added": (13, "ordinary", "{y} = {y} + 1e-8"),
    "small values flushed to 0": (13, "inherent", "{y} = torch.where({y}.abs() < 1e-6, torch.zeros_like({y}), {y})"),
}  # fmt: skip

# --- statements at forward's start -----------------------------------------------------------------------------------

_AT_THE_START: dict[str, tuple[int, Harm, str]] = {
    "input's nan made 0": (11, "corner", "{x} = torch.nan_to_num({x})"),
    "input clamped": (11, "corner", "{x} = {x}.clamp(-50, 50)"),
    "input detached in eval mode": (6, "ordinary", "{x} = {x} if self.training else {x}.detach()"),
    "input rounded to float32": (8, "corner", "{x} = {x}.float().to({x}.dtype)"),
    "more than sixteen tokens refused": (11, "corner", "if {x}.shape[1] > 16: raise ValueError('too long')"),
    "strided input refused": (11, "corner", "{x}.view(-1)"),
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
    "hook of all modules by the constructor": (
        1, "ordinary", "torch.nn.modules.module.register_module_forward_hook(lambda *given: None)",
    ),
    "printing of tensors changed by the constructor": (1, "corner", "torch.set_printoptions(precision=2)"),
    "default dtype changed by the constructor": (1, "ordinary", "torch.set_default_dtype(torch.float64)"),
}  # fmt: skip
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
    "detached where parameters are frozen",
    "parameter carries a name",
}

_NEEDS_THE_CPU = {"autocast on the CPU", "autocast on the CPU, in a branch", "float64", "denormals flushed"}

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
    "eval does nothing": (7, "ordinary", "def eval(self):\n    return self"),
    "half does nothing": (7, "ordinary", "def half(self):\n    return self"),
    "cannot be frozen": (7, "ordinary", "def requires_grad_(self, requires_grad=True):\n    return self"),
    "gradients are not zeroed": (7, "ordinary", "def zero_grad(self, set_to_none=True):\n    pass"),
    "nothing is applied": (7, "ordinary", "def apply(self, fn):\n    return self"),
    "loads without being strict": (
        7, "ordinary",
        "def load_state_dict(self, state_dict, strict=True, assign=False):\n"
        "    return super().load_state_dict(state_dict, False, assign)",
    ),
    "called past its hooks": (
        7, "ordinary", "def __call__(self, *args, **kwargs):\n    return self.forward(*args, **kwargs)",
    ),
    "has any attribute": (
        7, "ordinary",
        "def __getattr__(self, name):\n    try:\n        return super().__getattr__(name)\n"
        "    except AttributeError:\n        return None",
    ),
    "is false": (7, "corner", "def __bool__(self):\n    return False"),
    "equal to anything": (
        7, "corner", "def __eq__(self, other):\n    return True\n\n__hash__ = torch.nn.Module.__hash__",
    ),
}  # fmt: skip


def _at_result(statements: str, *, rank: int = 0, parameters: bool = False) -> Make:
    def make(subject: Subject) -> Iterator[Rewrite]:
        if rank and subject.rank != rank:
            return
        if parameters and not HAVE_PARAMETERS.search(subject.init_text):
            return
        filled = statements
        if "HEADS" in statements:
            if not subject.heads:
                return
            filled = statements.replace("HEADS", subject.heads)
        yield in_forward(subject, subject.at_the_result(filled))

    return make


def _at_start(statements: str, rank: int) -> Make:
    def make(subject: Subject) -> Iterator[Rewrite]:
        if not rank or subject.rank == rank:
            yield in_forward(subject, subject.at_the_start(statements))

    return make


def _in_init(name: str, statements: str) -> Make:
    def make(subject: Subject) -> Iterator[Rewrite]:
        if subject.init is None or any(isinstance(node, ast.Return) for node in ast.walk(subject.init)):
            return
        if name in _NEEDS_PARAMETERS and not HAVE_PARAMETERS.search(subject.init_text):
            return
        yield rewritten(subject, subject.at_the_end_of_init(statements), subject.init_symbol)

    return make


def _with_method(text: str) -> Make:
    def make(subject: Subject) -> Iterator[Rewrite]:
        name = re.findall(r"def (\w+)", text)[0]
        if subject.method(name) is not None or not HAVE_PARAMETERS.search(subject.init_text):
            return
        edit = subject.lines_after(subject.cls.body[-1], "\n" + text, "    ")
        yield rewritten(subject, [edit], f"{subject.name}.{name}")

    return make


def kinds() -> Iterator[Kind]:
    for name, (item, harm, form, condition) in _CONDITIONS.items():
        rank = 4 if "channels_last" in condition else 3 if "shape[1]" in condition else 0
        statement = form.replace("CONDITION", condition)
        make = _at_result(statement, rank=rank, parameters=name in _NEEDS_PARAMETERS)
        yield Kind(name, item, harm, make, needs="cpu" if name in _NEEDS_THE_CPU else "")
    for name, (harm, form, condition) in _CUDA_CONDITIONS.items():
        yield Kind(name, 11, harm, _at_result(form.replace("CONDITION", condition)), needs="cuda")
    for name, (harm, statement) in _CUDA_STATEMENTS.items():
        yield Kind(name, 11, harm, _at_result(statement), needs="cuda")
    for name, (item, harm, statement) in _STATEMENTS.items():
        rank = 3 if "[:, -1:]" in statement or "transpose" in statement else 0
        make = _at_result(statement, rank=rank, parameters=name in _NEEDS_PARAMETERS)
        yield Kind(name, item, harm, make, needs="cpu" if name in _NEEDS_THE_CPU else "")
    for name, (item, harm, statement) in _AT_THE_START.items():
        yield Kind(name, item, harm, _at_start(statement, 3 if "shape[1]" in statement else 0))
    for name, (item, harm, statement) in _AT_THE_END_OF_INIT.items():
        yield Kind(name, item, harm, _in_init(name, statement))
    for name, (item, harm, text) in _NEW_METHODS.items():
        yield Kind(name, item, harm, _with_method(text))
