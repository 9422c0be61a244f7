"""Who may: every route, without a key, with a wrong one, another owner's and a read-only one."""

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.routing import BaseRoute, Route
from starlette.testclient import TestClient

from api import auth
from api.dependencies import Operator
from shared.store import keys
from shared.tables import Role
from shared.workflow.checker import PLACES, CodeChecker, _Reports
from shared.workflow.text import EMPTY_WORKFLOW
from tests.api.calls import (
    ASYNC,
    NOBODYS_ID,
    assert_problem,
    at_once,
    new_delivery,
    new_project,
    new_session,
    send,
)
from tests.api.document import check_answers, operations
from tests.eager import eager_service, idle_service
from tests.services import wait_until

# what everybody may read; all else wants a key
OPEN = {
    ("GET", "/health"),
    ("GET", "/ready"),
    ("GET", "/problems/{code}"),
    ("GET", "/"),
    ("GET", "/docs"),
    ("GET", "/openapi.json"),
}
FILES = ("MOUNT", "/console")  # of the page, open as well
# where something of somebody's is named: for all others it does not exist
OWNED: dict[tuple[str, str], object] = {
    ("GET", "/projects/{project_id}"): None,
    ("PATCH", "/projects/{project_id}"): {"name": "Mine"},
    ("DELETE", "/projects/{project_id}"): None,
    ("GET", "/projects/{project_id}/code"): None,
    ("GET", "/projects/{project_id}/workflow"): None,
    ("GET", "/projects/{project_id}/workflow.svg"): None,
    ("GET", "/projects/{project_id}/revisions"): None,
    ("GET", "/projects/{project_id}/revisions/{number}"): None,
    ("POST", "/projects/{project_id}/revisions/{number}/restore"): None,
    ("GET", "/projects/{project_id}/sessions"): None,
    ("POST", "/projects/{project_id}/sessions"): {},
    ("GET", "/sessions/{session_id}"): None,
    ("PATCH", "/sessions/{session_id}"): {"title": "Mine"},
    ("DELETE", "/sessions/{session_id}"): None,
    ("GET", "/sessions/{session_id}/items"): None,
    ("GET", "/sessions/{session_id}/messages"): None,
    ("POST", "/sessions/{session_id}/messages"): {"prompt": "What does it do?"},
    ("GET", "/messages/{message_id}"): None,
    ("PATCH", "/messages/{message_id}"): {"prompt": "What does it do?"},
    ("DELETE", "/messages/{message_id}"): None,
    ("GET", "/projects/{project_id}/usage"): None,
    ("GET", "/sessions/{session_id}/usage"): None,
    ("GET", "/sessions/{session_id}/check"): None,
    ("POST", "/sessions/{session_id}/repair"): None,
    ("GET", "/messages/{message_id}/usage"): None,
    ("GET", "/messages/{message_id}/trace.svg"): None,
    ("POST", "/messages/{message_id}/fork"): {},
    ("GET", "/traces/{trace_id}"): None,
    ("GET", "/messages/{message_id}/full"): None,
    ("GET", "/messages/{message_id}/events"): None,
    ("POST", "/messages/{message_id}/cancel"): None,
    ("GET", "/projects/{project_id}/webhooks"): None,
    ("POST", "/projects/{project_id}/webhooks"): {"url": "https://example.com/hook"},
    ("GET", "/webhooks/{webhook_id}"): None,
    ("DELETE", "/webhooks/{webhook_id}"): None,
    ("GET", "/webhooks/{webhook_id}/deliveries"): None,
    ("POST", "/webhooks/{webhook_id}/deliveries/{delivery_id}/retry"): None,
}
# where everybody with a key finds their own
OWN: dict[tuple[str, str], object] = {
    ("GET", "/caller"): None,
    ("GET", "/operations"): None,
    ("GET", "/projects"): None,
    ("POST", "/projects"): {"name": "Another"},
}
# figures of all owners: only for a key of the role admin
OPERATORS: dict[tuple[str, str], object] = {("GET", "/metrics"): None}
CLOSED = OWNED | OWN | OPERATORS


