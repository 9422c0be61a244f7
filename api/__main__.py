"""`python -m api`: serve, and say where, with which model, and how to begin."""

import sys
from contextlib import suppress
from socket import socket

import uvicorn
from typing_extensions import override

from shared.errors import SettingsError
from shared.settings import OFFLINE, Settings, load_settings


class Server(uvicorn.Server):
    """uvicorn, but it tells a person what to do next once the port is bound."""

    settings: Settings

    @override
    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            port = self.servers[0].sockets[0].getsockname()[1]
            print(_welcome(self.settings, port), flush=True)  # noqa: T201 -- for a person


def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    try:
        settings = load_settings()
    except SettingsError as error:
        sys.exit(f"vibecoder: {error}")
    config = uvicorn.Config(
        "api.app:app",
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=10,
        backlog=65_535,  # the kernel's own limit decides: a burst waits, and is not reset
    )
    server = Server(config)
    server.settings = settings
    with suppress(KeyboardInterrupt):  # uvicorn has ended cleanly and says how it was asked to
        server.run()


def _welcome(settings: Settings, port: int) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"  # noqa: S104
    return f"""
VibeCoder sessions: open {url} in a browser  (the API: {url}/docs)
{_model(settings)}
{_worker(settings)}

Or without a browser: paste this into another terminal.

  P=$(curl -s {url}/projects -H 'Content-Type: application/json' \\
      -d '{{"name": "My first workflow"}}' | cut -d'"' -f4)
  S=$(curl -s -X POST {url}/projects/$P/sessions | cut -d'"' -f4)
  curl -s {url}/sessions/$S/messages -H 'Content-Type: application/json' \\
      -d '{{"prompt": "Create a triage agent"}}'
"""


def _model(settings: Settings) -> str:
    if settings.default_model == OFFLINE:
        return (
            "Model: offline, a small built-in set of rules. "
            "Set OPENAI_API_KEY or OPENAI_BASE_URL to talk to a real one."
        )
    where = settings.openai_base_url or "OpenAI"
    return f"Model: {settings.default_model} at {where} ({settings.model_api} API)."


def _worker(settings: Settings) -> str:
    if settings.embedded:
        return f"Worker and SQLite in this process, data in {settings.data_dir}/. Ctrl-C ends it."
    return "Workers are processes of their own: celery -A worker.app worker"


if __name__ == "__main__":
    main()
