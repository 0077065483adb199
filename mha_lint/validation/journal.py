"""The file of ``--evidence``: every rewrite that was tried, with its trials, whole enough to be run again."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

import mha_lint
from mha_lint.findings import Verdict
from mha_lint.validation.job import Environment, Job, job_from_json, job_to_json, verdict_from_json, verdict_to_json


class JournalError(Exception):
    """A file that holds no evidence; the message names it."""


class Journal:
    """Writes one JSON document, record by record, so that memory does not grow with the run."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._between = "\n"
        self._failure: OSError | None = None  # a full disk must not cost the fixes
        stream.write(f'{{"tool": "mha-lint {mha_lint.__version__}", "records": [')

    def add(self, job: Job, environment: Environment, verdict: Verdict) -> None:
        record = {
            "environment": asdict(environment),
            "job": job_to_json(job),
            "verdict": verdict_to_json(verdict),
        }
        try:
            self._stream.write(self._between + json.dumps(record))
        except OSError as error:
            self._failure = error
        self._between = ",\n"

    def close(self) -> None:
        """Raises OSError where not everything could be written."""
        try:
            self._stream.write("\n]}\n")
        finally:
            self._stream.close()
        if self._failure is not None:
            raise self._failure


def read(path: Path) -> list[tuple[Job, Verdict]]:
    """The records of a file that ``--evidence`` wrote. Raises :class:`JournalError`."""
    try:
        records = json.loads(path.read_text("utf-8"))["records"]
        return [(job_from_json(record["job"]), verdict_from_json(record["verdict"])) for record in records]
    except OSError as error:
        raise JournalError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise JournalError(f"{path}: is no evidence that mha-lint wrote, or not all of it") from error