@dataclass
class AppUnderTest:
    """A service with keys, and what one owner has in it."""

    client: TestClient
    known: dict[str, str]

    def key(self, owner: str, role: Role = Role.WRITE, lasts_s: float | None = None) -> str:
        """Make a key."""
        assert self.client.portal
        return self.client.portal.call(self._create, owner, role, lasts_s)

    async def _create(self, owner: str, role: Role, lasts_s: float | None) -> str:
        async with self.client.app.state.services.database.begin() as db:  # type: ignore[attr-defined]
            return await keys.create(db, name=owner, owner=owner, role=role, lasts_s=lasts_s)

    def revoke(self, key: str) -> None:
        """End a key."""
        assert self.client.portal
        assert self.client.portal.call(self._revoke, key)

    async def _revoke(self, key: str) -> bool:
        async with self.client.app.state.services.database.begin() as db:  # type: ignore[attr-defined]
            return await keys.revoke(db, key.split("_")[1])

    def call(
        self, route: tuple[str, str], key: str | None, known: dict[str, str] | None = None
    ) -> httpx2.Response:
        """Call a route with what is known, under a key."""
        method, template = route
        path = template.format(**(self.known if known is None else known))
        return self.client.request(method, path, json=CLOSED.get(route), headers=bearer(key))


def bearer(key: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppUnderTest]:
    """Give a service in which alice has a project, a session and a queued message."""
    with idle_service(tmp_path_factory.mktemp("app")) as client:
        app = AppUnderTest(check_answers(client), {})
        client.headers.update(bearer(app.key("alice")))
        project_id = new_project(client)
        session_id = new_session(client, project_id)
        webhook_id, delivery_id = new_delivery(client, project_id, session_id)
        message = send(client, session_id, headers=ASYNC).json()
        app.known = {
            "project_id": project_id,
            "webhook_id": webhook_id,
            "delivery_id": delivery_id,
            "session_id": session_id,
            "message_id": message["message_id"],
            "trace_id": message["trace_id"],
            "number": "1",
            "code": "expired",
        }
        del client.headers["Authorization"]
        yield app


@pytest.fixture(scope="module")
def keyed(app: AppUnderTest) -> dict[str, str]:
    """Give a key of each kind."""
    return {
        "alice": app.key("alice"),
        "reader": app.key("alice", Role.READ),
        "mallory": app.key("mallory"),
        "operator": app.key("operator", Role.ADMIN),
    }


def routes(known: Iterable[BaseRoute]) -> set[tuple[str, str]]:
    """Return methods and paths, those of routers and those that no document names included."""
    found: set[tuple[str, str]] = set()
    for route in known:
        if isinstance(route, Route):
            found |= {(method, route.path) for method in (route.methods or set()) - {"HEAD"}}
        elif router := getattr(route, "original_router", None):  # what FastAPI makes of a router
            found |= routes(router.routes)
        else:
            found.add((type(route).__name__.upper(), getattr(route, "path", "?")))
    return found


def test_every_route_is_in_the_table(app: AppUnderTest) -> None:
    routed = app.client.app
    assert isinstance(routed, FastAPI)
    found = routes(routed.routes)
    assert found == OPEN | {FILES} | CLOSED.keys()
    assert app.client.get("/console/app.js").status_code == 200
    assert found >= {(method.upper(), path) for path, method, _ in operations()}


def test_what_is_open_asks_for_no_key(app: AppUnderTest, subtests: pytest.Subtests) -> None:
    for route in sorted(OPEN):
        with subtests.test(" ".join(route)):
            # 503: it is not ready, since there is no worker
            assert app.call(route, None).status_code in (200, 503)
            assert app.call(route, "vck_wrong").status_code in (200, 503)


def test_a_request_without_a_key_is_refused(app: AppUnderTest, subtests: pytest.Subtests) -> None:
    for route in CLOSED:
        with subtests.test(" ".join(route)):
            answer = app.call(route, None)
            problem = assert_problem(answer, 401, "key_required")
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
            assert "python -m api keys create" in problem["detail"]


def test_a_wrong_key_is_refused(
    app: AppUnderTest, keyed: dict[str, str], subtests: pytest.Subtests
) -> None:
    right = keyed["alice"]
    for route in CLOSED:
        with subtests.test(" ".join(route)):
            for wrong in ("vck_wrong", right[:-1], right[:-1] + ("0" if right[-1] != "0" else "1")):
                answer = app.call(route, wrong)
                assert_problem(answer, 401, "key_required")
                assert wrong not in answer.text


