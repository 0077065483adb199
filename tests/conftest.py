"""How tests are spread over workers, and ``pytester``, which runs pytest itself, for the fixture of this package."""

from __future__ import annotations

import os
from typing import Any

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # there are as many workers as cores

pytest_plugins = ["pytester"]
# Files whose tests share what takes long to make: an installation, a wheel.
SHARING = ("test_pre_commit.py", "test_packaging.py")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each test to the worker that is idle, and tests that share something to the same one."""
    from xdist.scheduler import LoadScopeScheduling

    class Sharing(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return Sharing(config, log)


def group_of(nodeid: str) -> str:
    """The name of the group that a test belongs to. All tests of one corpus file are a group: it is fixed once."""
    file, _, test = nodeid.partition("::")
    if file.endswith("test_corpus.py") and "[" in test:
        return test[test.index("[") :]
    return file if file.endswith(SHARING) else nodeid
