"""Code that replaces what its own trial relies on is never validated."""

from __future__ import annotations

import pytest

from .conftest import Check
from .modules import GPT, VIT

pytest.importorskip("torch")

VIEW = "y = y.transpose(1, 2).view(B, T, C)"
COPIED = "y = y.transpose(1, 2).contiguous().view(B, T, C)"
SYMBOL = "CausalAttention.forward"
ZEROS = "_copy = torch.Tensor.contiguous\ntorch.Tensor.contiguous = lambda tensor, **options: _copy(tensor) * 0\n"


def after_imports(source: str, statements: str) -> str:
    return source.replace("\n\nclass CausalAttention", f"\n{statements}\n\nclass CausalAttention")


@pytest.mark.parametrize(
    ("statements", "named"),
    [
        ("torch.equal = lambda a, b: True", "torch.equal"),
        (ZEROS, "torch.Tensor.contiguous"),
        ("torch.Tensor.__ne__ = lambda a, b: torch.zeros(1, dtype=torch.bool)", "torch.Tensor.__ne__"),
        ("torch.Tensor.grad = property(lambda tensor: None)", "torch.Tensor.grad"),
        ("torch.autograd.backward = lambda *a, **k: None", "torch.autograd.backward"),
        ("torch.get_rng_state = lambda: 0", "torch.get_rng_state"),
        ("F.softmax = lambda x, dim: x", "torch.nn.functional.softmax"),
        ("nn.Module.named_parameters = lambda self: iter(())", "torch.nn.Module.named_parameters"),
        ("import builtins; builtins.bool = lambda a: False", "builtins.bool"),
        ("vars(torch).pop('isfinite', None)", "torch.isfinite"),
        ("import sys; import types; sys.modules['random'] = types", "sys.modules.random"),
        ("import mha_lint.validation.trials.trial as t; t.compare = lambda *a: t.Comparison('', 0.0)", "trial.compare"),
    ],
)
def test_a_file_that_replaces_what_comparing_relies_on_is_not_exercised(
    check: Check, statements: str, named: str
) -> None:
    verdict = check(after_imports(GPT, statements), VIEW, COPIED, SYMBOL, "repaired")
    assert verdict.verdict == "not exercised", verdict
    assert named in verdict.reason
    assert "can't be trusted" in verdict.reason


def test_replacing_it_only_while_running_is_noticed_too(check: Check) -> None:
    source = GPT.replace(
        "        B, T, C = x.size()", "        torch.equal = lambda a, b: True\n        B, T, C = x.size()"
    )
    verdict = check(source, VIEW, COPIED, SYMBOL, "repaired")
    assert verdict.verdict == "not exercised"
    assert "running the code replaces torch.equal" in verdict.reason


def test_a_mode_left_active_over_every_operation_is_noticed(check: Check) -> None:
    mode = """
class Quiet(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        return True if func is torch.equal else func(*args, **(kwargs or {}))


Quiet().__enter__()
"""
    verdict = check(after_imports(GPT, mode), VIEW, COPIED, SYMBOL, "repaired")
    assert verdict.verdict == "not exercised"
    assert "the mode Quiet" in verdict.reason


def test_a_tensor_subclass_has_no_say_in_the_comparison_of_what_it_holds(check: Check) -> None:
    subclass = """
class Agreeable(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return True if func is torch.equal else super().__torch_function__(func, types, args, kwargs or {})


class Attention"""
    source = VIT.replace("class Attention", subclass)
    source = source.replace("return self.proj_drop(self.proj(x))", "return self.proj(x).as_subclass(Agreeable)")
    split = "q, k, v = qkv.unbind(0)"
    assert check(source, split, "k, q, v = qkv.unbind(0)", "Attention.forward").verdict == "refuted"


def test_adding_to_torch_what_it_lacks_is_harmless(check: Check) -> None:
    addition = "if not hasattr(torch, 'later'):\n    torch.later = torch.equal\nimport torch._dynamo"
    addition += "\ntorch.cuda.default_generators = (None,)"  # a list that starting CUDA fills itself
    assert check(after_imports(GPT, addition), VIEW, COPIED, SYMBOL, "repaired").verdict == "validated"
