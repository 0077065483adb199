"""Ways that are found to build and call what nobody prepared: masks, indices, nested configurations, heads, sizes."""

from __future__ import annotations

import ast

import pytest

from .conftest import Check

pytest.importorskip("torch")

pytestmark = pytest.mark.slow

ATTENTION = """
import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim, heads=4):
        super().__init__()
        self.heads, self.dim = heads, dim
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x):
        b, t, c = x.shape
        qkv = self.qkv(x).view(b, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        scores = q @ k.transpose(-2, -1) * (c // self.heads) ** -0.5
        y = scores.softmax(-1) @ v
        return self.out(y.transpose(1, 2).reshape(b, t, c))
"""
SCORES = "(c // self.heads) ** -0.5\n"
SPLIT = "q, k, v = qkv.unbind(0)"
INDEXED = "q, k, v = qkv[0], qkv[1], qkv[2]"
SYMBOL = "Attention.forward"


@pytest.mark.parametrize("name", ["key_padding_mask", "attention_mask", "pad_mask", "pad", "valid"])
@pytest.mark.parametrize(
    "use",
    [
        "scores = scores.masked_fill(NAME[:, None, None, :], -1e4)",
        "scores = scores.masked_fill(~NAME[:, None, None, :], -1e4)",
        "scores = scores.masked_fill(NAME.unsqueeze(1).unsqueeze(2) == 0, -1e4)",
        "scores = scores.masked_fill(torch.logical_not(NAME)[:, None, None], -1e4)",
        "scores = torch.where(NAME[:, None, None], scores, -1e4)",
    ],
)
def test_a_mask_without_annotation_that_is_used_as_a_boolean_is_drawn_as_one(check: Check, name: str, use: str) -> None:
    source = ATTENTION.replace("(self, x)", f"(self, x, {name})")
    source = source.replace(SCORES, f"{SCORES}        {use.replace('NAME', name)}\n")
    verdict = check(source, SPLIT, INDEXED, SYMBOL)
    assert verdict.verdict == "validated", verdict.reason
    assert f"{name}=(b, t) bool" in verdict.reason


def test_a_mask_that_is_added_is_drawn_as_numbers(check: Check) -> None:
    source = ATTENTION.replace("(self, x)", "(self, x, mask)").replace(SCORES, f"{SCORES}        scores += mask\n")
    verdict = check(source.replace("scores += mask", "scores = scores + mask"), SPLIT, INDEXED, SYMBOL)
    assert verdict.verdict == "validated", verdict.reason


@pytest.mark.parametrize(
    ("parameter", "use"),
    [
        ("order", "x = x[:, order]"),
        ("tables", "x = x[:, tables['order']]"),
        ("tables", "order = tables['order']; x = x.index_select(1, order)"),
        ("tables", "x = x + self.bias[tables['relative']][:1, :1]"),
        ("tables", "x = self.moved(x, tables['order'])"),
    ],
)
def test_a_table_of_indices_is_drawn_as_indices(check: Check, parameter: str, use: str) -> None:
    source = ATTENTION.replace("(self, x)", f"(self, x, {parameter})")
    source = source.replace("        b, t, c = x.shape\n", f"        {use}\n        b, t, c = x.shape\n")
    source = source.replace("self.heads, self.dim", "self.bias = torch.zeros(64, dim)\n        self.heads, self.dim")
    source += "\n    def moved(self, x, order):\n        return x[:, order]\n"
    verdict = check(source, SPLIT, INDEXED, SYMBOL)
    assert verdict.verdict == "validated", verdict.reason


@pytest.mark.parametrize(
    ("dim", "heads"),
    [
        ("cfg.model.width", "cfg.model.num_heads"),
        ("cfg['model']['width']", "cfg['model']['num_heads']"),
        ("cfg.model.attention.embed_dim", "cfg.model.attention.num_heads"),
        ("cfg.model.embed_dim", "cfg.model.get('num_heads', 2)"),
    ],
)
def test_a_configuration_may_have_configurations_as_parts(check: Check, dim: str, heads: str) -> None:
    source = ATTENTION.replace("(self, dim, heads=4)", "(self, cfg)")
    source = source.replace("super().__init__()", f"super().__init__()\n        dim, heads = {dim}, {heads}")
    verdict = check(source, SPLIT, INDEXED, SYMBOL)
    assert verdict.verdict == "validated", verdict.reason


def test_a_part_of_a_configuration_may_have_a_name_of_its_own(check: Check) -> None:
    source = ATTENTION.replace("(self, dim, heads=4)", "(self, cfg)")
    own = "super().__init__()\n        model = cfg.model\n        dim, heads = model.embed_dim, model.num_heads"
    verdict = check(source.replace("super().__init__()", own), SPLIT, INDEXED, SYMBOL)
    assert verdict.verdict == "validated", verdict.reason


