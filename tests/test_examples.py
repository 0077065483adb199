"""The modules in ``examples/``: each shows its rule, and the safe fixes of all of them are validated."""

from __future__ import annotations

from pathlib import Path

import pytest

from mha_lint.files import decode, read_source
from mha_lint.linter import lint
from mha_lint.settings import Settings

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SHOWN = {
    "causal_flag_with_cache.py": [("MHA109", "CachedSelfAttention")],
    "dropout_active_in_eval.py": [("MHA103", "CausalSelfAttention"), ("MHA103", "Encoder")],
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
    "mask_value_masks_nothing.py": [("MHA111", "InterpretableAttention")],
    "mask_value_overflows_half.py": [("MHA108", "DecoderSelfAttention")],
    "missing_output_projection.py": [
        ("MHA003", "MultiHeadAttention"),
        ("MHA003", "MultiHeadWrapper"),
        ("MHA003", "AttentionWithWeights"),
    ],
    "needless_contiguous.py": [("MHA004", "GroupedQueryAttention"), ("MHA004", "GroupedQueryAttention")],
    "number_mask_is_added.py": [("MHA113", "CausalAttention")],
    "softmax_over_wrong_dim.py": [("MHA105", "CrossAttention"), ("MHA105", "MultiHeadAttention")],
    "tiny_gpt.py": [("MHA002", "CausalSelfAttention"), ("MHA001", "CausalSelfAttention")],
    "unbind_qkv.py": [("MHA002", "Attention"), ("MHA002", "TeacherAttention")],
    "view_of_transposed.py": [("MHA001", "CausalSelfAttention"), ("MHA001", "CrossAttention")],
    "wrong_score_scale.py": [("MHA104", "Head"), ("MHA104", "SetAttention"), ("MHA104", "LatentAttention")],
    "vit.py": [("MHA003", "Attention"), ("MHA002", "Attention")],
}


def test_every_example_is_listed_here() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == SHOWN.keys()


@pytest.mark.parametrize("name", SHOWN)
def test_example_shows_its_smells_among_clean_code(name: str) -> None:
    findings = lint(read_source(EXAMPLES / name), Settings())
    assert [(finding.code, finding.symbol.split(".")[0]) for finding in findings] == SHOWN[name]


@pytest.mark.parametrize("unsafe", [False, True], ids=["safe", "unsafe"])
def test_fixing_the_examples_leaves_only_what_was_not_asked_for(tmp_path: Path, unsafe: bool) -> None:
    pytest.importorskip("torch")
    from mha_lint.fixing import fix_source
    from mha_lint.validation import Validator

    settings = Settings(unsafe_fixes=unsafe)
    remaining = []
    with Validator(devices=("cpu",)) as validator:
        for name in SHOWN:
            copy = tmp_path / name
            copy.write_bytes((EXAMPLES / name).read_bytes())
            source = read_source(copy)
            fixed = fix_source(source, lint(source, settings), settings, validator)
            remaining += lint(decode(copy, fixed.text.encode()), settings)
    left = {(finding.code, finding.fix and finding.fix.applicability) for finding in remaining}
    corrected = ["MHA101", "MHA102", "MHA103", "MHA104", "MHA105", "MHA106", "MHA111", "MHA113"]
    asked_for = {("MHA003", "unsafe"), *((code, "unsafe") for code in corrected)}
    assert left == {("MHA107", None), ("MHA109", None), ("MHA112", None)} | (set() if unsafe else asked_for)
