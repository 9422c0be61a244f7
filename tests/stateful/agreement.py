"""Does the service say of a project what the model says? Read through the API alone."""

from itertools import groupby, pairwise
from typing import Any

from tests.stateful.application import AppUnderTest
from tests.stateful.model import ModelMessage, ModelProject, ModelSession, is_step

_UNFINISHED = {"queued", "in_progress"}


def agree(app: AppUnderTest, project: ModelProject) -> None:
    """Fail on the first thing that the service and the model see differently."""
    for message in project.messages():
        if message.status != "unfinished":  # give it the time to end
            app.get(f"/messages/{message.id}", {"Prefer": "wait=20"})
    shown = app.get(f"/projects/{project.id}")
    assert {name: shown[name] for name in ("name", "instructions", "code", "revision")} == {
        "name": project.name,
        "instructions": project.instructions,
        "code": project.code,
        "revision": project.revision,
    }
    _same_revisions(app, project)
    sessions = app.pages(f"/projects/{project.id}/sessions", limit=2)
    assert [one["session_id"] for one in sessions] == [one.id for one in project.sessions]
    for session, one in zip(project.sessions, sessions, strict=True):
        _same_session(app, session, one)


def _same_revisions(app: AppUnderTest, project: ModelProject) -> None:
    shown = app.pages(f"/projects/{project.id}/revisions", limit=3)
    assert [one["number"] for one in shown] == list(range(1, project.revision + 1))
    for revision, one in zip(project.revisions, shown, strict=True):
        assert one["code"] == revision.code
        assert one["message_id"] == (revision.message.id if revision.message else None)
    for before, after in pairwise(shown):
        assert is_step(before["code"], after["diff"], after["code"])


def _same_session(app: AppUnderTest, session: ModelSession, shown: dict[str, Any]) -> None:
    expected = {
        "type": "node" if session.node_id else "global",
        "node_id": session.node_id,
        "title": session.title,
        "openai_session_key": session.key,
        "messages": len(session.listed),
        "unfinished": len(session.unfinished),
    }
    assert {name: shown[name] for name in expected} == expected
    assert (shown["status"] == "idle") is (not session.unfinished)
    messages = app.pages(f"/sessions/{session.id}/messages", limit=3)
    assert [one["message_id"] for one in messages] == [one.id for one in session.listed]
    for message, one in zip(session.listed, messages, strict=True):
        _same_message(session, message, one)
    for name in ("input_tokens", "output_tokens"):
        used = sum((one["usage"] or {}).get(name, 0) for one in messages)
        assert shown["usage"][name] == used
    for message in session.messages:
        if message.generation < session.generation:
            _same_message(session, message, app.get(f"/messages/{message.id}"))
    _same_items(app, session)


def _same_message(session: ModelSession, message: ModelMessage, shown: dict[str, Any]) -> None:
    assert shown["session_id"] == session.id
    assert shown["content"] == message.text
    if message.status == "unfinished":
        assert shown["status"] in _UNFINISHED
        if message is not session.unfinished[0]:
            assert shown["status"] == "queued", "it runs before its turn"
    else:
        assert shown["status"] == message.status
    assert shown["reply"] == message.reply
    assert shown["revision"] == message.revision
    assert bool(shown["diff"]) is (message.revision is not None)
    assert (shown["error"] or {}).get("code") == message.code


def _same_items(app: AppUnderTest, session: ModelSession) -> None:
    items = app.pages(f"/sessions/{session.id}/items", limit=7)
    assert [one["message_id"] for one in items] == [one.id for one in session.remembered]
    assert [one["position"] for one in items] == list(range(len(items)))
    prompts = [one["item"]["content"] for one in items if one["item"].get("role") == "user"]
    assert prompts == [text for text, _ in groupby(one.text for one in session.remembered)]


def whole(app: AppUnderTest, project: ModelProject) -> None:
    """Fail when a worker finds anything wrong with a session."""
    for session in project.sessions:
        assert app.get(f"/sessions/{session.id}/check")["findings"] == []
