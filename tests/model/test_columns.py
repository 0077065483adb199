"""A mask of whole rows, which hides queries and not keys, however its last dimension is written."""

import pytest

from tests.model.linting import codes

TEXT = """import torch


def attend(q, k, v, keep):
    weights = (q @ k.transpose(-2, -1)).softmax(-1)
    weights = weights.masked_fill({}, 0.0)
    return weights @ v
"""


@pytest.mark.parametrize(
    "mask",
    [
        "~keep.unsqueeze(-1)",
        "~keep.unsqueeze(dim=-1)",
        "~keep.unsqueeze( -1 )",
        "~keep.unsqueeze((-1))",
        "~keep[..., None]",
        "~keep[..., None,]",
        "~keep[..., None ]",
        "~keep[:, :, None]",
    ],
)
def test_a_mask_of_rows_after_the_softmax_is_meant(mask: str) -> None:
    assert codes(TEXT.format(mask)) == []


@pytest.mark.parametrize("mask", ["~keep.unsqueeze(-2)", "~keep[:, None, :]", "~keep"])
def test_a_mask_of_keys_after_the_softmax_comes_too_late(mask: str) -> None:
    assert codes(TEXT.format(mask)) == ["MHA107"]