def test_what_another_owner_has_does_not_exist(
    app: AppUnderTest, keyed: dict[str, str], subtests: pytest.Subtests
) -> None:
    ids = {name: NOBODYS_ID for name in app.known if name.endswith("_id")}
    ids["trace_id"] = f"trace_{UUID(NOBODYS_ID).hex}"
    for route in OWNED:
        with subtests.test(" ".join(route)):
            for key in (keyed["mallory"], keyed["operator"]):
                theirs = app.call(route, key)
                missing = app.call(route, key, app.known | ids)
                assert theirs.status_code == missing.status_code == 404
                assert told(theirs, app.known) == told(missing, ids)


def told(answer: httpx2.Response, known: dict[str, str]) -> dict[str, str]:
    """Read a problem without the ids that the caller knows anyway."""
    text = answer.text
    for name, value in known.items():
        if name.endswith("_id"):
            text = text.replace(value, "ID")
    return {**httpx2.Response(200, text=text).json(), "trace_id": ""}


def test_a_read_only_key_reads_and_changes_nothing(
    app: AppUnderTest, keyed: dict[str, str], subtests: pytest.Subtests
) -> None:
    for route in CLOSED:
        with subtests.test(" ".join(route)):
            if route in OPERATORS or route == ("GET", "/messages/{message_id}/events"):
                continue  # a stream that goes on; below
            answer = app.call(route, keyed["reader"])
            if route[0] == "GET":
                assert answer.status_code == 200, answer.text
            else:
                assert_problem(answer, 403, "role_insufficient")


def test_figures_of_all_owners_are_the_operators(app: AppUnderTest, keyed: dict[str, str]) -> None:
    async def show(_operator: Operator) -> str:
        return "figures"

    assert isinstance(app.client.app, FastAPI)
    figures = ("GET", "/figures")
    app.client.app.add_api_route(figures[1], show)
    try:
        for route in (figures, *OPERATORS):
            assert app.call(route, keyed["operator"]).status_code == 200
            for name in ("alice", "reader", "mallory"):
                assert_problem(app.call(route, keyed[name]), 403, "role_insufficient")
    finally:
        app.client.app.router.routes.pop()


def test_lists_show_each_their_own(app: AppUnderTest) -> None:
    alice, mallory = app.key("alice"), app.key("mallory")
    hers = app.client.get("/projects", headers=bearer(alice)).json()
    assert app.known["project_id"] in {project["id"] for project in hers}
    assert app.client.get("/projects", headers=bearer(mallory)).json() == []
    cursor = {"after": app.known["project_id"]}
    stolen = app.client.get("/projects", params=cursor, headers=bearer(mallory))
    assert_problem(stolen, 422, "invalid_request")


def test_the_events_of_another_owners_message_do_not_exist(tmp_path: Path) -> None:
    with eager_service(tmp_path / "data") as client:
        app = AppUnderTest(client, {})
        reader, mallory = app.key("alice", Role.READ), app.key("mallory")
        client.headers.update(bearer(app.key("alice")))
        message = send(client, new_session(client)).json()["message_id"]
        path = f"/messages/{message}/events"
        assert "event: completed" in client.get(path, headers=bearer(reader)).text
        assert_problem(client.get(path, headers=bearer(mallory)), 404, "message_not_found")


def test_who_calls_is_told(app: AppUnderTest) -> None:
    caller = app.client.get("/caller", headers=bearer(app.key("bob", Role.ADMIN))).json()
    assert (caller["owner"], caller["role"], caller["key"]) == ("bob", "admin", "bob")


