"""Any history of calls, kills and restarts: what the API says is what a small model says."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.stateful import fewer
from tests.stateful.agreement import agree, whole
from tests.stateful.application import AppUnderTest
from tests.stateful.model import (
    START,
    Kind,
    ModelMessage,
    ModelProject,
    ModelRevision,
    ModelSession,
    write_prompt,
)

pytestmark = pytest.mark.services

_CODES = [
    START,
    START + '\nbilling = Agent(name="billing", instructions="Grüße, 你好, \U0001f600")\n',
    '"""Nothing that the stub\'s patch knows."""\n',
]
_TEXTS = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=30)
_NODES = st.sampled_from([None, None, "triage", "billing"])
_INDEX = st.integers(0, 30)
_MOST_RESTARTS = 1
_STEPS = 30


class Histories(RuleBasedStateMachine):
    """Calls that one client makes, one after the other, and processes that die in between."""

    def __init__(self, app: AppUnderTest) -> None:
        super().__init__()
        self.app = app
        self.projects: list[ModelProject] = []
        self.deleted: list[ModelProject] = []
        self.touched: ModelProject | None = None
        self.restarts = 0
        self.prompts = 0

    def project(self, index: int) -> ModelProject:
        self.touched = self.projects[index % len(self.projects)]
        return self.touched

    def session(self, index: int) -> ModelSession:
        known = [session for project in self.projects for session in project.sessions]
        session = known[index % len(known)]
        self.touched = session.project
        return session

    has_projects = precondition(lambda self: bool(self.projects))
    has_sessions = precondition(lambda self: any(one.sessions for one in self.projects))
    has_messages = precondition(lambda self: any(any(one.messages()) for one in self.projects))

    @precondition(lambda self: len(self.projects) < 3)
    @rule(name=_TEXTS, instructions=_TEXTS, code=st.sampled_from([None, *_CODES]))
    def create_project(self, name: str, instructions: str, code: str | None) -> None:
        body = {"name": name, "instructions": instructions, "code": code}
        made = self.app.call("POST", "/projects", body)
        assert made.status_code == 201, made.text
        project = ModelProject(name, instructions, id=made.json()["id"])
        project.revisions = [ModelRevision(START if code is None else code)]
        self.projects.append(project)
        self.touched = project

    @has_projects
    @rule(at=_INDEX, node_id=_NODES, new=st.booleans(), title=st.none() | _TEXTS)
    def open_session(self, at: int, node_id: str | None, new: bool, title: str | None) -> None:
        project = self.project(at)
        there = project.places(node_id)
        body = {"node_id": node_id, "new": new, "title": title}
        opened = self.app.call("POST", f"/projects/{project.id}/sessions", body)
        if there and not new:
            assert opened.status_code == 200, opened.text
            assert opened.json()["session_id"] == there[0].id
            return
        assert opened.status_code == 201, opened.text
        session = ModelSession(project, node_id, title, len(there) + 1)
        session.id = opened.json()["session_id"]
        project.sessions.append(session)

    @has_sessions
    @rule(
        at=_INDEX,
        kind=st.sampled_from([*Kind, Kind.PLAIN, Kind.AGENT]),
        on_busy=st.sampled_from(["enqueue", "enqueue", "reject", "rollback"]),
        patient=st.booleans(),
    )
    def send(self, at: int, kind: Kind, on_busy: str, patient: bool) -> None:
        session = self.session(at)
        self.prompts += 1
        text = write_prompt(kind, self.prompts)
        message = ModelMessage(kind, text, session.generation, on_busy)
        refusal = session.refusal(on_busy)
        cancelled = [] if refusal else session.accept(message, on_busy)
        # a client that would wait in vain is not patient
        wait = "wait=20" if patient and message.status != "unfinished" else "wait=0.01"
        answer = self.post(session, message, wait)
        if refusal:
            assert (answer.status_code, answer.json()["code"]) == refusal
            assert answer.status_code != 429 or int(answer.headers["Retry-After"]) >= 1
            return
        message.id = answer.json()["message_id"]
        if answer.status_code in {200, 202}:
            assert answer.json()["rolled_back"] == [one.id for one in cancelled]
        assert "Idempotency-Replayed" not in answer.headers
        self.told(message, answer, patient=wait == "wait=20")

    def post(self, session: ModelSession, message: ModelMessage, wait: str) -> Any:
        key = message.text[:39].replace(" ", "-")  # of the prompt, which is unlike any other
        headers = {"Prefer": wait, "Idempotency-Key": key}
        body = {"prompt": message.text, "on_busy": message.on_busy}
        return self.app.call("POST", f"/sessions/{session.id}/messages", body, headers)

    def told(self, message: ModelMessage, answer: Any, *, patient: bool) -> None:
        body = answer.json()
        assert body["message_id"] == message.id
        match answer.status_code:
            case 200:
                assert (message.status, message.reply) == ("completed", body["reply"])
                assert (message.text, message.revision) == (body["content"], body["revision"])
            case 202:
                assert not patient or message.status == "unfinished"
                assert answer.headers["Location"] == f"/messages/{message.id}"
            case _:
                assert message.status in {"failed", "cancelled"}
                assert message.code == body["code"]

    @has_messages
    @rule(at=_INDEX, other_body=st.booleans())
    def send_again(self, at: int, other_body: bool) -> None:
        session, message = self.message(at)
        if other_body:
            other = "enqueue" if message.on_busy == "reject" else "reject"
            answer = self.post(session, replace(message, on_busy=other), "wait=0.01")
            assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
            return
        answer = self.post(session, message, "wait=0.01")
        assert answer.headers["Idempotency-Replayed"] == "true"
        self.told(message, answer, patient=False)

    def message(self, index: int) -> tuple[ModelSession, ModelMessage]:
        known = [(s, m) for p in self.projects for s in p.sessions for m in s.messages]
        session, message = known[index % len(known)]
        self.touched = session.project
        return session, message

    @has_messages
    @rule(at=_INDEX)
    def cancel(self, at: int) -> None:
        session, message = self.message(at)
        if message.status == "unfinished":
            message.status, message.code = "cancelled", "cancelled"
        session.settle()
        shown = self.app.call("POST", f"/messages/{message.id}/cancel").json()
        assert (shown["message_id"], shown["status"]) == (message.id, message.status)

    @has_messages
    @rule(at=_INDEX)
    def fork(self, at: int) -> None:
        session, message = self.message(at)
        if message.status != "unfinished":  # give it the time to end
            self.app.get(f"/messages/{message.id}", {"Prefer": "wait=20"})
        answer = self.app.call("POST", f"/messages/{message.id}/fork")
        if message.status == "unfinished":
            assert (answer.status_code, answer.json()["code"]) == (409, "message_unfinished")
            return
        project, node_id = session.project, session.node_id
        number = len(project.places(node_id)) + 1
        forked = ModelSession(project, node_id, session.title, number, answer.json()["session_id"])
        forked.inherited = session.remembered_after(message)
        project.sessions.append(forked)

    @has_sessions
    @rule(at=_INDEX)
    def clear(self, at: int) -> None:
        session = self.session(at)
        session.clear()
        assert self.app.call("DELETE", f"/sessions/{session.id}").json()["status"] == "cleared"

    @has_sessions
    @rule(at=_INDEX, title=st.none() | _TEXTS)
    def retitle(self, at: int, title: str | None) -> None:
        session = self.session(at)
        session.title = title
        changed = self.app.call("PATCH", f"/sessions/{session.id}", {"title": title})
        assert changed.json()["title"] == title

    @has_projects
    @rule(at=_INDEX, code=st.sampled_from(_CODES), name=_TEXTS, stale=st.booleans())
    def change(self, at: int, code: str, name: str, stale: bool) -> None:
        project = self.project(at)
        match = {"If-Match": f'"{project.revision + stale}"'}
        body = {"name": name, "code": code}
        answer = self.app.call("PATCH", f"/projects/{project.id}", body, match)
        assert answer.status_code == (412 if stale else 200), answer.text
        if not stale:
            project.name = name
            project.revise(code)

    @has_projects
    @rule(at=_INDEX, number=st.integers(1, 5))
    def restore(self, at: int, number: int) -> None:
        project = self.project(at)
        answer = self.app.call("POST", f"/projects/{project.id}/revisions/{number}/restore")
        if number > project.revision:
            assert (answer.status_code, answer.json()["code"]) == (404, "revision_not_found")
        else:
            project.revise(project.revisions[number - 1].code)
            assert answer.json()["revision"] == project.revision

    @has_projects
    @rule(at=_INDEX, sure=st.integers(0, 2))
    def delete_project(self, at: int, sure: int) -> None:
        if sure == 0:
            project = self.project(at)
            assert self.app.call("DELETE", f"/projects/{project.id}").status_code == 200
            self.projects.remove(project)
            self.deleted.append(project)

    @precondition(lambda self: self.restarts < _MOST_RESTARTS and self.prompts > 3)
    @rule(kill=st.booleans())
    def restart(self, kill: bool) -> None:
        self.restarts += 1
        self.app.restart(kill=kill)

    @invariant()
    def the_service_agrees_with_the_model(self) -> None:
        if self.touched in self.projects:
            assert self.touched is not None
            agree(self.app, self.touched)

    def teardown(self) -> None:
        for project in self.projects:
            agree(self.app, project)
            whole(self.app, project)
        own = {project.id for project in (*self.projects, *self.deleted)}
        listed = [one["id"] for one in self.app.pages("/projects", limit=500)]
        assert [one for one in listed if one in own] == [one.id for one in self.projects]
        for project in self.deleted:
            self.is_gone(project)
        for project in self.projects:  # nothing runs on for the next history
            self.app.call("DELETE", f"/projects/{project.id}")

    def is_gone(self, project: ModelProject) -> None:
        below = [f"/sessions/{session.id}" for session in project.sessions]
        below += [f"/messages/{message.id}" for message in project.messages()]
        for path in (f"/projects/{project.id}", f"/projects/{project.id}/sessions", *below):
            assert self.app.call("GET", path).status_code == 404, path


def test_what_the_api_says_is_what_a_small_model_of_it_says(app: AppUnderTest) -> None:
    steps = fewer(stateful_step_count=_STEPS)

    class Here(Histories):
        def __init__(self) -> None:
            super().__init__(app)

    run_state_machine_as_test(Here, settings=steps)
