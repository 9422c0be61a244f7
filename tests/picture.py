"""`make picture`: let a service that runs draw the trace that the README shows.

Its worker is killed in the middle of a run, and the model's server refuses a call once.
"""

import tempfile
from pathlib import Path

import httpx2

from tests.api.calls import new_session
from tests.faults.client import Client
from tests.faults.prompts import insert_agent, prompt
from tests.services import ROOT, EmbeddedService, wait_until
from tests.stub_process import StubOpenAI

_PICTURE = ROOT / "docs" / "pictures" / "trace.svg"
_TOLD = "[[hang times 1]] [[status 429 retry-after 0.3 times 2]]"


def main() -> None:
    """Draw it."""
    with StubOpenAI(delay=0.6) as stub, tempfile.TemporaryDirectory() as folder:
        settings = {"OPENAI_BASE_URL": stub.base_url, "VIBECODER_MODEL": "stub"}
        with EmbeddedService(Path(folder), settings) as service:
            _draw(service, stub)


def _draw(service: EmbeddedService, stub: StubOpenAI) -> None:
    text = f"{prompt(insert_agent('billing'))} {_TOLD}"
    with httpx2.Client(base_url=service.url, timeout=60, trust_env=False) as client:
        asked = Client([service.url]).asking(new_session(client), text)
        wait_until(lambda: bool(stub.requests(text)), "the call of the model")
        wait_until(lambda: _spans(client, stub) > 0, "its spans to be stored")
        service.kill()
        service.start()
        message_id = asked.result(60).message_id
        found = client.get(f"/messages/{message_id}/trace.svg").raise_for_status()
    _PICTURE.parent.mkdir(parents=True, exist_ok=True)
    _PICTURE.write_text(found.text)


def _spans(client: httpx2.Client, stub: StubOpenAI) -> int:
    trace_id = stub.requests()[0]["headers"]["traceparent"].split("-")[1]
    [message] = client.get(f"/traces/trace_{trace_id}").json()["messages"]
    return len(message["attempts"][0]["spans"])


if __name__ == "__main__":
    main()
