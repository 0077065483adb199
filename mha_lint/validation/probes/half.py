"""Half safety: it runs in float16 and bfloat16, with no overflow or NaN where float32 has none."""

from __future__ import annotations

import copy
import re
from typing import Any

import torch

from mha_lint.observation import Observation
from mha_lint.validation.probes.facts import Seen
from mha_lint.validation.probes.subject import NotApplicable, State, Subject, moved
from mha_lint.validation.probes.watching import Watching
from mha_lint.validation.trials import trial

NAME = "half safety"
_OVERFLOW = re.compile(r"overflow|out of range|cannot be converted", re.IGNORECASE)


class _Last(Watching):
    """Remembers the operation that ran last."""

    def __init__(self) -> None:
        Watching.__init__(self)
        self.name = ""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.name = func.overloadpacket.__name__.rstrip("_")
        return func(*args, **(kwargs or {}))


def observe(subject: Subject, seen: Seen | None, insist: bool) -> Observation:
    wide, error, _ = _outputs(subject, torch.float32)
    if error is not None:
        raise NotApplicable(f"in float32 it raises {_told(error)}")
    reasons: list[str] = []
    ran: list[str] = []
    for dtype in (torch.float16, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        narrow, error, last = _outputs(subject, dtype)
        if error is not None:
            if _OVERFLOW.search(str(error)):
                return Observation(NAME, "violated", f"in {name} `{last}` raises: {_told(error)}")
            reasons.append(f"in {name} it raises {_told(error)}")
            continue
        for one, other in zip(wide, narrow, strict=True):
            if words := _lost(one, other):
                return Observation(NAME, "violated", f"in {name} {words}")
        ran.append(name)
    if not ran:
        raise NotApplicable("; ".join(reasons))
    return Observation(
        NAME, "holds", "; ".join([f"all that is finite in float32 is so in {' and '.join(ran)}", *reasons])
    )


def _outputs(subject: Subject, dtype: torch.dtype) -> tuple[list[torch.Tensor], Exception | None, str]:
    """The float outputs of a copy of the module in this dtype, or what it raised in which operation."""
    module: Any = subject.module
    owner, state = subject.owner, subject.state
    if owner is not None:
        try:
            own = copy.deepcopy(owner)
        except (TypeError, RuntimeError) as error:  # of locks and generators, of tensors that are no leaves
            raise NotApplicable(f"the module can't be copied: {_told(error)}") from error
        module = own if module is owner else getattr(own, module.__name__)
        owner, state = own.to(dtype), State(None)
    inputs = {name: moved(value, None, dtype) for name, value in subject.inputs.items()}
    last = _Last()
    try:
        with last:
            result = Subject(module, inputs, subject.seed, owner, state).result()
    except Exception as error:  # whatever the code raises in this dtype is what is asked for
        return [], error, last.name
    leaves = [value for _, value in trial.flatten(result, "output") if isinstance(value, torch.Tensor)]
    floats = [value for value in leaves if value.is_floating_point() and value.numel()]
    if not floats:
        raise NotApplicable("no output is a float tensor")
    return floats, None, ""


def _lost(wide: torch.Tensor, narrow: torch.Tensor) -> str:
    """Where finite values are lost, in words; "" where none is."""
    if wide.shape != narrow.shape:
        return ""
    lost = torch.isfinite(wide) & ~torch.isfinite(narrow)
    count = int(lost.sum())
    if not count:
        return ""
    place = tuple(lost.nonzero()[0].tolist())
    value, was = float(narrow[place]), float(wide[place])
    return f"{count} of {lost.numel()} outputs are not finite: at {place} {value}, where float32 has {was:.3g}"


def _told(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__
