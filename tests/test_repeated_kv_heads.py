"""MHA205: what repeats is deleted in each form that people write, and only a run that times it may do so."""

from __future__ import annotations

from pathlib import Path

import pytest

from mha_lint import edits as editing
from mha_lint.files import decode, read_source
from mha_lint.findings import Finding
from mha_lint.linter import lint
from mha_lint.report import Entry
from mha_lint.report.text import unfixed
from mha_lint.settings import Settings

CORPUS = Path(__file__).parent / "corpus" / "kv_heads" / "grouped.py"

ATTEND = """import torch
import torch.nn.functional as F


def attend(q, k, v, mask=None):
    b, h, t, d = q.shape
    b, g, s, d = k.shape
    b, g, s, d = v.shape
{lines}
"""


def found(*lines: str) -> list[Finding]:
    text = ATTEND.format(lines="\n".join(f"    {line}" for line in lines))
    findings = lint(decode(Path("attention.py"), text.encode()), Settings()).findings
    return [finding for finding in findings if finding.code == "MHA205"]


def mended(*lines: str) -> list[str]:
    text = ATTEND.format(lines="\n".join(f"    {line}" for line in lines))
    (finding,) = found(*lines)
    assert finding.fix is not None, finding.no_fix_reason
    _, _, body = editing.apply(text, list(finding.fix.edits)).partition("= v.shape\n")
    return [line[4:] for line in body.splitlines()]


GROUPED = "return F.scaled_dot_product_attention(q, k, v, enable_gqa=True)"


@pytest.mark.parametrize(
    ("lines", "after"),
    [
        (
            (
                "k = k.repeat_interleave(h // g, dim=1)",
                "v = torch.repeat_interleave(v, h // g, dim=1)",
                "return F.scaled_dot_product_attention(q, k, v)",
            ),
            [GROUPED],
        ),
        (
            (
                "keys = k.repeat_interleave(h // g, 1)",
                "values = v[:, :, None].expand(b, g, h // g, s, d).reshape(b, h, s, d)",
                "return F.scaled_dot_product_attention(q, keys, values, None)",
            ),
            [
                "keys = k",
                "values = v",
                "return F.scaled_dot_product_attention(q, keys, values, None, enable_gqa=True)",
            ],
        ),
        (
            (
                "k, unused = k.relu(), 1",
                "return F.scaled_dot_product_attention(",
                "    q, k.repeat_interleave(h // g, dim=1), v.repeat_interleave(h // g, dim=1)",
                ")",
            ),
            [
                "k, unused = k.relu(), 1",
                "return F.scaled_dot_product_attention(",
                "    q, k, v, enable_gqa=True",
                ")",
            ],
        ),
        (
            (
                "if g != h:",
                "    k = k.repeat_interleave(h // g, dim=1)",
                "    v = v.repeat_interleave(h // g, dim=1)",
                "return F.scaled_dot_product_attention(q, k, v)",
            ),
            [GROUPED],
        ),
    ],
)
def test_what_repeats_is_deleted(lines: tuple[str, ...], after: list[str]) -> None:
    assert mended(*lines) == after


REPEATED = ("k = k.repeat_interleave(h // g, dim=1)", "v = v.repeat_interleave(h // g, dim=1)")


@pytest.mark.parametrize(
    "lines",
    [
        (*REPEATED, "return F.scaled_dot_product_attention(q, k, v, mask)"),
        (*REPEATED, "return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)"),
        (*REPEATED, "return F.scaled_dot_product_attention(q, k, v, **options)"),
        (*REPEATED, "return F.scaled_dot_product_attention(q, k, v), k"),
        (*REPEATED, "k = k.clone()", "return F.scaled_dot_product_attention(q, k, v)"),
        (REPEATED[0], "return F.scaled_dot_product_attention(q, k, q)"),
        (REPEATED[0], "v = v.repeat(1, h // g, 1, 1)", "return F.scaled_dot_product_attention(q, k, v)"),
        (
            "k = k.repeat(1, h // g, 1, 1)",
            "v = v.repeat(1, h // g, 1, 1)",
            "return F.scaled_dot_product_attention(q, k, v)",
        ),
        (
            "k = k.repeat_interleave(2, dim=2)",
            "v = v.repeat_interleave(2, dim=2)",
            "return F.scaled_dot_product_attention(q, k, v)",
        ),
    ],
)
def test_silence(lines: tuple[str, ...]) -> None:
    assert found(*lines) == []


def test_only_a_run_that_times_it_may_apply_it() -> None:
    (finding,) = found(*REPEATED, "return F.scaled_dot_product_attention(q, k, v)")
    assert finding.fix is not None
    assert finding.fix.only_if_faster
    assert not finding.fixable(unsafe=True)
    assert finding.fixable(timed=True)
    (line,) = unfixed([Entry(finding, "", offered=finding.fixable())])
    assert "--bench tries it" in line


def test_verify_validates_it_and_fix_does_not_try_it(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from mha_lint.fixing import fix_source, verify_source
    from mha_lint.validation import Validator

    copy = tmp_path / CORPUS.name
    copy.write_bytes(CORPUS.read_bytes())
    source, settings = read_source(copy), Settings()
    findings = list(lint(source, settings).findings)
    assert len(findings) == 3
    with Validator(devices=("cpu",), timeout=600.0) as validator:
        left = fix_source(source, findings, settings, validator)
        verified = verify_source(source, findings, settings, validator)
    assert left.text == source.text
    assert all(finding.verdict is None for finding in left.remaining)
    verdicts = [finding.verdict.verdict for finding in verified.remaining if finding.verdict is not None]
    assert verdicts == ["validated"] * 3
