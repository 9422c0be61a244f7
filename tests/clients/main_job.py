"""The main job with a generated client; the README shows how it begins.

`URL` says where the service is, `KEY` who calls; its model `stub` takes as long as the prompt says.
"""

import os
from typing import TypeVar

from httpx import Timeout
from vibecoder_client import AuthenticatedClient
from vibecoder_client.api.messages import cancel_message, get_full_message, watch_message
from vibecoder_client.api.projects import (
    create_project,
    delete_project,
    get_code,
    get_project,
    get_workflow,
    get_workflow_picture,
)
from vibecoder_client.api.sessions import clear_session, list_messages, open_session, send_message
from vibecoder_client.api.usage import get_session_usage
from vibecoder_client.models import (
    FullMessageOut,
    MessageIn,
    MessageOut,
    MessageStatus,
    Problem,
    ProjectDeleted,
    ProjectIn,
    ProjectOut,
    SessionCleared,
    SessionOut,
    UsageOut,
    WorkflowOut,
)

T = TypeVar("T")

URL, KEY = os.environ["URL"], os.environ["KEY"]

client = AuthenticatedClient(base_url=URL, token=KEY, timeout=Timeout(60))  # a POST waits 55 s
project = create_project.sync(client=client, body=ProjectIn(name="Customer support"))
assert isinstance(project, ProjectOut), project  # or else a Problem
session = open_session.sync(project.id, client=client)
assert isinstance(session, SessionOut), session
prompt = MessageIn(prompt="Create a triage agent")
message = send_message.sync(session.session_id, client=client, body=prompt)
assert isinstance(message, MessageOut), message
print(message.reply)

PROJECT, SESSION, FIRST = project.id, session.session_id, message


def of_type(kind: type[T], answer: object) -> T:
    assert isinstance(answer, kind), answer
    return answer


def the_reply_came_with_a_change_of_the_code() -> None:
    assert FIRST.status is MessageStatus.COMPLETED
    assert FIRST.diff
    assert FIRST.usage
    assert FIRST.usage.total_tokens > 0
    assert "triage" in of_type(str, get_code.sync(PROJECT, client=client))
    workflow = of_type(WorkflowOut, get_workflow.sync(PROJECT, client=client))
    assert [node.node_id for node in workflow.nodes] == ["triage"]
    picture = of_type(str, get_workflow_picture.sync(PROJECT, client=client, since=1))
    assert picture.startswith("<svg")


def everything_about_the_message_can_be_read() -> None:
    full = of_type(FullMessageOut, get_full_message.sync(FIRST.message_id, client=client))
    assert [call.name for call in full.tool_calls] == ["apply_patch"]
    assert [call.model for call in full.responses] == ["offline", "offline"]
    assert [attempt.outcome for attempt in full.attempts] == ["completed"]
    assert "event: completed" in of_type(str, watch_message.sync(FIRST.message_id, client=client))


def a_message_that_is_sent_again_with_its_key_is_the_same() -> None:
    body = MessageIn(prompt="Make it Spanish")
    first, again = (
        send_message.sync_detailed(SESSION, client=client, body=body, idempotency_key="spanish")
        for _ in range(2)
    )
    assert of_type(MessageOut, first.parsed) == again.parsed
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    listed = of_type(list, list_messages.sync(SESSION, client=client))
    assert [entry.content for entry in listed] == ["Create a triage agent", "Make it Spanish"]


def a_queued_message_can_be_cancelled() -> None:
    slow = MessageIn(prompt="[[delay 30]]", model="stub")
    running, queued = (
        send_message.sync_detailed(SESSION, client=client, body=slow, prefer="respond-async")
        for _ in range(2)
    )
    assert running.status_code == queued.status_code == 202
    waiting = of_type(MessageOut, queued.parsed)
    assert (waiting.status, waiting.position) == (MessageStatus.QUEUED, 1)
    ended = of_type(MessageOut, cancel_message.sync(waiting.message_id, client=client))
    assert ended.status is MessageStatus.CANCELLED
    assert ended.error
    assert ended.error.code == "cancelled"


def what_is_wrong_is_a_problem() -> None:
    empty = send_message.sync(SESSION, client=client, body=MessageIn(prompt=""))
    problem = of_type(Problem, empty)
    assert (problem.status, problem.code) == (422, "invalid_request")
    [part] = of_type(list, problem.errors)
    assert part.pointer == "#/prompt"
    assert of_type(Problem, get_project.sync(SESSION, client=client)).code == "project_not_found"


def what_was_spent_is_told() -> None:
    usage = of_type(UsageOut, get_session_usage.sync(SESSION, client=client))
    assert usage.totals.input_tokens > 0
    assert {day.model for day in usage.days} >= {"offline"}


def a_session_can_be_cleared_and_a_project_deleted() -> None:
    cleared = of_type(SessionCleared, clear_session.sync(SESSION, client=client))
    assert cleared.status == "cleared"
    assert list_messages.sync(SESSION, client=client) == []
    of_type(ProjectDeleted, delete_project.sync(PROJECT, client=client))
    assert isinstance(get_project.sync(PROJECT, client=client), Problem)


the_reply_came_with_a_change_of_the_code()
everything_about_the_message_can_be_read()
a_message_that_is_sent_again_with_its_key_is_the_same()
a_queued_message_can_be_cancelled()
what_is_wrong_is_a_problem()
what_was_spent_is_told()
a_session_can_be_cleared_and_a_project_deleted()
client.get_httpx_client().close()
print("All of it was done.")
