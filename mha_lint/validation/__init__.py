"""Validation by execution: run the module before and after a rewrite, and say what was seen.

Importing this package costs nothing and imports no torch: torch lives in a server process of its own
(:mod:`mha_lint.validation.child.server`), and the user's code runs only in children forked from that server.
"""

from __future__ import annotations

from mha_lint.validation.executor import Executor
from mha_lint.validation.job import (
    ClusterMissing,
    DeviceMissing,
    Environment,
    Job,
    Probed,
    Probing,
    Reached,
    Reaching,
    TorchMissing,
)
from mha_lint.validation.validator import Validator

__all__ = [
    "ClusterMissing",
    "DeviceMissing",
    "Environment",
    "Executor",
    "Job",
    "Probed",
    "Probing",
    "Reached",
    "Reaching",
    "TorchMissing",
    "Validator",
]
