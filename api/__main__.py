"""`python -m api`: serve, and say where, with which model, and how to begin; or a command."""

import sys
from contextlib import suppress
from pathlib import Path
from socket import socket

import uvicorn
from typing_extensions import override

from api.commands import doctor
from api.commands import keys as key_command
from api.protocol import BoundedProtocol
from shared.collector import tune_gc
from shared.errors import VibeCoderError
from shared.process import keep_files_private
from shared.settings import OFFLINE, Settings, load_settings

_EVERYWHERE = "0.0.0.0"  # noqa: S104  # nosec B104


class Server(uvicorn.Server):
    """uvicorn, but it tells a person what to do next once the port is bound."""

    settings: Settings

    @override
    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            tune_gc()
            port = self.servers[0].sockets[0].getsockname()[1]
            print(_welcome(self.settings, port), flush=True)  # noqa: T201 -- for a person


def main(*arguments: str) -> None:
    """Do what the command line asks for: serve, unless it says something else."""
    try:
        match arguments:
            case ():
                serve(load_settings())
            case ("doctor",):
                sys.exit(doctor.main())
            case _:
                settings = load_settings()
                keep_files_private(settings.data_dir)
                key_command.run(arguments, settings)
    except VibeCoderError as error:
        sys.exit(f"vibecoder: {error}")


def serve(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM."""
    config = uvicorn.Config(
        "api.app:app",
        http=BoundedProtocol,
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
    url = f"http://{'127.0.0.1' if host == _EVERYWHERE else host}:{port}"
    return f"""
VibeCoder sessions: open {url} in a browser  (the API: {url}/docs)
{_model(settings)}
{_worker(settings)}
{_callers(settings)}

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
    where = settings.model_server or "OpenAI"
    return f"Model: {settings.default_model} at {where} ({settings.model_api} API)."


def _callers(settings: Settings) -> str:
    if settings.anonymous:
        return "Everyone who reaches it may use it (VIBECODER_ANONYMOUS)."
    if settings.anonymous is None and settings.on_loopback:
        return f"No key is asked for until the first is made: {_make_key()}"
    return f"A key is asked for (Authorization: Bearer ...): {_make_key()}"


def _make_key() -> str:
    python, here = Path(sys.executable), Path.cwd()
    found = python.relative_to(here) if python.is_relative_to(here) else "python"
    return f"{found} -m api keys create NAME"


def _worker(settings: Settings) -> str:
    if settings.embedded:
        return f"Worker and SQLite in this process, data in {settings.data_dir}/. Ctrl-C ends it."
    return "Workers are processes of their own: python -m worker"


if __name__ == "__main__":
    main(*sys.argv[1:])
