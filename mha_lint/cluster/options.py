"""``--executor-option KEY=VALUE``: what is told to submitit, and through it to the scheduler."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from mha_lint.validation.job import ClusterMissing

INSTALL = '--executor slurm needs submitit: pip install "mha-lint[cluster]"'
CLUSTERS = ("slurm", "local")  # local: processes of this machine, which take the same way
_COUNTS_GPUS = ("gpus_per_node", "gpus_per_task", "num_gpus", "gres")
# What submitit knows for each kind of cluster; all else is an option of one kind, and is named for it.
_SHARED = (
    "cpus_per_task", "gpus_per_node", "mem_gb", "name", "nodes", "stderr_to_stdout", "tasks_per_node", "timeout_min",
)  # fmt: skip
Value = str | int | float | bool


class Options(Struct, frozen=True):
    """What ``--executor-option`` said. ``folder`` is where submitit keeps its files; None: nowhere for long.

    ``python`` is the command that starts Python on a node, "" for this very one. ``parameters`` go to
    ``AutoExecutor.update_parameters``.
    """

    cluster: str
    folder: Path | None
    python: str
    parameters: Mapping[str, Value]


def parse(given: Mapping[str, str], *, devices: tuple[str, ...], timeout: float) -> Options:
    """The options by their keys. A job may take the time of an import and of a fix, ``timeout`` seconds each.

    Raises :class:`ClusterMissing`.
    """
    left = dict(given)
    cluster = left.pop("cluster", "slurm")
    if cluster not in CLUSTERS:
        raise ClusterMissing(f"--executor-option cluster={cluster}: expected one of {', '.join(CLUSTERS)}")
    folder, python = left.pop("folder", ""), left.pop("python", "")
    parameters: dict[str, Value] = {"name": "mha-lint", "timeout_min": math.ceil(2 * timeout / 60) + 5}
    if (
        cluster == "slurm"
        and devices != ("cpu",)
        and not any(key.removeprefix("slurm_") in _COUNTS_GPUS for key in left)
    ):
        parameters["gpus_per_node"] = 1
    for key, value in left.items():
        named = key if key in _SHARED or key.startswith(("slurm_", "local_")) else f"slurm_{key}"
        parameters[named] = _value(value)
    return Options(cluster, Path(folder) if folder else None, python, parameters)


def _value(text: str) -> Value:
    """A truth, or a number as people write them; "007" and "1:00" stay texts."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        if str(number) == text:
            return number
    return text