@pytest.mark.parametrize("scheme", ["bearer", "BEARER"])
def test_the_scheme_is_read_in_any_case(app: AppUnderTest, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {app.key('alice')}"}
    assert app.client.get("/caller", headers=headers).status_code == 200


@pytest.mark.parametrize("place", ["query", "cookie", "basic"])
def test_a_key_counts_nowhere_but_in_its_header(app: AppUnderTest, place: str) -> None:
    key = app.key("alice")
    params = {"key": key, "access_token": key} if place == "query" else {}
    headers = {"cookie": {"Cookie": f"key={key}"}, "basic": {"Authorization": f"Basic {key}"}}
    answer = app.client.get("/projects", params=params, headers=headers.get(place, {}))
    assert_problem(answer, 401, "key_required")


def test_a_key_counts_as_soon_as_it_is_made_and_not_long_after_it_is_revoked(
    app: AppUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = app.key("alice")
    assert app.client.get("/projects", headers=bearer(key)).status_code == 200
    app.revoke(key)
    monkeypatch.setattr(auth, "KEPT_S", 0)  # so long it may be good for yet
    assert_problem(app.client.get("/projects", headers=bearer(key)), 401, "key_required")


def test_an_expired_key_is_refused(app: AppUnderTest) -> None:
    gone = app.key("alice", lasts_s=-1)
    assert_problem(app.client.get("/projects", headers=bearer(gone)), 401, "key_required")


def test_nothing_of_a_body_is_read_of_who_has_no_key(app: AppUnderTest) -> None:
    large = app.client.post("/projects", content=b"x" * 9_000_000)
    assert_problem(large, 401, "key_required")  # not 413: nobody counted it


def test_until_the_first_key_everybody_on_this_machine_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "KEPT_S", 0)
    with idle_service(tmp_path / "data") as client:
        project_id = new_project(client)
        assert client.get("/caller").json()["role"] == "admin"
        app = AppUnderTest(client, {})
        key = app.key("anonymous")
        assert_problem(client.get("/projects"), 401, "key_required")
        [hers] = client.get("/projects", headers=bearer(key)).json()
        assert hers["id"] == project_id  # what was made without keys has an owner too
        app.revoke(key)
        assert_problem(client.get("/projects"), 401, "key_required")  # and not open again


def test_a_stranger_who_gives_this_machine_a_name_is_not_served(
    app: AppUnderTest, tmp_path: Path
) -> None:
    key = app.key("alice")
    with idle_service(tmp_path / "data") as client:
        for host in (
            "evil.example",
            "127.0.0.1.evil.example:8000",
            "dotless",
            "[::1].evil.example",
        ):
            assert_problem(client.get("/projects", headers={"Host": host}), 401, "key_required")
            named = app.client.get("/projects", headers={"Host": host} | bearer(key))
            assert named.status_code == 200


def test_this_machines_own_names_are_served(tmp_path: Path) -> None:
    with idle_service(tmp_path / "data") as client:
        for host in ("localhost:8000", "127.0.0.1:80", "[::1]:8000", "a.localhost"):
            assert client.get("/projects", headers={"Host": host}).status_code == 200, host


@pytest.mark.parametrize("settings", [{}, {"anonymous": True}], ids=["loopback", "anonymous"])
def test_a_name_that_the_operator_allows_is_served(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    allowed = {"allowed_hosts": "vibecoder, My.example"}
    with idle_service(tmp_path / "data", **settings, **allowed) as client:
        for host in ("vibecoder", "My.Example:8000"):
            assert client.get("/projects", headers={"Host": host}).status_code == 200, host
        refused = client.get("/projects", headers={"Host": "your.example"})
        assert_problem(refused, 401, "key_required")
        assert "VIBECODER_ALLOWED_HOSTS" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("publish", "status"),
    [("127.0.0.1:8000", 200), ("[::1]:80", 200), ("8000", 401), ("0.0.0.0:80", 401)],
)
def test_a_container_serves_strangers_only_where_it_is_published_on_loopback(
    tmp_path: Path, publish: str, status: int
) -> None:
    with (
        idle_service(tmp_path / "data", host="0.0.0.0", publish=publish) as inner,
        TestClient(inner.app, base_url="http://172.17.0.2") as client,
    ):
        host = {"Host": "127.0.0.1:8000"}
        assert client.get("/projects", headers=host).status_code == status


def test_who_comes_in_from_a_network_is_not_served_without_a_key(tmp_path: Path) -> None:
    with (
        idle_service(tmp_path / "data") as inner,
        TestClient(inner.app, base_url="http://192.0.2.1") as client,
    ):
        assert_problem(client.get("/projects"), 401, "key_required")


def test_with_anonymous_set_keys_and_strangers_are_served_beside_each_other(
    tmp_path: Path,
) -> None:
    with idle_service(tmp_path / "data", anonymous=True, host="0.0.0.0") as client:
        assert client.get("/caller").json()["role"] == "admin"
        key = AppUnderTest(client, {}).key("alice")
        mine = client.post("/projects", json={"name": "x"}, headers=bearer(key)).json()["id"]
        assert client.get("/caller").json()["role"] == "write"
        assert_problem(client.get(f"/projects/{mine}"), 404, "project_not_found")
        assert_problem(client.get("/projects", headers=bearer(key[:-1])), 401, "key_required")


def test_with_anonymous_switched_off_loopback_wants_a_key_too(tmp_path: Path) -> None:
    with idle_service(tmp_path / "data", anonymous=False) as client:
        assert_problem(client.get("/projects"), 401, "key_required")
        assert client.get("/projects", headers=bearer(AppUnderTest(client, {}).key("a"))).is_success


def test_without_keys_a_network_is_not_served_and_the_sentence_says_what_to_do(
    tmp_path: Path,
) -> None:
    refused = pytest.raises(Exception, match=r"0\.0\.0\.0 is not loopback .*keys create NAME")
    with refused, idle_service(tmp_path / "data", host="0.0.0.0"):
        pass


def test_many_unknown_keys_cost_few_statements_and_a_known_one_none(
    app: AppUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[object] = []
    listing = keys.listing

    async def counted(db: AsyncSession) -> Sequence[keys.KnownKey]:
        read.append(db)
        return await listing(db)

    def try_one() -> int:
        wrong = f"vck_{uuid4().hex[:16]}_{uuid4().hex * 2}"
        return app.client.get("/projects", headers=bearer(wrong)).status_code

    monkeypatch.setattr(auth, "KEPT_S", 3600)
    monkeypatch.setattr(keys, "listing", counted)
    began = time.monotonic()
    assert at_once([try_one] * 40) == [401] * 40
    assert len(read) <= 2 + (time.monotonic() - began) / 0.2
    key = app.key("alice")
    read.clear()
    for _ in range(20):
        assert app.client.get("/projects", headers=bearer(key)).status_code == 200
    assert len(read) == 1


def test_many_modules_of_one_owner_do_not_delay_another_owners_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with idle_service(tmp_path / "data") as client:
        app = AppUnderTest(client, {})
        headers = {owner: bearer(app.key(owner)) for owner in ("alice", "bob")}
        made = client.post("/projects", json={"name": "One"}, headers=headers["bob"]).json()
        paths = [("bob", f"/projects/{made['id']}")]
        for number in range(9):
            body = {"name": "Many", "code": f"{EMPTY_WORKFLOW}# {number}\n"}
            made = client.post("/projects", json=body, headers=headers["alice"]).json()
            paths.insert(0, ("alice", f"/projects/{made['id']}"))
        monkeypatch.setattr("shared.workflow.checker._REPORTS", _Reports())
        checker = client.app.state.services.checker  # type: ignore[attr-defined]
        answered: list[str] = []

        def read(owner: str, path: str) -> None:
            assert client.get(path, headers=headers[owner]).status_code == 200
            answered.append(owner)

        def hold(number: int) -> None:
            assert client.portal
            path, end = str(tmp_path / f"pid{number}"), str(tmp_path / "end")
            client.portal.call(
                lambda: checker.call("tests.shared.jobs:wait", owner="alice", path=path, until=end)
            )

        with ThreadPoolExecutor(40) as threads:
            jobs = [threads.submit(hold, number) for number in range(PLACES)]
            wait_until(lambda: not checker._turns._free, "all places to be taken")
            for number, (owner, path) in enumerate(paths, start=1):
                jobs.append(threads.submit(read, owner, path))
                wait_until(partial(_waits, checker, number), "a job to wait")
            (tmp_path / "end").touch()
            for job in jobs:
                job.result()
        assert len(answered) == 10
        # behind what ran, and what of the other owner was first
        assert answered.index("bob") <= 2 * PLACES


def _waits(checker: CodeChecker, number: int) -> bool:
    return sum(len(jobs) for jobs in checker._turns._waiting.values()) == number
