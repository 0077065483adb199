"""Fixtures for all tests: ``pytester`` runs pytest itself, for the fixture that this package gives."""

from __future__ import annotations

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # there are as many workers as cores

pytest_plugins = ["pytester"]