def test_a_setting_that_only_has_methods_is_no_part() -> None:
    from mha_lint.validation.search.reading import section_names  # it needs torch

    text = "a = config.hidden_act.lower()\nb = config.weight.shape\nc = config.model.width\nd = x.model.width"
    assert section_names(ast.parse(text)) == {"model"}


ONE = ATTENTION.replace("heads=4", "n_heads=1").replace(
    "self.heads, self.dim = heads,", "self.heads, self.dim = n_heads,"
)
MERGE = "y.transpose(1, 2).reshape(b, t, c)"


def test_where_one_head_is_the_default_several_are_tried(check: Check) -> None:
    source = ONE.replace(".reshape(b, t, c)", ".view(b, t, c)")
    verdict = check(source, MERGE.replace("reshape", "view"), MERGE, SYMBOL, "repaired")
    assert verdict.verdict == "validated", verdict.reason
    mixed = check(ONE, MERGE, "y.reshape(b, t, c)", SYMBOL)
    assert mixed.verdict == "refuted", mixed.reason


def test_a_class_that_takes_one_head_alone_is_built_with_one(check: Check) -> None:
    source = ONE.replace("super().__init__()", "super().__init__()\n        assert n_heads == 1")
    verdict = check(source, SPLIT, INDEXED, SYMBOL)
    assert verdict.verdict == "validated", verdict.reason


def test_a_size_by_default_that_takes_gigabytes_gives_way_to_a_small_one(check: Check) -> None:
    source = ATTENTION.replace("heads=4", "heads=4, max_len=200_000")
    table = "self.register_buffer('mask', torch.ones(max_len, max_len).tril())"
    source = source.replace("super().__init__()", f"super().__init__()\n        {table}")
    source = source.replace(SCORES, f"{SCORES}        scores = scores.masked_fill(self.mask[:t, :t] == 0, -1e4)\n")
    verdict = check(source, SPLIT, INDEXED, SYMBOL)
    assert verdict.verdict == "validated", verdict.reason


def test_a_size_by_default_that_is_needed_is_tried_as_well(check: Check) -> None:
    source = ATTENTION.replace("heads=4", "heads=4, max_len=8_000")
    source = source.replace("super().__init__()", "super().__init__()\n        assert max_len == 8_000")
    verdict = check(source, SPLIT, INDEXED, SYMBOL)
    assert verdict.verdict == "validated", verdict.reason


def test_a_text_that_a_table_does_not_know_gives_way_to_one_that_it_knows(check: Check) -> None:
    source = ATTENTION.replace("(self, dim, heads=4)", "(self, config)")
    source = source.replace("class Attention", "KINDS = {'sliding_one': 4, 'wide_one': 2}\n\n\nclass Attention")
    own = "dim, heads = config.hidden_size, KINDS[config.layer_types[0]]"
    source = source.replace("super().__init__()", f"super().__init__()\n        {own}")
    verdict = check(source, SPLIT, INDEXED, SYMBOL)
    assert verdict.verdict == "validated", verdict.reason


def test_a_table_of_settings_has_what_it_is_asked_for(check: Check) -> None:
    source = ATTENTION.replace("(self, dim, heads=4)", "(self, config)")
    own = "dim, heads = config.hidden_size, 4\n        self.table = config.rope_parameters"
    source = source.replace("super().__init__()", f"super().__init__()\n        {own}")
    source = source.replace(SCORES, f"{SCORES}        scores = scores / self.table.get('original_max_len')\n")
    verdict = check(source, SPLIT, INDEXED, SYMBOL)
    assert verdict.verdict == "validated", verdict.reason


@pytest.mark.parametrize(
    "setting",
    [
        "self.more = nn.Linear(dim, more_dim) if more_dim is not None else None",
        "if more_dim is not None:\n            self.more = nn.Linear(dim, more_dim)",
        "if more_dim is not None:\n            self.base = nn.Linear(dim, more_dim)\n"
        "        self.more = self.base if getattr(self, 'base', None) is not None else None",
        "self.deep = deep\n        if self.deep is not None:\n            self.more = nn.Linear(dim, 2 * dim)",
    ],
    ids=["None", "never set", "by another part", "by a flag"],
)
def test_a_part_that_a_call_lacks_is_had_by_the_argument_that_decides_it(check: Check, setting: str) -> None:
    source = ATTENTION.replace("heads=4", "heads=4, more_dim=None, norm_num_groups=None, deep=None")
    grouped = "self.grouped = nn.GroupNorm(norm_num_groups, dim) if norm_num_groups is not None else None"
    source = source.replace("self.qkv = ", f"{grouped}\n        {setting}\n        self.qkv = ")
    extra = "extra = self.more(x).mean() + self.grouped(x.mT).mean()"
    source = source.replace("b, t, c = x.shape", f"b, t, c = x.shape\n        {extra}")
    source = source.replace(SCORES, f"{SCORES}        scores = scores + extra\n")
    verdict = check(source, SPLIT, INDEXED, SYMBOL)
    assert verdict.verdict == "validated", verdict.reason
    assert "norm_num_groups=2" in verdict.reason


