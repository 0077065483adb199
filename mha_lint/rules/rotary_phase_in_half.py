"""MHA120: rotary angles that are computed in half precision."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct

from mha_lint.model.rotary import Phase, Precision
from mha_lint.rules.base import Hit, Rule
from mha_lint.syntax.words import names_in, names_said
from mha_lint.vocabulary import AUTOCAST

if TYPE_CHECKING:
    from mha_lint.findings import Severity
    from mha_lint.model.attention import FileModel
    from mha_lint.syntax.places import Places

_HALVES = frozenset({"half", "float16", "bfloat16"})


class Rounded(Struct, frozen=True):
    """The evidence: how the angles are computed, and the calls that take their cosines and sines."""

    phase: Phase
    taken: tuple[ast.expr, ...]

    @property
    def casts(self) -> tuple[ast.expr, ...]:
        """The expressions that cast a factor to the type of the activations; none where a buffer is as it is."""
        lowered = (held for held in self.phase.factors if held.precision is Precision.ACTIVATIONS)
        return tuple(held.by for held in lowered if held.by is not None)


class RotaryPhaseInHalf(Rule):
    """## What it does

    Flags the angles of a rotary embedding, or of another that takes cosines and sines of positions times frequencies,
    where a factor is cast to the type of the activations before they are multiplied: `positions.to(x.dtype)`,
    `inv_freq.type_as(x)`, `torch.arange(t, dtype=x.dtype)`, `.half()`. It also flags frequencies in a buffer that are
    multiplied by positions as they are, so that a module that was moved to half precision computes the angles in it;
    that is an *info*, since it is wrong of such a module alone.

    ## Why it matters

    bfloat16 has 8 bits for the digits of a number. It can't tell the positions 257 and 258 apart, and an angle of
    1,000 is off by 4. The largest error of a phase is 1 at 512 positions, and 16 at 8,192: all that is left of the
    position of a far token is noise. float16 comes to the same a few thousand positions later.

    ## Example

    ```python
    positions = torch.arange(t, device=x.device).type_as(x)
    angles = torch.outer(positions, self.inv_freq)
    ```

    Use instead:

    ```python
    positions = torch.arange(t, device=x.device).float()
    angles = torch.outer(positions, self.inv_freq.float())
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    ```

    ## Fix

    Keeps the factor in float32, or in float64 where the activations are that, and casts cosines and sines instead.
    Where the factor was cast to the type of the activations, the fix is *safe*: in float32 and float64 nothing changes.
    A factor that was cast to half precision whatever the activations are (`.half()`, `dtype=torch.bfloat16`) is kept in
    float32, which changes results in float32 too: that fix is *unsafe*.

    Relation *repaired*: the module runs in bfloat16 and float16 at up to 4,096 positions, on every device. Its cosines
    and sines have to be wrong there, against those that float64 gives (by 16 units in the last place of 1 at least),
    and right after the fix (by 4 at most). Everywhere else both compute the same. Where positions are few, as on a grid
    of patches, half precision may do no harm: then nothing is rewritten, and the report tells how far off they were.

    A buffer has no fix. What its cast to half precision has rounded, no `.float()` brings back: compute frequencies in
    `forward`, or keep cosines and sines in place of frequencies. Nothing in a class tells whether somebody casts it:
    libraries load checkpoints in bfloat16, buffers and all, and such models have been released. So the rule tells it,
    without a warning; where a module is never cast, `# noqa: MHA120` says so.

    ## When it stays silent

    - The factors are float32 because the code says so: `.float()`, `dtype=torch.float32`.
    - The function says where autocast is on.
    - Cosines and sines are computed once and kept, as they are or as complex numbers, from what is float32 there.
    - It is not known that what is cast are positions or frequencies, or to which type. Positions that a module is given
      are whatever they are; so are those of `linspace`, which are mostly fractions of a size.

    ## References

    - [EleutherAI/gpt-neox#1003](https://github.com/EleutherAI/gpt-neox/pull/1003)
    - [huggingface/transformers#29285](https://github.com/huggingface/transformers/pull/29285)
    """

    code = "MHA120"
    name = "rotary-phase-in-half"
    severity = "warning"
    finds = "positions times frequencies computed in the type of the activations"
    why = "In half precision the phase of a position is off by 1 at 512 positions, and by 16 at 8,192."
    applicability = "safe"
    relation = "repaired"
    invalid: ClassVar = (
        "import torch\n\n\ndef rotate(x):\n    t, d = x.shape[-2:]\n"
        "    inv_freq = 10000 ** (-torch.arange(0, d, 2, device=x.device) / d)\n"
        "    angles = torch.outer(torch.arange(t, device=x.device), inv_freq.to(x.dtype))\n"
        "    x1, x2 = x.chunk(2, dim=-1)\n    cos, sin = angles.cos(), angles.sin()\n"
        "    return torch.cat((x1 * cos - x2 * sin, x2 * cos + x1 * sin), dim=-1)\n",
    )
    valid: ClassVar = (invalid[0].replace("inv_freq.to(x.dtype)", "inv_freq.float()"),)

    def check(self, model: FileModel, places: Places) -> Iterator[Hit[Rounded]]:
        found: dict[ast.expr, tuple[str, Rounded]] = {}
        for node, seen in model.phases.items():
            for each in seen:
                rounded = Rounded(each.phase, (node,))
                place = _place(rounded, model)
                if place is None:
                    continue
                before = found.get(place)
                taken = (node,) if before is None else tuple(dict.fromkeys((*before[1].taken, node)))
                found[place] = (each.symbol, Rounded(each.phase, taken))
        for place, (symbol, rounded) in found.items():
            if _sets_autocast(place, rounded, places):
                continue
            severity: Severity | None = None
            if rounded.casts:
                kind = "half precision" if _is_fixed(rounded.casts) else "the type of the activations"
                message = f"a factor of the angles is cast to {kind} before it is multiplied"
            else:
                message = "angles are computed in the type of a buffer, which is half precision once the module is"
                severity = "info"
            yield Hit(place, place, message, symbol, evidence=rounded, severity=severity)


def _is_fixed(casts: tuple[ast.expr, ...]) -> bool:
    """The first factor is cast to half precision whatever the activations are."""
    return not _HALVES.isdisjoint(names_in(casts[0]))


def _place(rounded: Rounded, model: FileModel) -> ast.expr | None:
    """What is flagged: the cast, or else the product, if this module holds it."""
    for node in (*rounded.casts, rounded.phase.node):
        if node not in model.abroad:
            return node
    return None


def _sets_autocast(place: ast.expr, rounded: Rounded, places: Places) -> bool:
    """Tell whether a function around says where autocast is on."""
    functions = [places.function(node) for node in (place, *rounded.taken)]
    return any(function is not None and names_said(AUTOCAST, function) for function in functions)
