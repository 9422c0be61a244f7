"""A budget is looked at before each call of the model; one that is used up ends the message."""

from pathlib import Path
from typing import Any

import pytest
from agents import Usage
from agents.testing import ScriptedModel
from sqlalchemy import update

from shared.tables import Message, ModelCall, Project, VibeSession
from shared.workflow.text import EMPTY_WORKFLOW
from tests.shared.statements import counted
from tests.shared.world import World
from tests.worker.test_attempts import DONE, Attempts, adding, nothing_left
from worker.attempt import run_message

USED = Usage(requests=1, input_tokens=70, output_tokens=30, total_tokens=100)


@pytest.fixture
def attempts(world: World, tmp_path: Path) -> Attempts:
    prices = tmp_path / "prices.json"
    # a dollar for each call that uses what `USED` says
    prices.write_text('{"models": {"offline": {"input": "10000", "output": "10000"}}}')
    world.limit(prices=prices)
    return Attempts(world, tmp_path / "sessions")


async def run(attempts: Attempts, session: VibeSession, script: list[Any]) -> Message:
    """Have a message answered by a model each of whose calls uses a hundred tokens."""
    accepted = (await attempts.world.accept(session)).message
    attempts.model = ScriptedModel(script, default_usage=USED)
    await run_message(accepted.id, context=await attempts.context())
    return await attempts.world.message(accepted.id)


def why(message: Message) -> tuple[str, str]:
    assert message.error is not None
    assert not message.error["retryable"]
    return message.error["code"], message.error["detail"]


@pytest.mark.parametrize(
    ("budget", "says"),
    [
        ({"budget_tokens": 100}, "budget of 100 tokens is used up: 100 spent"),
        ({"budget_usd": "1.00"}, "budget of 1.00 USD is used up: 1 USD spent"),
        (
            {"budget_tokens": 10**6, "budget_usd": "0.5"},
            "budget of 0.5 USD is used up: 1 USD spent",
        ),
    ],
)
@pytest.mark.parametrize("place", ["session", "project"])
async def test_a_budget_that_is_reached_between_two_calls_ends_the_message(
    attempts: Attempts, place: str, budget: dict[str, Any], says: str
) -> None:
    world = attempts.world
    session = await world.session()
    table, row_id = {
        "session": (VibeSession, session.id),
        "project": (Project, session.project_id),
    }[place]
    await world.change(table, row_id, **budget)
    message = await run(attempts, session, [[adding("triage")], DONE])
    code, detail = why(message)
    assert (message.status, code) == ("failed", "budget_exceeded")
    assert detail.startswith(f"The {place}'s {says}")
    assert f"PATCH /{place}s/" in detail
    await nothing_left(world)
    assert await attempts.code(message) == EMPTY_WORKFLOW
    assert await world.count(ModelCall) == 1
    assert message.usage is not None
    assert message.usage["total_tokens"] == 100, "what was spent is recorded"


async def test_a_budget_that_is_used_up_ends_the_next_message_before_any_call(
    attempts: Attempts,
) -> None:
    world = attempts.world
    session = await world.session()
    await world.change(VibeSession, session.id, budget_tokens=150)
    assert (await run(attempts, session, [DONE])).status == "completed"
    assert (await run(attempts, session, [DONE])).status == "completed", "50 are left"
    message = await run(attempts, session, [])
    assert why(message)[0] == "budget_exceeded"
    assert await world.count(ModelCall) == 2
    await world.change(VibeSession, session.id, budget_tokens=201)
    assert (await run(attempts, session, [DONE])).status == "completed"


async def test_a_projects_budget_counts_all_of_its_sessions_and_a_sessions_only_its_own(
    attempts: Attempts,
) -> None:
    world = attempts.world
    project = await world.project()
    one, two = await world.session(project), await world.session(project)
    await run(attempts, one, [DONE])
    await world.change(VibeSession, two.id, budget_tokens=100)
    assert (await run(attempts, two, [DONE])).status == "completed"
    await world.change(VibeSession, two.id, budget_tokens=None)
    await world.change(Project, project.id, budget_tokens=200)
    assert why(await run(attempts, two, []))[1].startswith("The project's budget of 200 tokens")


async def test_calls_of_failed_attempts_and_before_a_clear_are_spent_too(
    attempts: Attempts,
) -> None:
    world = attempts.world
    session = await world.session()
    await world.change(VibeSession, session.id, budget_tokens=200)
    message = await run(attempts, session, [[adding("triage")], TimeoutError()])
    assert message.error is not None
    assert message.error["code"] == "run_timeout"
    await world.clear(session)
    assert (await run(attempts, session, [DONE])).status == "completed"
    assert why(await run(attempts, session, []))[0] == "budget_exceeded"


async def test_a_budget_of_nothing_lets_nothing_be_spent(attempts: Attempts) -> None:
    session = await attempts.world.session()
    await attempts.world.change(VibeSession, session.id, budget_usd="0")
    assert why(await run(attempts, session, []))[0] == "budget_exceeded"


async def test_money_cannot_be_held_with_a_model_without_a_price(attempts: Attempts) -> None:
    world = attempts.world
    assert world.settings.prices is not None
    world.settings.prices.write_text('{"models": {"offline": null}}')
    session = await world.session()
    await run(attempts, session, [DONE])
    await world.change(VibeSession, session.id, budget_tokens=1000)
    assert (await run(attempts, session, [DONE])).status == "completed", "tokens are counted"
    await world.change(VibeSession, session.id, budget_usd="5")
    code, detail = why(await run(attempts, session, []))
    assert code == "model_not_priced"
    assert "no price is known of offline." in detail
    assert "VIBECODER_PRICES" in detail


async def test_an_unknown_price_in_the_past_is_not_taken_for_nothing(attempts: Attempts) -> None:
    world = attempts.world
    session = await world.session()
    await run(attempts, session, [DONE])
    async with world.database.begin() as db:
        await db.execute(update(ModelCall).values(model="vanished"))
    await world.change(VibeSession, session.id, budget_usd="5")
    code, detail = why(await run(attempts, session, []))
    assert (code, "known of vanished." in detail) == ("model_not_priced", True)


async def test_who_has_no_budget_pays_no_statement_for_it(attempts: Attempts) -> None:
    session = await attempts.world.session()

    async def statements() -> int:
        with counted() as sent:
            assert (await run(attempts, session, [DONE])).status == "completed"
        return len([text for text in sent if "usage_days" in text or "sum(" in text.lower()])

    assert await statements() == 0
    await attempts.world.change(Project, session.project_id, budget_tokens=10**6)
    assert await statements() == 1
