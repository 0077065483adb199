"""The modules and the notebook in ``examples/``: each shows its rule, and their safe fixes are validated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mha_lint.discovery import SUFFIXES
from mha_lint.files import decode, encode, read_source
from mha_lint.linter import lint
from mha_lint.settings import Settings

if TYPE_CHECKING:
    from mha_lint.validation import Validator

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SHOWN = {
    "batch_first_missing.py": [("MHA117", "PixelEncoder"), ("MHA117", "SentenceClassifier")],
    "causal_flag_with_cache.py": [("MHA109", "CachedSelfAttention")],
    "causal_mask_where_flag_does.py": [("MHA203", "CausalSelfAttention")],
    "dropout_active_in_eval.py": [("MHA103", "CausalSelfAttention"), ("MHA103", "Encoder")],
    "discarded_result.py": [("MHA114", "CausalSelfAttention")],
    "einsum_diagonal.py": [("MHA123", "ParameterAttention")],
    "heads_merged_without_transpose.py": [("MHA101", "MultiHeadSelfAttention"), ("MHA101", "CausalSelfAttention")],
    "heads_split_without_transpose.py": [
        ("MHA102", "FieldSelfAttention"),
        ("MHA102", "FieldSelfAttention"),
        ("MHA102", "FieldSelfAttention"),
        ("MHA101", "FieldSelfAttention"),
        ("MHA102", "Decoder"),
    ],
    "mask_after_softmax.py": [("MHA107", "PatchAttention")],
    "mask_and_causal_flag.py": [("MHA112", "PaddedSelfAttention")],
    "mask_not_a_buffer.py": [("MHA110", "CausalSelfAttention"), ("MHA110", "DecoderAttention")],
    "mask_polarity_inverted.py": [("MHA106", "FusedCausalAttention"), ("MHA106", "ClassicCausalAttention")],
    "mask_rebuilt_every_forward.py": [("MHA204", "WindowAttention")],
    "mask_value_masks_nothing.py": [("MHA111", "InterpretableAttention")],
    "mask_value_overflows_half.py": [("MHA108", "DecoderSelfAttention")],
    "missing_output_projection.py": [
        ("MHA003", "MultiHeadAttention"),
        ("MHA003", "MultiHeadWrapper"),
        ("MHA003", "AttentionWithWeights"),
    ],
    "needless_contiguous.py": [("MHA004", "GroupedQueryAttention"), ("MHA004", "GroupedQueryAttention")],
    "repeated_kv_heads.py": [("MHA205", "GroupedQueryAttention")],
    "positions_over_batch.py": [("MHA116", "PositionalEncoding")],
    "shapes_never_meet.py": [("MHA124", "SentenceAttention")],
    "rotary_behind_cache.py": [("MHA119", "CachedSelfAttention")],
    "rotary_mixed.py": [("MHA119", "RotarySelfAttention")],
    "rotary_phase_in_half.py": [("MHA120", "RotarySelfAttention")],
    "softmax_over_wrong_dim.py": [("MHA105", "CrossAttention"), ("MHA105", "MultiHeadAttention")],
    "nine_ways_to_attend.ipynb": [
        ("MHA201", "Head"),
        ("MHA003", "SideBySide"),
        ("MHA201", "CausalHead"),
        ("MHA201", "SplitWeights"),
        ("MHA002", "Packed"),
        ("MHA201", "Packed"),
        ("MHA103", "Fused"),
        ("MHA113", "AddedMask"),
        ("MHA201", "EarlyView"),
        ("MHA001", "EarlyView"),
        ("MHA004", "Flexible"),
    ],
    "naive_attention.py": [("MHA201", "CausalSelfAttention"), ("MHA201", "CrossAttention")],
    "number_mask_is_added.py": [("MHA113", "CausalAttention")],
    "prepared_and_lost.py": [("MHA122", "PairAttention")],
    "repeated_in_wrong_order.py": [("MHA118", "PaddedSelfAttention")],
    "tiny_gpt.py": [
        ("MHA002", "CausalSelfAttention"),
        ("MHA201", "CausalSelfAttention"),
        ("MHA001", "CausalSelfAttention"),
    ],
    "tokens_and_heads_swapped.py": [("MHA115", "DisparityAttention")],
    "unbind_qkv.py": [("MHA002", "Attention"), ("MHA002", "TeacherAttention")],
    "unused_attention_weights.py": [("MHA202", "TransformerBlock")],
    "view_for_transpose.py": [("MHA121", "PixelAttention"), ("MHA121", "SpatialAttention")],
    "view_of_transposed.py": [("MHA001", "CausalSelfAttention"), ("MHA001", "CrossAttention")],
    "wrong_score_scale.py": [("MHA104", "Head"), ("MHA104", "SetAttention"), ("MHA104", "LatentAttention")],
    "vit.py": [("MHA003", "Attention"), ("MHA002", "Attention")],
}


def test_every_example_is_listed_here() -> None:
    assert {path.name for path in EXAMPLES.iterdir() if path.suffix in SUFFIXES} == SHOWN.keys()


@pytest.mark.parametrize("name", SHOWN)
def test_example_shows_its_smells_among_clean_code(name: str) -> None:
    findings = lint(read_source(EXAMPLES / name), Settings()).findings
    assert [(finding.code, finding.symbol.split(".")[0]) for finding in findings] == SHOWN[name]


@pytest.fixture(scope="module")
def validator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Validator]:
    """A validator that keeps its evidence: safe fixes are validated once."""
    pytest.importorskip("torch")
    from mha_lint.validation import Validator

    with Validator(devices=("cpu",), timeout=600.0, cache_dir=tmp_path_factory.mktemp("evidence")) as running:
        yield running


@pytest.mark.parametrize("name", SHOWN)
@pytest.mark.slow
def test_fixing_an_example_leaves_only_what_was_not_asked_for(name: str, validator: Validator, tmp_path: Path) -> None:
    from mha_lint.fixing import fix_source

    copy = tmp_path / name
    copy.write_bytes((EXAMPLES / name).read_bytes())
    source = read_source(copy)
    found = lint(source, Settings()).findings
    not_mended = [finding.code for finding in found if finding.fix is None or finding.fix.only_if_faster]
    assert set(not_mended) <= {"MHA107", "MHA109", "MHA112", "MHA122", "MHA123", "MHA124", "MHA205"}
    left_if_safe = [finding.code for finding in found if not finding.fixable()]
    for settings, left in ((Settings(), left_if_safe), (Settings(unsafe_fixes=True), not_mended)):
        fixed = fix_source(source, found, settings, validator)
        remaining = lint(decode(copy, encode(source, fixed.text)), settings).findings
        assert [finding.code for finding in remaining] == left
