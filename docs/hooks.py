"""The hooks of the site (``mkdocs.yml``): pages outside ``docs/``, links that lead out of it, and the navigation."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = {  # a page of the repository that the site has as well, and what it is called there
    "README.md": "index.md",
    "examples/README.md": "tour.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
CODE_OR_TARGET = re.compile(r"^ *```.*?^ *```|`[^`\n]+`|(?<=\]\()[^)\s]+(?=\))", re.DOTALL | re.MULTILINE)
log = logging.getLogger("mkdocs.hooks")  # a warning fails the build under --strict


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages outside ``docs/``, and completes the navigation with the pages that it does not name."""
    for source, name in OUTSIDE.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text("utf-8")))
    pages = [file.src_uri for file in files.documentation_pages()]
    config.nav = [_expanded(entry, files) for entry in config.nav or []]
    named = set(_paths(config.nav))
    if unnamed := [page for page in pages if page not in named]:
        config.nav.append({"More": unnamed})
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The text of a page in which each link that the repository resolves is one that the site, or GitHub, resolves."""
    name = page.file.src_uri
    source = next((path for path, called in OUTSIDE.items() if called == name), f"docs/{name}")

    def target(match: re.Match[str]) -> str:
        written = match[0]
        if written.startswith(("`", "#")) or "```" in written or re.match(r"[a-z]+:", written):
            return written
        path, mark, anchor = written.partition("#")
        meant = os.path.normpath(Path(source).parent / path)
        if not (ROOT / meant).exists():
            log.warning("%s: the link %s leads to nothing", source, written)
        return _address(meant, name, config) + mark + anchor

    return CODE_OR_TARGET.sub(target, markdown)


def _address(meant: str, page: str, config: MkDocsConfig) -> str:
    """Where a file or folder of the repository is found from a page of the site."""
    on_site = OUTSIDE.get(meant) or (meant.removeprefix("docs/") if meant.startswith("docs/") else None)
    if on_site and not on_site.endswith(".py") and (ROOT / meant).is_file():
        return os.path.relpath(on_site, Path(page).parent)
    kind = "tree" if (ROOT / meant).is_dir() else "blob"
    return f"{config.repo_url}/{kind}/main/{meant}"


def _expanded(entry: Any, files: Files) -> Any:
    """An entry of the navigation in which a folder has become its pages, in the order of their headings."""
    match entry:
        case dict():
            return {title: _expanded(value, files) for title, value in entry.items()}
        case list():
            return [_expanded(value, files) for value in entry]
        case str() if entry.endswith("/"):
            pages = [file for file in files.documentation_pages() if file.src_uri.startswith(entry)]
            return [file.src_uri for file in sorted(pages, key=_first)]
    return entry


def _first(file: File) -> tuple[bool, str]:
    """The index of a folder comes first, and then pages by their headings."""
    return file.name != "index", file.content_string.partition("\n")[0]


def _paths(entry: Any) -> Iterator[str]:
    """The pages that an entry of the navigation names."""
    match entry:
        case dict():
            yield from _paths(list(entry.values()))
        case list():
            for value in entry:
                yield from _paths(value)
        case str():
            yield entry
