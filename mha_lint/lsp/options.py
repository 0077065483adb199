"""What the client sets: ``initializationOptions``, or the section ``mha-lint`` of its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from msgspec import Struct

from mha_lint.settings import SettingsError

Validate = Literal["never", "onRequest", "onSave"]
_SECTION = "mha-lint"


class ClientOptions(Struct, frozen=True):
    """``validate`` says when code is executed: never, when a command asks for it, or also when a file is saved."""

    unsafe_fixes: bool | None = None  # None: as the settings files say
    inlay_hints: bool = False
    validate: Validate = "onRequest"


def parse_options(given: object) -> ClientOptions:
    """Read the options of a client; what mha-lint does not know is left alone, since clients send paths and more.

    Raises:
        SettingsError: a value makes no sense.
    """
    if isinstance(given, Mapping) and isinstance(given.get(_SECTION), Mapping):
        given = given[_SECTION]
    values: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    unsafe, hints = values.get("unsafeFixes"), values.get("inlayHints")
    validate: Any = values.get("validate") or "onRequest"
    for name, value in (("unsafeFixes", unsafe), ("inlayHints", hints)):
        if not (value is None or isinstance(value, bool)):
            raise SettingsError(f"the client's {name}: expected true or false, not {value!r}")
    if validate not in get_args(Validate):
        known = ", ".join(get_args(Validate))
        raise SettingsError(f"the client's validate: expected one of {known}, not {validate!r}")
    return ClientOptions(unsafe, bool(hints), validate)


def plain(value: object) -> object:
    """What the client sent as JSON, which pygls makes objects of."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    return {key: plain(each) for key, each in value.items()} if isinstance(value, dict) else value
