"""Fixtures for all tests: ``pytester`` runs pytest itself, for the fixture that this package gives."""

from __future__ import annotations

pytest_plugins = ["pytester"]
