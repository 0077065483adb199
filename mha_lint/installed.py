"""Rules and fixers of all installed packages: found through entry points, and imported when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Literal

from mha_lint.settings import SettingsError

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

Group = Literal["mha_lint.rules", "mha_lint.fixers"]


@cache
def points(group: Group) -> Mapping[str, EntryPoint]:
    """The entry points of a group by their names, which are codes, in order. Nothing is imported for them.

    Raises:
        SettingsError: two packages have one of the same name.
    """
    from importlib.metadata import entry_points  # slow to import, and only needed when a file is looked at

    found: dict[str, EntryPoint] = {}
    for point in sorted(entry_points(group=group), key=lambda point: point.name):
        other = found.setdefault(point.name, point)
        if other is not point:
            packages = " and ".join(sorted(map(package, (other, point))))
            raise SettingsError(f"{point.name} is declared under {group} by {packages}: uninstall one of them")
    return found


def load(point: EntryPoint) -> object:
    """Import what an entry point names.

    Raises:
        SettingsError: that failed; the message names the package, and what to do.
    """
    try:
        return point.load()
    except Exception as error:  # whatever a package of others does when it is imported
        what = f"{point.value} of {package(point)} can't be imported ({type(error).__name__}: {error})"
        raise SettingsError(f"{point.name}: {what}; update or uninstall that package") from error


def package(point: EntryPoint) -> str:
    """The name and the version of the package that declares an entry point."""
    return _named(point.dist) if point.dist else "an unknown package"


@cache
def _named(dist: Distribution) -> str:
    return f"{dist.name} {dist.version}"  # parses all of the metadata each time
