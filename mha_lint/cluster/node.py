"""The side of a cluster's node: one question is answered by a validator there."""

from __future__ import annotations

import socket

from msgspec.structs import replace

from mha_lint.cluster.messages import Answer, Asking, Request, tool
from mha_lint.validation.evidence import typed_json
from mha_lint.validation.evidence.dependencies import digest
from mha_lint.validation.job import DeviceMissing, TorchMissing
from mha_lint.validation.validator import Validator


def answer(text: str) -> str:
    """Answer the JSON of a :class:`Request` by the JSON of an :class:`Answer`. This is what submitit calls.

    Raises :class:`typed_json.Malformed` where the text is none.
    """
    asking = typed_json.loaded(text, Asking)
    return typed_json.dumped(replace(_answered(text, asking.tool), name=asking.name))


def _answered(text: str, asking: str) -> Answer:
    if asking != tool():
        return _failed(f"runs {tool()}, and this machine {asking}: install the same one on both")
    request = typed_json.loaded(text, Request)
    job = request.job
    if job is not None and digest(job.path) != request.digest:
        return _failed(f"has other bytes at {job.path}: the project must lie on a file system that both share")
    try:
        with Validator(devices=request.devices, require=request.require, timeout=request.timeout) as validator:
            environment = validator.environment()
            if job is None:
                return Answer(environment=environment)
            if request.wanted is not None:
                return Answer(environment=environment, bench=validator.bench(job, request.wanted))
            judged = validator.judge(job)
            return Answer(environment=environment, verdict=judged.verdict, files=judged.files)
    except (TorchMissing, DeviceMissing) as error:
        return _failed(f"says: {error}")


def _failed(why: str) -> Answer:
    return Answer(failure=f"node {socket.gethostname()} {why}")
