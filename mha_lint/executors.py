"""Where code is executed: here, or on the nodes of a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mha_lint.validation import Executor
    from mha_lint.validation.evidence.journal import Journal


def executor(
    cluster: Mapping[str, str] | None,
    *,
    devices: tuple[str, ...],
    require: tuple[str, ...],
    timeout: float,
    cache_dir: Path | None = None,
    journal: Journal | None = None,
    lanes: int = 1,
) -> Executor:
    """The executor of a run. ``cluster`` has what ``--executor-option`` said; None: code is executed here.

    Raises :class:`mha_lint.validation.ClusterMissing` where there is no cluster.
    """
    if cluster is None:
        from mha_lint.validation import Validator

        return Validator(
            devices=devices, require=require, timeout=timeout, cache_dir=cache_dir, journal=journal, lanes=lanes
        )
    from mha_lint.cluster.executor import Cluster
    from mha_lint.cluster.options import parse

    options = parse(cluster, devices=devices, timeout=timeout)
    return Cluster(
        options, devices=devices, require=require, timeout=timeout, cache_dir=cache_dir, journal=journal, lanes=lanes
    )