def test_a_method_under_no_grad_may_prepare_a_module(check: Check) -> None:
    method = "    @torch.no_grad()\n    def fuse(self):\n        self.scale = (self.dim // self.heads) ** -0.5\n\n"
    source = ATTENTION.replace("    def forward", f"{method}    def forward").replace(SCORES, "self.scale\n")
    verdict = check(source, SPLIT, INDEXED, SYMBOL)
    assert verdict.verdict == "validated", verdict.reason
    assert "fuse() called first" in verdict.reason


def test_the_number_of_channels_is_no_matter_of_what_divides_it() -> None:
    import torch

    from mha_lint.validation.search import learning

    with pytest.raises(RuntimeError) as caught:
        torch.nn.GroupNorm(2, 32)(torch.ones(3, 5, 32))
    assert learning.divisors(caught.value) == []


def test_of_two_ranks_that_an_error_names_the_one_with_a_batch_is_tried_first() -> None:
    import torch

    from mha_lint.validation.search import learning
    from mha_lint.validation.search.specs import Spec, TensorSpec

    with pytest.raises(RuntimeError) as caught:
        torch.nn.Conv3d(32, 32, 1)(torch.ones(3, 5, 32))
    specs: list[Spec] = [
        TensorSpec(("b", "t", 32)),
        TensorSpec(("b", 32, "H", "W")),
        TensorSpec(("b", 32, "t", "H", "W")),
    ]
    tried = learning.others(caught.value, ["x"], {"x": specs[0]}, {"x": specs}, {"b": 3, "t": 5, "H": 4, "W": 6})
    assert next(tried) == ("x", specs[2])


def test_what_is_fed_to_a_convolution_of_videos_has_five_dims() -> None:
    import inspect

    import torch

    from mha_lint.validation.search.inputs import candidates
    from mha_lint.validation.search.inspection import inspect_module, read_forward
    from mha_lint.validation.search.specs import TensorSpec
    from mha_lint.validation.search.vocabulary import SIZINGS

    (forward,) = ast.parse("def forward(self, x): return self.proj(x)").body
    assert isinstance(forward, ast.FunctionDef)
    module = torch.nn.Module()
    module.proj = torch.nn.Conv3d(32, 8, 1)
    parameter = inspect.Parameter("x", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    inspected, signature = inspect_module(module, SIZINGS[0]), inspect.Signature([parameter])
    first, *_ = candidates(parameter, read_forward(forward), module, inspected, None, signature)
    assert first == TensorSpec(("b", 32, "t", "H", "W"))


@pytest.mark.parametrize(
    "repeated",
    [
        "mask.repeat(h, 1, 1)",
        "torch.tile(mask, (h, 1, 1))",
        "mask.unsqueeze(0).expand(h, -1, -1, -1)",
        "mask[None].expand(h, -1, -1, -1)",
    ],
)
def test_the_numbers_that_a_mask_is_repeated_by_tell_how_many_dims_it_has(repeated: str) -> None:
    import inspect

    import torch

    from mha_lint.validation.search.inputs import candidates
    from mha_lint.validation.search.inspection import inspect_module, read_forward
    from mha_lint.validation.search.specs import TensorSpec
    from mha_lint.validation.search.vocabulary import SIZINGS

    (forward,) = ast.parse(f"def forward(self, x, h, mask=None): return self.attention(x, {repeated})").body
    assert isinstance(forward, ast.FunctionDef)
    module = torch.nn.Module()
    parameter = inspect.Parameter("mask", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None)
    inspected, signature = inspect_module(module, SIZINGS[0]), inspect.Signature([parameter])
    _, *found = candidates(parameter, read_forward(forward), module, inspected, None, signature)
    shapes = [spec.dims for spec in found[:8] if isinstance(spec, TensorSpec)]
    assert {len(dims) for dims in shapes} == {3}
    assert ("b", "t", "s") in shapes
