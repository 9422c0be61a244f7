"""The limit of requests a minute, for each key or address."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.api.calls import assert_problem
from tests.api.document import check_answers
from tests.eager import idle_service
from tests.services import ApiProcess, RedisServer, make_schema

LIMIT = 5


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[httpx2.Client]:
    with idle_service(tmp_path / "data", rate_limit=LIMIT) as client:
        yield check_answers(client)


def test_one_request_too_many_is_told_when_to_come_back(limited: httpx2.Client) -> None:
    # a minute of the clock may end meanwhile: then one request more is within the limit
    answers = [limited.get("/projects") for _ in range(LIMIT + 2)]
    assert {answer.status_code for answer in answers[:LIMIT]} == {200}
    answer = answers[-1]
    problem = assert_problem(answer, 429, "rate_limited")
    assert 0 < int(answer.headers["Retry-After"]) <= 60
    assert answer.headers["Retry-After"] in problem["detail"]


def test_what_is_open_is_not_counted(limited: httpx2.Client) -> None:
    for _ in range(2 * LIMIT):
        assert limited.get("/health").status_code == 200
    assert limited.get("/projects").status_code == 200


def asked(api: ApiProcess, *, by: str | None = None) -> int:
    """Ask, as a proxy on loopback does for an address."""
    headers = {"X-Forwarded-For": by} if by else {}
    return httpx2.get(f"{api.url}/projects", headers=headers, trust_env=False).status_code


@pytest.mark.services
def test_all_api_processes_count_together_and_without_redis_there_is_no_limit(
    tmp_path: Path,
) -> None:
    database = f"sqlite:///{tmp_path / 'shared.db'}"
    make_schema(database)
    with RedisServer(tmp_path) as redis:
        settings = {
            "VIBECODER_DATABASE_URL": database,
            "VIBECODER_REDIS_URL": redis.url,
            "VIBECODER_RATE_LIMIT": str(LIMIT),
        }
        with (
            ApiProcess(tmp_path, settings, name="one") as one,
            ApiProcess(tmp_path, settings, name="two") as two,
        ):
            # the clock may begin another minute meanwhile; what was before counts then too
            answers = [asked(api) for api in [one, two] * LIMIT]
            assert answers[:LIMIT] == [200] * LIMIT
            assert 429 in answers[LIMIT:]
            # behind a proxy each address counts for itself
            assert 429 in [asked(one, by="203.0.113.7") for _ in range(2 * LIMIT)]
            assert asked(one, by="203.0.113.8") == 200
            redis.kill()
            assert asked(one) == 200
        assert "requests not counted" in one.output()
