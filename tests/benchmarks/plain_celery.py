"""What many build first: a FastAPI endpoint that sends a Celery task and waits in `get()`.

`uvicorn --factory tests.benchmarks.plain_celery:create_app` and
`celery -A tests.benchmarks.plain_celery:tasks worker`. Durability is what Redis gives.
"""

import asyncio
from uuid import UUID

from agents import OpenAIResponsesModel
from celery import Celery
from fastapi import FastAPI

from shared.settings import load_settings
from tests.benchmarks.in_request import MessageIn, answer, health, openai_client
from worker.tracing import keep_traces_here

_settings = load_settings()
_settings.sessions_dir.mkdir(parents=True, exist_ok=True)
tasks = Celery("plain", broker=_settings.redis_url, backend=_settings.redis_url)
keep_traces_here()


@tasks.task(name="answer")  # type: ignore[untyped-decorator]
def answer_task(session_id: str, prompt: str) -> str:
    """Answer a prompt."""
    return asyncio.run(_answer(UUID(session_id), prompt))


async def _answer(session_id: UUID, prompt: str) -> str:
    # a client of its own: one of another loop would fail every second time
    async with openai_client(_settings) as client:
        model = OpenAIResponsesModel(_settings.default_model, client)
        return await answer(session_id, prompt, _settings, model)


def create_app() -> FastAPI:
    """Make the application."""
    app = FastAPI()
    app.add_api_route("/health", health)
    app.add_api_route("/sessions/{session_id}/messages", send_message, methods=["POST"])
    return app


def send_message(session_id: UUID, body: MessageIn) -> dict[str, str]:
    """Send the task and wait for its result in this thread."""
    sent = answer_task.delay(str(session_id), body.prompt)
    return {"reply": sent.get(timeout=60)}
