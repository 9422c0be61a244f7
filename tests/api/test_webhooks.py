"""Webhooks over HTTP, and what a sink gets of messages that end."""

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from tests.api.calls import (
    ASYNC,
    NOBODYS_ID,
    assert_problem,
    new_project,
    new_session,
    new_webhook,
    send,
)
from tests.api.document import check_answers
from tests.eager import eager_service
from tests.services import wait_until
from tests.webhook_sink import WebhookSink, webhook_sink


@pytest.fixture(scope="module")
def near(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Give a service whose webhooks may call this machine."""
    with eager_service(tmp_path_factory.mktemp("near"), webhook_private=True) as client:
        yield check_answers(client)


@pytest.fixture
def sink() -> Iterator[WebhookSink]:
    """Give a sink that takes everything."""
    with webhook_sink() as sink:
        yield sink


def test_a_reply_is_told_as_the_api_shows_it(near: TestClient, sink: WebhookSink) -> None:
    project_id = new_project(near)
    webhook = new_webhook(near, project_id, sink.url)
    sent = send(near, new_session(near, project_id), "Create a triage agent").json()
    [post] = sink.wait(1)
    assert post.is_signed_with(webhook["secret"])
    assert post.json["type"] == "message.completed"
    shown = near.get(f"/messages/{sent['message_id']}").json()
    shown = {
        name: shown[name] for name in shown.keys() - {"position", "starts_in_s", "rolled_back"}
    }
    assert post.json["data"] == shown
    assert post.json["timestamp"] == shown["ended_at"]
    path = f"/webhooks/{webhook['id']}/deliveries"
    wait_until(lambda: near.get(path).json()[0]["status"] == "delivered", "the record")
    [delivery] = near.get(path).json()
    assert (delivery["id"], delivery["message_id"]) == (post.id, sent["message_id"])
    assert (delivery["tries"], delivery["http_status"], delivery["next_at"]) == (1, 204, None)


def test_a_failure_is_told_with_its_error(near: TestClient, sink: WebhookSink) -> None:
    project_id = new_project(near, budget_tokens=0)
    new_webhook(near, project_id, sink.url, statuses=["failed"])
    send(near, new_session(near, project_id))
    [post] = sink.wait(1)
    assert post.json["type"] == "message.failed"
    assert post.json["data"]["error"]["code"] == "budget_exceeded"


def test_a_delivery_is_sent_anew_when_somebody_asks(near: TestClient, sink: WebhookSink) -> None:
    sink.status = 410
    project_id = new_project(near)
    path = f"/webhooks/{new_webhook(near, project_id, sink.url)['id']}/deliveries"
    send(near, new_session(near, project_id))
    wait_until(lambda: near.get(path).json()[0]["status"] == "given_up", "the end of tries")
    sink.status = 200
    delivery = near.get(path).json()[0]
    again = near.post(f"{path}/{delivery['id']}/retry").json()
    assert (again["status"], again["tries"]) == ("pending", 0)
    wait_until(lambda: near.get(path).json()[0]["status"] == "delivered", "the delivery")
    first, second = sink.posts
    assert first.id == second.id
    assert_problem(near.post(f"{path}/{NOBODYS_ID}/retry"), 404, "delivery_not_found")


def test_the_secret_is_shown_once(client: TestClient) -> None:
    project_id = new_project(client)
    webhook = new_webhook(client, project_id, statuses=["failed"])
    secret = webhook.pop("secret")
    assert secret.startswith("whsec_")
    listed = client.get(f"/projects/{project_id}/webhooks")
    read = client.get(f"/webhooks/{webhook['id']}")
    webhook.pop("trace_id")
    for shown in (read.json(), *listed.json()):
        assert webhook.items() <= shown.items()
        assert "secret" not in shown
    assert new_webhook(client, project_id)["secret"] != secret


def test_a_deleted_webhook_is_gone(client: TestClient) -> None:
    project_id = new_project(client)
    path = f"/webhooks/{new_webhook(client, project_id)['id']}"
    assert client.delete(path).json()["status"] == "deleted"
    for answer in (client.get(path), client.delete(path), client.get(f"{path}/deliveries")):
        assert_problem(answer, 404, "webhook_not_found")
    assert client.get(f"/projects/{project_id}/webhooks").json() == []


def test_the_eleventh_webhook_of_a_project_is_refused(client: TestClient) -> None:
    project_id = new_project(client)
    for _ in range(10):
        new_webhook(client, project_id)
    eleventh = client.post(f"/projects/{project_id}/webhooks", json={"url": "https://example.com"})
    assert "Delete one first" in assert_problem(eleventh, 409, "webhooks_full")["detail"]


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://example.com/", "https://"),
        ("https://127.0.0.1/", "private"),
        ("https://2130706433/", "private"),
        ("https://0x7f.1/", "private"),
        ("https://[::1]/", "private"),
        ("https://[::ffff:10.0.0.1]/", "private"),
        ("https://169.254.169.254/latest", "private"),
        ("https://localhost/", "private"),
        ("https://hooks.localhost./", "private"),
        ("https://anna:sesame@example.com/", "user name"),
        ("ftp://example.com/", "scheme"),
        ("example.com", "URL"),
        ("", "URL"),
        ("https://" + "a" * 3000, "2083"),
    ],
)
def test_an_address_that_would_never_be_called_is_refused_at_once(
    client: TestClient, url: str, told: str
) -> None:
    answer = client.post(f"/projects/{new_project(client)}/webhooks", json={"url": url})
    problem = assert_problem(answer, 422, "invalid_request")
    assert problem["errors"][0]["pointer"] == "#/url"
    assert told in problem["detail"]
    assert "sesame" not in answer.text, "nor repeated"


@pytest.mark.parametrize("statuses", [[], ["queued"], ["failed"] * 4, "failed", None])
def test_statuses_are_those_of_ends(client: TestClient, statuses: object) -> None:
    body = {"url": "https://example.com", "statuses": statuses}
    answer = client.post(f"/projects/{new_project(client)}/webhooks", json=body)
    assert_problem(answer, 422, "invalid_request")


def test_without_a_worker_what_is_told_waits(idle: TestClient) -> None:
    project_id = new_project(idle)
    path = f"/webhooks/{new_webhook(idle, project_id)['id']}/deliveries"
    sent = [
        send(idle, new_session(idle, project_id, new=True), headers=ASYNC).json()["message_id"]
        for _ in range(2)
    ]
    for message_id in sent:
        assert idle.post(f"/messages/{message_id}/cancel").json()["status"] == "cancelled"
    newest, oldest = idle.get(path).json()
    assert [oldest["message_id"], newest["message_id"]] == sent
    assert (newest["status"], newest["tries"]) == ("pending", 0)
    assert newest["next_at"]
