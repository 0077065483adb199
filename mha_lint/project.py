"""Reads in a project's pyproject.toml which versions of Python and of torch its code has to run on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from msgspec.structs import replace

from mha_lint.settings import Settings, TargetVersion
from mha_lint.settings_file import project_of

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet


def with_targets(settings: Settings, file: Path) -> Settings:
    """The settings with ``target-version`` and ``target-torch`` as the ``[project]`` of a pyproject.toml implies them.

    A key of the settings is stronger. What is not said there, or makes no sense, implies nothing.
    """
    found: dict[str, str | None] = {}
    project = project_of(file)
    if settings.target_version is None:
        found["target_version"] = oldest_python(project.get("requires-python"))
    if settings.target_torch is None:
        found["target_torch"] = oldest_torch(project)
    implied: dict[str, Any] = {name: value for name, value in found.items() if value is not None}
    if not implied:
        return settings
    return replace(settings, **implied, origins={**settings.origins, **dict.fromkeys(implied, f"{file}: [project]")})


def oldest_python(specifier: object) -> str | None:
    """``py310`` for ``>=3.10``: the oldest Python that a ``requires-python`` admits; None where it names none."""
    if not isinstance(specifier, str):
        return None
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        version = _lowest(SpecifierSet(specifier))
    except InvalidSpecifier:
        return None
    known = get_args(TargetVersion)
    name = f"py{version[0]}{version[1]}" if version else ""
    return name if name in known else None


def oldest_torch(project: Mapping[str, Any]) -> str | None:
    """``2.1`` for ``torch>=2.1``: the oldest torch that the dependencies admit, or else an extra's; None if unknown."""
    for requirements in (project.get("dependencies"), _of_extras(project.get("optional-dependencies"))):
        bounds = list(_bounds(requirements))
        if bounds:
            lowest = min((bound for bound in bounds if bound is not None), default=None)
            return None if lowest is None else f"{lowest[0]}.{lowest[1]}"
    return None


def _of_extras(extras: object) -> list[object]:
    lists = extras.values() if isinstance(extras, Mapping) else ()
    return [each for requirements in lists if isinstance(requirements, list) for each in requirements]


def _bounds(requirements: object) -> Iterator[tuple[int, int] | None]:
    """The lower bound of each requirement of torch; None for one without."""
    if not isinstance(requirements, list):
        return
    texts = [each for each in requirements if isinstance(each, str) and each.lstrip().lower().startswith("torch")]
    if not texts:
        return
    from packaging.requirements import InvalidRequirement, Requirement

    for text in texts:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.name.lower() == "torch":
            yield _lowest(requirement.specifier)


def _lowest(specifiers: SpecifierSet) -> tuple[int, int] | None:
    """The first two numbers of the greatest lower bound."""
    from packaging.version import InvalidVersion, Version

    found: list[tuple[int, int]] = []
    for each in specifiers:
        if each.operator in (">=", "~=", "==", ">", "==="):
            try:
                version = Version(each.version.removesuffix(".*"))
            except InvalidVersion:
                continue
            found.append((version.major, version.minor))
    return max(found, default=None)
