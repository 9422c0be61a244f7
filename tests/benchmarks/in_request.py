"""The floor: VibeCoder run directly in a FastAPI request, with an SQLiteSession file a session.

The same briefing and tools as in the service, run as the Agents SDK's documentation does, and none
of the service's promises: nothing is ordered, retried or kept but the SDK's own session file.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import Any
from uuid import UUID

from agents import Agent, Model, OpenAIResponsesModel, Runner, SQLiteSession
from fastapi import FastAPI, Request
from openai import AsyncOpenAI
from pydantic import BaseModel

from shared.settings import Settings, load_settings
from shared.workflow.checker import CodeChecker
from tests.benchmarks.prompts import CODE
from worker.agent.instructions import write_briefing
from worker.agent.tools import WorkflowEditor, apply_patch, outline
from worker.agent.vibecoder import NAME
from worker.tracing import keep_traces_here


class MessageIn(BaseModel):
    """A prompt."""

    prompt: str


def create_app() -> FastAPI:
    """Make the application; `uvicorn --factory` calls it in each of its processes."""
    app = FastAPI(lifespan=_lifespan)
    app.add_api_route("/health", health)
    app.add_api_route("/sessions/{session_id}/messages", send_message, methods=["POST"])
    app.add_api_route("/sessions/{session_id}/items", remember, methods=["POST"])
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    keep_traces_here()
    app.state.settings = settings = load_settings()
    settings.sessions_dir.mkdir(parents=True, exist_ok=True)
    watching = asyncio.create_task(_end_with(os.getppid()))
    async with openai_client(settings) as client:
        app.state.model = OpenAIResponsesModel(settings.default_model, client)
        yield
    watching.cancel()


async def _end_with(parent: int) -> None:
    # uvicorn's own children outlive a supervisor that is killed
    while os.getppid() == parent:  # noqa: ASYNC110 -- nothing tells of it
        await asyncio.sleep(1)
    os._exit(1)


def openai_client(settings: Settings) -> AsyncOpenAI:
    """Make the client as its documentation does."""
    assert settings.openai_api_key
    key = settings.openai_api_key.get_secret_value()
    return AsyncOpenAI(api_key=key, base_url=settings.openai_base_url, max_retries=0)


async def health() -> dict[str, str]:
    """Answer."""
    return {"status": "ok"}


async def send_message(session_id: UUID, body: MessageIn, request: Request) -> dict[str, str]:
    """Run the agent and answer with its reply."""
    state = request.app.state
    return {"reply": await answer(session_id, body.prompt, state.settings, state.model)}


async def answer(session_id: UUID, prompt: str, settings: Settings, model: Model) -> str:
    """Run VibeCoder once over the session's file."""
    with closing(open_memory(session_id, settings)) as memory:
        agent = Agent[WorkflowEditor](
            name=NAME,
            instructions=write_briefing(code=CODE, node_id=None, project_instructions=""),
            model=model,
            tools=[outline, apply_patch],
        )
        editor = WorkflowEditor(
            CODE,
            node_id=None,
            code_limit=settings.code_limit,
            checker=CodeChecker(),
            owner="benchmark",
        )
        result = await Runner.run(agent, prompt, context=editor, session=memory)
    return str(result.final_output)


def open_memory(session_id: UUID, settings: Settings) -> SQLiteSession:
    """Open the session's file as the Agents SDK's documentation does."""
    return SQLiteSession(str(session_id), settings.sessions_dir / f"{session_id}.db")


async def remember(session_id: UUID, items: list[dict[str, Any]], request: Request) -> None:
    """Begin a session with a history, so that long ones can be measured."""
    with closing(open_memory(session_id, request.app.state.settings)) as memory:
        await memory.add_items(items)  # type: ignore[arg-type]
