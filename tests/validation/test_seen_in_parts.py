"""In inference mode a mode sees operations whole: they are rounded otherwise, and casts left out, all the same."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from mha_lint.validation.relations import roundings  # noqa: E402
from mha_lint.validation.trials.widened import Casts, widened  # noqa: E402


@pytest.mark.parametrize("is_inference", [False, True])
def test_a_linear_map_is_rounded_otherwise(is_inference: bool) -> None:
    linear, x = torch.nn.Linear(8, 8), torch.ones(2, 3, 8)
    with torch.inference_mode(is_inference):
        plain = linear(x)
        with roundings.drawn(0):
            other = linear(x)
    assert not torch.equal(plain, other)
    torch.testing.assert_close(plain, other)


@pytest.mark.parametrize("is_inference", [False, True])
def test_a_cast_to_float32_is_left_out(is_inference: bool) -> None:
    casts = Casts()
    with torch.inference_mode(is_inference), widened(casts):
        cast = torch.ones(2, dtype=torch.float64).float()
    assert cast.dtype == torch.float64
    assert casts.met
