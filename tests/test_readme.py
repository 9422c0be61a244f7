"""What the README says of settings and files is so."""

import base64
import hmac
import json
import re
import time
from collections.abc import Mapping
from typing import Any

from shared.settings import Settings
from shared.webhooks import new_secret
from tests.services import ROOT
from tests.worker.test_messenger import told
from worker.notices import body_of, headers_of

README = (ROOT / "README.md").read_text()


def test_every_setting_stands_in_the_readme_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| `?([^`|]*?)`? \|", README, re.MULTILINE))
    for name, field in Settings.model_fields.items():
        if name == "fault_point":  # for tests only
            continue
        variable = str(field.validation_alias or f"VIBECODER_{name.upper()}")
        default = "" if field.default in (None, "", ()) else str(field.default)
        assert rows.get(variable) == default, variable


def test_the_receiver_of_webhooks_knows_what_is_ours() -> None:
    [example] = re.findall(r"```python\n(def is_ours.*?)```", README, re.DOTALL)
    known: dict[str, Any] = {"Mapping": Mapping, "base64": base64, "hmac": hmac, "time": time}
    exec(example, known)
    tried = told("https://example.com")
    body = body_of(tried.message)
    headers = headers_of(tried, body, sent_at=time.time())
    assert known["is_ours"](headers, body, tried.secret)
    assert not known["is_ours"](headers, body + b" ", tried.secret)
    assert not known["is_ours"](headers, body, new_secret())
    old = headers_of(tried, body, sent_at=time.time() - 400)
    assert not known["is_ours"](old, body, tried.secret)


def test_every_file_that_the_readme_names_is_there() -> None:
    named = re.findall(r"\b(?:api|worker|shared|tests)/[\w/]+(?:\.(?:py|json|yaml|ts))?", README)
    assert named
    assert not [name for name in named if not (ROOT / name).exists()]


def test_the_clients_that_the_readme_shows_are_those_that_are_tested() -> None:
    clients = ROOT / "tests" / "clients"
    section = README.partition("### A client of your own\n")[2].partition("\n### ")[0]
    for language, file in (("python", "main_job.py"), ("ts", "typescript/main_job.ts")):
        [shown] = re.findall(rf"^```{language}\n(.+?)^```$", section, re.MULTILINE | re.DOTALL)
        assert shown in (clients / file).read_text()
    scripts = json.loads((clients / "typescript" / "package.json").read_text())["scripts"]
    assert f"npx {scripts['generate']}\n" in section
    command = "openapi-python-client generate --url $URL/openapi.json --config"
    assert f"{command} tests/clients/generator.yaml\n" in section
