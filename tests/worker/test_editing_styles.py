"""Edits as models send them, over HTTP, whatever the style; a few over the other API too."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.api.calls import new_project, new_session, send
from tests.eager import eager_service
from tests.stub_process import StubOpenAI

CODE = '''"""A workflow."""

from agents import Agent

triage = Agent(
    name="triage",
    instructions="Find out what they want.",
    model="gpt-4.1",
)

billing = Agent(
    name="billing",
    instructions="Help with invoices.",
    model="gpt-4.1",
)
'''
CHANGED = "gpt-5".join(CODE.rsplit("gpt-4.1", 1))
LINES = '-    model="gpt-4.1",\n+    model="gpt-5",\n'
HUNK = f'@@ billing = Agent(\n     instructions="Help with invoices.",\n{LINES} )\n'
ENVELOPE = f"*** Begin Patch\n*** Update File: workflow.py\n{HUNK}*** End Patch"
UNIFIED = (
    "--- a/workflow.py\n+++ b/workflow.py\n@@ -12,4 +12,4 @@ billing = Agent(\n"
    f'     name="billing",\n     instructions="Help with invoices.",\n{LINES} )\n'
)
BLOCK = (
    '<<<<<<< SEARCH\n    instructions="Help with invoices.",\n    model="gpt-4.1",\n=======\n'
    '    instructions="Help with invoices.",\n    model="gpt-5",\n>>>>>>> REPLACE\n'
)
WHOLE = "".join(f"+{line}\n" for line in CHANGED.splitlines())
PATCHES = {
    "V4A": HUNK,
    "envelope": ENVELOPE,
    "anchor that names the variable": f"@@ billing\n{LINES}",
    "anchor that names the agent": f'@@ name="billing"\n{LINES}',
    "anchor with an elision": f"@@ billing = Agent(...)\n{LINES}",
    "nested anchors": f"@@ billing = Agent(\n@@     instructions=\n{LINES}",
    "anchor as context": f'@@ billing = Agent(\n billing = Agent(\n     name="billing",\n'
    f'     instructions="Help with invoices.",\n{LINES}',
    "right line numbers": f"@@ -14 +14 @@\n{LINES}",
    "unified diff": UNIFIED,
    "git": f"diff --git a/workflow.py b/workflow.py\nindex 123..456 100644\n{UNIFIED}",
    "no newline": f"{UNIFIED}\\ No newline at end of file\n",
    "fence": f"```diff\n{HUNK}```",
    "words and a fence": f"Here it is:\n```diff\n{UNIFIED}```\nDone.",
    "heredoc": f"apply_patch <<'EOF'\n{ENVELOPE}\nEOF",
    "CRLF": HUNK.replace("\n", "\r\n"),
    "BOM": f"\ufeff{HUNK}",
    "trailing blanks": HUNK.replace('s.",\n', 's.",  \n'),
    "copied line numbers": '  13 |     instructions="Help with invoices.",\n'
    '-  14 |     model="gpt-4.1",\n+  14 |     model="gpt-5",\n',
    "typographic quotes": HUNK.replace('"Help with invoices."', "\u201cHelp with invoices.\u201d"),
    "no-break spaces": HUNK.replace("    ", "\u00a0\u00a0\u00a0\u00a0"),
    "less indentation": '@@ billing\n instructions="Help with invoices.",\n-model="gpt-4.1",\n'
    '+model="gpt-5",\n',
    "SEARCH/REPLACE": BLOCK,
    "added file": f"*** Begin Patch\n*** Add File: workflow.py\n{WHOLE}*** End Patch",
    "raw module": CHANGED,
    "fenced module": f"```python\n{CHANGED}```",
}  # fmt: skip
CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: ("apply_patch", {"patch": patch}) for name, patch in PATCHES.items()},
    "input": ("apply_patch", {"input": ENVELOPE}),
    "other keys": ("apply_patch", {"diff": HUNK, "path": "workflow.py", "explanation": "x"}),
    "JSON in JSON": ("apply_patch", {"patch": json.dumps({"patch": HUNK})}),
    "escaped twice": ("apply_patch", {"patch": HUNK.replace("\n", "\\n")}),
    "replace_text": (
        "replace_text",
        {"old": 'invoices.",\n    model="gpt-4.1"', "new": 'invoices.",\n    model="gpt-5"'},
    ),
    "replace_text by other names": (
        "replace_text",
        {"old_string": '"Help with invoices.",\n    model="gpt-4.1"',
         "new_string": '"Help with invoices.",\n    model="gpt-5"'},
    ),
}  # fmt: skip
REFUSED: dict[str, tuple[tuple[str, dict[str, Any]], str]] = {
    "another file": (
        ("apply_patch", {"patch": "*** Add File: tools.py\n+X = 1\n"}),
        "The patch names the file `tools.py`.",
    ),
    "two files": (
        ("apply_patch", {"patch": f"*** Update File: workflow.py\n{HUNK}*** Add File: t.py\n+X\n"}),
        "The patch names the file `t.py`.",
    ),
    "two places": (("apply_patch", {"patch": f"@@\n{LINES}"}), "fits 2 times: on lines 8 and 14."),
    "a misspelt anchor": (
        ("apply_patch", {"patch": f"@@ biling\n{LINES}"}),
        "fits 2 times: on lines 8 and 14. `@@ biling` names no line",
    ),
    "wrong line numbers": (("apply_patch", {"patch": f"@@ -30,3 +30,3 @@\n{LINES}"}), "2 times"),
    "no place": (("apply_patch", {"patch": "@@\n-    model=1,\n+x\n"}), "line that differs"),
    "an elision": (
        ("apply_patch", {"patch": f"{CODE[:120]}\n# ... rest of the code remains the same ...\n"}),
        "stands for code that the edit leaves out",
    ),
    "half a character": (
        ("apply_patch", {"patch": HUNK.replace("gpt-5", "\ud83d")}),
        "half a character",
    ),
    "a NUL": (("apply_patch", {"patch": HUNK.replace("gpt-5", "\0")}), "NUL"),
    "deeply nested arguments": (
        ("apply_patch", {"patch": json.loads("[" * 400 + "]" * 400)}),
        "The arguments are not valid JSON",
    ),
    "no arguments": (("apply_patch", {}), "The argument `patch` is missing"),
    "a blank context": (("apply_patch", {"patch": "@@\n \n+x = 1\n"}), "fits 4 times"),
    "a text that occurs twice": (
        ("replace_text", {"old": '"gpt-4.1"', "new": "x"}),
        "occurs 2 times in the module, on lines 8 and 14",
    ),
}


@pytest.fixture(scope="module")
def stub() -> Iterator[StubOpenAI]:
    with StubOpenAI() as stub:
        yield stub


@pytest.fixture(scope="module")
def start(
    stub: StubOpenAI, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], AbstractContextManager[TestClient]]:
    def start(api: str) -> AbstractContextManager[TestClient]:
        folder = tmp_path_factory.mktemp("styles")
        return eager_service(folder, openai_base_url=stub.base_url, model_api=api, max_turns=5)

    return start


@pytest.fixture(scope="module")
def client(start: Callable[[str], AbstractContextManager[TestClient]]) -> Iterator[TestClient]:
    with start("responses") as client:
        yield client


def _asking(*calls: tuple[str, dict[str, Any]]) -> str:
    """Write a prompt that makes the stub call tools."""
    return " ".join(f"[[tool {name} {json.dumps(arguments)}]]" for name, arguments in calls)


def _say(client: TestClient, prompt: str, code: str = CODE) -> tuple[Any, str, str]:
    """Send a prompt to a project of its own; return the answer, the conversation, and the code."""
    project_id = new_project(client, code=code)
    answer = send(client, new_session(client, project_id), prompt)
    body = answer.json()
    told = client.get(f"/messages/{body['message_id']}/full").json()
    said = json.dumps(told.get("items"))
    return answer, said, client.get(f"/projects/{project_id}").json()["code"]


def _misses(client: TestClient, calls: dict[str, tuple[str, dict[str, Any]]]) -> list[str]:
    """Send the edits; name those that did not land."""
    wrong: list[str] = []
    for style, call in calls.items():
        answer, said, code = _say(client, _asking(call) + " [[say done]]")
        if (answer.status_code, code) != (200, CHANGED):
            wrong.append(f"{style}: {answer.status_code}, {said or answer.text}")
    return wrong


def _changes(
    client: TestClient, refused: dict[str, tuple[tuple[str, dict[str, Any]], str]]
) -> list[str]:
    """Send edits that are to be refused; name those that changed something or gave no reason."""
    wrong: list[str] = []
    for style, (call, reason) in refused.items():
        answer, said, code = _say(client, _asking(call) + " [[say done]]")
        if answer.status_code != 200 or code != CODE or reason not in said:
            wrong.append(f"{style}: {answer.status_code}, {said or answer.text}")
    return wrong


def test_each_style_lands_where_it_was_meant(client: TestClient) -> None:
    assert _misses(client, CALLS) == []


def test_what_has_no_single_place_changes_nothing_and_says_why(client: TestClient) -> None:
    assert _changes(client, REFUSED) == []


def test_over_the_other_api_an_edit_is_the_same(
    start: Callable[[str], AbstractContextManager[TestClient]],
) -> None:
    # the arguments take another way to the tools; what the tools make of them does not depend on it
    styles = ("V4A", "CRLF", "typographic quotes", "other keys", "JSON in JSON", "replace_text")
    refusals = ("two places", "half a character", "a NUL", "deeply nested arguments")
    with start("chat_completions") as client:
        assert _misses(client, {style: CALLS[style] for style in styles}) == []
        assert _changes(client, {style: REFUSED[style] for style in refusals}) == []


def test_the_first_module_may_be_sent_as_additions(client: TestClient) -> None:
    patch = '*** Update File: workflow.py\n+from agents import Agent\n+a = Agent(name="a")\n'
    for code in ("", None):
        project_id = new_project(client, **({} if code is None else {"code": code}))
        prompt = _asking(("apply_patch", {"patch": patch})) + " [[say done]]"
        assert send(client, new_session(client, project_id), prompt).status_code == 200
        made = client.get(f"/projects/{project_id}").json()["code"]
        assert made == 'from agents import Agent\na = Agent(name="a")\n'


def test_an_edit_that_is_refused_again_and_again_ends_the_message(client: TestClient) -> None:
    answer, _, code = _say(client, _asking(*[("apply_patch", {"patch": f"@@\n{LINES}"})] * 4))
    assert (answer.status_code, answer.json()["code"], code) == (422, "max_turns", CODE)
    assert "repeated an edit that cannot be applied" in answer.json()["detail"]


def test_after_good_edits_and_a_bad_end_the_answer_says_that_nothing_was_kept(
    client: TestClient,
) -> None:
    calls = [("apply_patch", {"patch": HUNK}), *[("outline", {})] * 5]
    answer, _, code = _say(client, _asking(*calls))
    assert (answer.status_code, answer.json()["code"], code) == (422, "max_turns", CODE)
    assert answer.json()["detail"].endswith(
        "Nothing was kept: the code is as it was, without the edit that this run had made."
    )


def test_the_reference_can_be_asked(client: TestClient) -> None:
    _, said, _ = _say(client, _asking(("sdk_reference", {"name": "ModelSettings"})) + " [[say x]]")
    assert "class agents.ModelSettings(temperature=..." in said
