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
    "tiny_gpt.py": [("MHA002", "CausalSelfAttention"), ("MHA001", "CausalSelfAttention")],
    "unbind_qkv.py": [("MHA002", "Attention"), ("MHA002", "TeacherAttention")],
    "view_of_transposed.py": [("MHA001", "CausalSelfAttention"), ("MHA001", "CrossAttention")],
    "vit.py": [("MHA003", "Attention"), ("MHA002", "Attention")],
}


def test_every_example_is_listed_here() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == SHOWN.keys()


@pytest.mark.parametrize("name", SHOWN)
def test_example_shows_its_smells_among_clean_code(name: str) -> None:
    findings = lint(read_source(EXAMPLES / name), Settings())
    assert [(finding.code, finding.symbol.split(".")[0]) for finding in findings] == SHOWN[name]


def test_fixing_the_examples_leaves_only_what_needs_unsafe_fixes(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from mha_lint.fixing import fix_source
    from mha_lint.validation import Validator

    remaining = []
    with Validator(devices=("cpu",)) as validator:
        for name in SHOWN:
            copy = tmp_path / name
            copy.write_bytes((EXAMPLES / name).read_bytes())
            source = read_source(copy)
            fixed = fix_source(source, lint(source, Settings()), Settings(), validator)
            remaining += lint(decode(copy, fixed.text.encode()), Settings())
    assert [(finding.symbol.split(".")[0], finding.fix and finding.fix.applicability) for finding in remaining] == [
        ("CachedSelfAttention", None),
        ("CausalSelfAttention", "unsafe"),
        ("Encoder", "unsafe"),
        ("PatchAttention", None),
        ("PaddedSelfAttention", None),
        ("FusedCausalAttention", "unsafe"),
        ("ClassicCausalAttention", "unsafe"),
        ("InterpretableAttention", "unsafe"),
        ("AttentionWithWeights", "unsafe"),
        ("CausalAttention", "unsafe"),
    ]
