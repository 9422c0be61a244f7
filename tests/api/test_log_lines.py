"""The log of a service that runs: each line is JSON, or readable, and says what it is about."""

import asyncio
import io
import json
import os
import pty
import re
from contextvars import copy_context
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
import structlog
from structlog.contextvars import bind_contextvars, get_contextvars

from shared.logging import configure_logging, context_about, get_logger
from shared.settings import Settings
from tests.api.calls import TRACE_ID, at_once, new_project, new_session, send
from tests.services import EmbeddedService

IDS = ("message_id", "session_id", "project_id")


def lines_of(embedded: EmbeddedService) -> list[dict[str, Any]]:
    """Read the log; the greeting, which is for a person, goes to standard output before it."""
    text = embedded.log.read_text()
    greeting = re.compile(r"\nVibeCoder sessions: .*?Create a triage agent\"\}'\n\n", re.DOTALL)
    return [json.loads(line) for line in greeting.sub("", text).splitlines() if line]


def test_each_line_of_a_message_bears_its_ids(embedded: EmbeddedService) -> None:
    with httpx2.Client(base_url=embedded.url, timeout=30, trust_env=False) as client:
        project_id = new_project(client)
        sessions = [new_session(client, project_id, new=True) for _ in range(3)]
        prompts = ["Hello", "[[status 500]]", "[[delay 0.2]]"]
        answers = at_once(
            [
                lambda s=session_id, p=prompt: send(client, s, p)  # type: ignore[misc]
                for session_id in sessions
                for prompt in prompts
            ]
        )
        shown = [client.get(f"/messages/{a.json()['message_id']}").json() for a in answers]
    lines = lines_of(embedded)
    for message in shown:
        own = [line for line in lines if line.get("message_id") == message["message_id"]]
        assert {line["logger"].split(".")[0] for line in own} == {"api", "worker"}
        for line in own:
            assert {name: line[name] for name in (*IDS, "trace_id")} == {
                name: message[name] for name in (*IDS, "trace_id")
            }


def test_each_line_is_json_with_a_time_a_level_and_what_it_is_about(
    embedded: EmbeddedService,
) -> None:
    before = len(lines_of(embedded))
    with httpx2.Client(base_url=embedded.url, timeout=30, trust_env=False) as client:
        session_id = new_session(client)
        client.get(f"/sessions/{session_id}")
        client.get("/nowhere")
        send(client, session_id)
    lines = lines_of(embedded)[before:]
    assert len(lines) > 5
    for line in lines:
        assert line.keys() >= {"event", "level", "logger", "timestamp"}
        assert line["level"] in {"debug", "info"}  # a warning in a normal run is a defect
        if line["event"] == "answered":
            assert TRACE_ID.fullmatch(line["trace_id"])
            for kind, found in re.findall(
                r"/(project|session|message)s/([0-9a-f-]{36})", line["path"]
            ):
                assert line[f"{kind}_id"] == found


def test_on_a_terminal_a_line_is_readable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    with io.TextIOWrapper(io.FileIO(theirs, "w"), write_through=True) as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        try:
            configure_logging(Settings(data_dir=tmp_path))
            with structlog.contextvars.bound_contextvars(message_id="m-1"):
                get_logger("worker.test").info("message completed")
            line = re.sub(r"\x1b\[[0-9;]*m", "", os.read(ours, 4096).decode())
        finally:
            monkeypatch.undo()
            configure_logging(Settings(data_dir=tmp_path))
    os.close(ours)
    assert re.match(r"\d{4}-\S+ \[info +\] message completed +.*message_id=m-1", line)


async def test_what_is_done_for_another_message_does_not_bear_this_ones_ids() -> None:
    one, other = uuid4(), uuid4()

    async def ids() -> dict[str, Any]:
        return dict(get_contextvars())

    def in_one() -> dict[str, Any]:
        bind_contextvars(message_id=str(one), trace_id="trace_1")
        return {"one": context_about(one), "other": context_about(other)}

    contexts = copy_context().run(in_one)
    found = {
        name: await asyncio.get_running_loop().create_task(ids(), context=context)
        for name, context in contexts.items()
    }
    assert found["one"].items() >= {"message_id": str(one), "trace_id": "trace_1"}.items()
    assert found["other"] == {"message_id": str(other)}
