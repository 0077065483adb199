"""The values of ``--output-format``, and what renders each: a module of this package and a function in it.

A module is imported when its format is asked for.
"""

from __future__ import annotations

FORMATS = {
    "full": "text:full",
    "concise": "text:concise",
    "json": "json:render",
    "github": "github:render",
    "gitlab": "gitlab:render",
    "junit": "junit:render",
    "markdown": "markdown:render",
    "rdjson": "rdjson:render",
    "sarif": "sarif:render",
}
# What can be shown under --statistics.
STATISTICS = {
    "full": "statistics:as_text",
    "concise": "statistics:as_text",
    "json": "statistics:as_json",
    "markdown": "statistics:as_markdown",
}
FOR_PEOPLE = ("full", "concise")
WITH_DIFF = (*FOR_PEOPLE, "github")  # --diff shows a diff in their place
