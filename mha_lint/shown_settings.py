"""Describes the settings that hold for a file, for ``--show-settings``: each key, its value, where it comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from msgspec.structs import asdict

from mha_lint.declared import Declared
from mha_lint.settings import Selection, Settings, keys


def described(path: Path, settings: Settings) -> str:
    """Several lines, much as ruff shows them. A key that no file sets has its default and no origin."""
    lines = [
        f'Resolved settings for: "{path.absolute()}"',
        f'Settings path: "{settings.file}"' if settings.file else "Settings path: none",
        f'Root: "{settings.root}"',
        "",
    ]
    for key, known in keys().items():
        origin = settings.origins.get(known.attribute)
        value = _shown(getattr(settings, known.attribute))
        lines.append(f"{key} = {value}" + (f"  # {origin}" if origin else ""))
    for each in reversed(settings.under):
        lines.append(f"under it: {_selection(each)}")
    lines += ["", f"rules = {_shown(tuple(sorted(settings.enabled(path))))}"]
    return "\n".join(lines)


def _selection(selection: Selection) -> str:
    values = {name.replace("_", "-"): value for name, value in asdict(selection).items()}
    return ", ".join(f"{key} = {_shown(value)}" for key, value in values.items() if value not in (None, ()))


def _shown(value: object) -> str:
    match value:
        case None:
            return "none"
        case tuple() if value and all(isinstance(each, Declared) for each in value):
            return _shown(tuple(f"{each.module}:{each.target}" for each in value))
        case tuple():
            return json.dumps(list(value), ensure_ascii=False)
        case Mapping():
            return json.dumps({key: list(codes) for key, codes in value.items()}, ensure_ascii=False)
        case _:
            return json.dumps(value, ensure_ascii=False)
