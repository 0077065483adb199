"""The file of ``--evidence``: every rewrite that was tried, with its trials, whole enough to be run again."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from msgspec import Struct, field

import mha_lint
from mha_lint.findings import Verdict
from mha_lint.validation.evidence import typed_json
from mha_lint.validation.evidence.dependencies import digest
from mha_lint.validation.job import Environment, Job


class JournalError(Exception):
    """A file that holds no evidence; the message names it."""


class Record(Struct, frozen=True):
    """One rewrite that was tried."""

    job: Job
    verdict: Verdict
    environment: Environment | None = None  # replaying takes the one that is there


class Document(Struct, frozen=True):
    """The whole file.

    ``folder`` is the working directory of the run. ``files`` has the SHA-256 of each file that a job is about, as the
    run left it; "" where there was no such file.
    """

    records: tuple[Record, ...]
    tool: str = ""
    folder: str = ""
    files: dict[str, str] = field(default_factory=dict)

    def place_of(self, path: str) -> Path:
        """The place of a file here, where the project may lie in another folder than on the machine of the run.

        It has the same place relative to the working directory; where nothing is there, the recorded one.
        """
        if self.folder:
            here = Path(os.path.abspath(os.path.relpath(path, self.folder)))
            if here.is_file():
                return here
        return Path(path)


class Journal:
    """Writes one JSON document, record by record, so that memory does not grow with the run."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._between = "\n"
        self._paths: set[str] = set()
        self._benches: list[str] = []
        self._failure: OSError | None = None  # a full disk must not cost the fixes
        self._folder = os.getcwd()
        stream.write(f'{{"tool": "{_tool()}", "records": [')

    def add(self, job: Job, environment: Environment, verdict: Verdict) -> None:
        self._paths.add(job.path)
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
            files = {path: digest(path) for path in sorted(self._paths)}
            place = f',\n"folder": {typed_json.dumped(self._folder)},\n"files": {typed_json.dumped(files)}'
            benches = ',\n"benches": [\n' + ",\n".join(self._benches) + "\n]" if self._benches else ""
            self._stream.write(f"\n]{place}{benches}}}\n")
        finally:
            self._stream.close()
        if self._failure is not None:
            raise self._failure


def read(path: Path) -> Document:
    """What ``--evidence`` wrote. Raises :class:`JournalError`."""
    try:
        return typed_json.loaded(path.read_bytes(), Document)
    except OSError as error:
        raise JournalError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from error
    except typed_json.Malformed as error:
        raise JournalError(f"{path}: is no evidence that mha-lint wrote, or not all of it") from error


def differences(document: Document, environment: Environment) -> Iterable[str]:
    """Words for each setup of a recorded run that is not the one that is here."""
    here = _setup(_tool(), environment)
    recorded = {
        _setup(document.tool or "an unknown version", record.environment): None
        for record in document.records
        if record.environment is not None
    }
    return (f"recorded by {there}; executed here by {here}" for there in recorded if there != here)


def _tool() -> str:
    return f"mha-lint {mha_lint.__version__}"


def _setup(tool: str, environment: Environment) -> str:
    devices = ", ".join(f"{kind}: {name}" for kind, name in sorted(environment.devices.items()))
    return f"{tool} with Python {environment.python}, torch {environment.torch_version} on {devices}"
