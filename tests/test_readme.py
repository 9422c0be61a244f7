"""README and documentation say what is so."""

import base64
import hmac
import json
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.store.webhooks import new_secret
from tests import reference
from tests.services import ROOT
from tests.worker.test_webhook_client import delivery_to
from worker.webhooks.client import payload, signed_headers

README = (ROOT / "README.md").read_text()
API = (ROOT / "docs" / "api.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_generated_pages_are_those_of_the_code() -> None:
    for path, text in reference.pages().items():
        assert path.read_text() == text, f"{path.name}: run `make reference`"


def test_the_readme_is_short_enough_to_be_read() -> None:
    assert 6_000 <= len(README.encode()) <= 8_200


def test_the_receiver_of_webhooks_knows_what_is_ours() -> None:
    [example] = re.findall(r"```python\n(def is_ours.*?)```", API, re.DOTALL)
    known: dict[str, Any] = {"Mapping": Mapping, "base64": base64, "hmac": hmac, "time": time}
    exec(example, known)
    delivery, now = delivery_to("https://example.com"), datetime.now(UTC)
    body = payload(delivery.message)
    headers = signed_headers(delivery, body, sent_at=now)
    assert known["is_ours"](headers, body, delivery.secret)
    assert not known["is_ours"](headers, body + b" ", delivery.secret)
    assert not known["is_ours"](headers, body, new_secret())
    old = signed_headers(delivery, body, sent_at=now - timedelta(seconds=400))
    assert not known["is_ours"](old, body, delivery.secret)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_and_every_link_that_a_page_names_is_there(page: Path) -> None:
    text = page.read_text()
    named = re.findall(r"\b(?:api|worker|shared|tests)/[\w/]+(?:\.(?:py|json|yaml|ts|js))?", text)
    missing = [name for name in named if not (ROOT / name).exists()]
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text):
        file = page.parent / target if target else page
        if not file.exists():
            missing.append(target)
        elif anchor and anchor not in anchors(file.read_text()):
            missing.append(f"{target}#{anchor}")
    assert not missing


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_clients_that_the_documentation_shows_are_those_that_are_tested() -> None:
    clients = ROOT / "tests" / "clients"
    section = API.partition("## A client of your own\n")[2].partition("\n## ")[0]
    for language, file in (("python", "main_job.py"), ("ts", "typescript/main_job.ts")):
        [shown] = re.findall(rf"^```{language}\n(.+?)^```$", section, re.MULTILINE | re.DOTALL)
        assert shown in (clients / file).read_text()
    scripts = json.loads((clients / "typescript" / "package.json").read_text())["scripts"]
    assert f"npx {scripts['generate']}\n" in section
    command = "openapi-python-client generate --url $URL/openapi.json --config"
    assert f"{command} tests/clients/generator.yaml\n" in section
