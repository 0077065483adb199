"""The file of ``--evidence``: every rewrite that was tried, with its trials, whole enough to be run again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import mha_lint
from mha_lint.findings import Verdict
from mha_lint.validation.evidence import typed_json
from mha_lint.validation.job import Environment, Job


class JournalError(Exception):
    """A file that holds no evidence; the message names it."""


@dataclass(frozen=True, slots=True)
class Record:
    """One rewrite that was tried."""

    job: Job
    verdict: Verdict
    environment: Environment | None = None  # replaying takes the one that is there


@dataclass(frozen=True, slots=True)
class Document:
    """The whole file."""

    records: tuple[Record, ...]
    tool: str = ""


class Journal:
    """Writes one JSON document, record by record, so that memory does not grow with the run."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._between = "\n"
        self._benches: list[str] = []
        self._failure: OSError | None = None  # a full disk must not cost the fixes
        stream.write(f'{{"tool": "mha-lint {mha_lint.__version__}", "records": [')

    def add(self, job: Job, environment: Environment, verdict: Verdict) -> None:
        try:
            self._stream.write(self._between + typed_json.dumped(Record(job, verdict, environment)))
        except OSError as error:
            self._failure = error
        self._between = ",\n"

    def add_bench(self, record: object) -> None:
        """Keep a timing, which goes to the end of the document. It is no part of what is replayed."""
        self._benches.append(typed_json.dumped(record))

    def close(self) -> None:
        """Raises OSError where not everything could be written."""
        try:
            benches = ',\n"benches": [\n' + ",\n".join(self._benches) + "\n]" if self._benches else ""
            self._stream.write(f"\n]{benches}}}\n")
        finally:
            self._stream.close()
        if self._failure is not None:
            raise self._failure


def read(path: Path) -> list[tuple[Job, Verdict]]:
    """The records of a file that ``--evidence`` wrote. Raises :class:`JournalError`."""
    try:
        document = typed_json.loaded(path.read_bytes(), Document)
    except OSError as error:
        raise JournalError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from error
    except typed_json.Malformed as error:
        raise JournalError(f"{path}: is no evidence that mha-lint wrote, or not all of it") from error
    return [(record.job, record.verdict) for record in document.records]
