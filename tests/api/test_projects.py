"""Projects: their code, its checks and revisions, and the picture."""

import sys
import xml.etree.ElementTree as ET

import pytest
from starlette.testclient import TestClient

from shared.workflow.model import Report, Workflow
from tests.api.calls import assert_problem, new_project, new_session, request_json, send

ONE = 'from agents import Agent\n\none = Agent(name="one")\n'
TWO = 'from agents import Agent\n\ntwo = Agent(name="two")\n'


def agents(client: TestClient, project_id: str) -> list[str]:
    return [node["node_id"] for node in client.get(f"/projects/{project_id}").json()["nodes"]]


def test_a_project_begins_empty_or_with_code(client: TestClient) -> None:
    created = client.post("/projects", json={"name": " Empty "})
    assert created.status_code == 201
    project = created.json()
    assert created.headers["Location"] == f"/projects/{project['id']}"
    assert (project["name"], project["nodes"], project["revision"]) == ("Empty", [], 1)
    assert agents(client, new_project(client, code=ONE)) == ["one"]


def test_the_code_is_served_as_a_module(client: TestClient) -> None:
    answer = client.get(f"/projects/{new_project(client, code=ONE)}/code")
    assert answer.text == ONE
    assert answer.headers["Content-Type"].startswith("text/x-python")
    assert answer.headers["ETag"] == '"1"'


def test_a_change_of_code_is_a_revision(client: TestClient) -> None:
    project_id = new_project(client, code=ONE)
    changed = client.patch(f"/projects/{project_id}", json={"code": TWO})
    assert (changed.status_code, changed.json()["revision"]) == (200, 2)
    assert changed.headers["ETag"] == '"2"'
    first, second = client.get(f"/projects/{project_id}/revisions").json()
    assert (first["number"], first["code"], first["diff"]) == (1, ONE, "")
    assert (second["number"], second["code"], second["message_id"]) == (2, TWO, None)
    assert '-one = Agent(name="one")' in second["diff"]
    assert client.get(f"/projects/{project_id}/revisions/2").json()["code"] == TWO


@pytest.mark.parametrize("body", [{}, {"code": ONE}, {"name": "Other"}, {"instructions": ""}])
def test_what_does_not_change_the_code_makes_no_revision(
    client: TestClient, body: dict[str, str]
) -> None:
    project_id = new_project(client, code=ONE)
    changed = client.patch(f"/projects/{project_id}", json=body).json()
    assert changed["revision"] == 1
    assert changed["name"] == body.get("name", "Test")


def test_a_revision_names_the_message_that_made_it(client: TestClient) -> None:
    project_id = new_project(client)
    message = send(client, new_session(client, project_id), "Create a triage agent").json()
    assert message["revision"] == 2
    made = client.get(f"/projects/{project_id}/revisions/2").json()
    assert made["message_id"] == message["message_id"]
    assert made["diff"] == message["diff"] != ""


def test_an_earlier_revision_can_be_restored_and_nothing_is_lost(client: TestClient) -> None:
    project_id = new_project(client, code=ONE)
    client.patch(f"/projects/{project_id}", json={"code": TWO})
    restored = client.post(f"/projects/{project_id}/revisions/1/restore")
    assert restored.json()["revision"] == 3
    assert restored.json()["code"] == ONE
    codes = [r["code"] for r in client.get(f"/projects/{project_id}/revisions").json()]
    assert codes == [ONE, TWO, ONE]
    again = client.post(f"/projects/{project_id}/revisions/1/restore")
    assert again.json()["revision"] == 3, "it is the present code already"


@pytest.mark.parametrize("number", ["2", "0", "-1", "999999999999", "one"])
def test_there_is_no_other_revision(client: TestClient, number: str) -> None:
    project_id = new_project(client)
    status = 404 if number == "2" else 422
    for answer in (
        client.get(f"/projects/{project_id}/revisions/{number}"),
        client.post(f"/projects/{project_id}/revisions/{number}/restore"),
    ):
        code = "revision_not_found" if status == 404 else "invalid_request"
        assert_problem(answer, status, code)


def test_a_change_meant_for_another_revision_is_refused(client: TestClient) -> None:
    project_id = new_project(client, code=ONE)
    path = f"/projects/{project_id}"
    changed = client.patch(path, json={"code": TWO}, headers={"If-Match": '"1"'})
    assert changed.status_code == 200
    late = client.patch(path, json={"code": ONE, "name": "x"}, headers={"If-Match": '"1"'})
    assert assert_problem(late, 412, "revision_mismatch")["revision"] == 2
    project = client.get(path).json()
    assert (project["code"], project["name"]) == (TWO, "Test")
    for tag in ('"2"', "2", "*"):
        assert client.patch(path, json={}, headers={"If-Match": tag}).status_code == 200


@pytest.mark.parametrize("tag", ['"x"', "", '"1", "2"', '"٣"'.encode().decode("latin-1")])
def test_a_tag_that_is_no_revision_is_refused(client: TestClient, tag: str) -> None:
    headers = {"If-Match": tag.encode("latin-1")}
    path = f"/projects/{new_project(client)}"
    answer = client.request("PATCH", path, json={}, headers=headers)  # type: ignore[arg-type]
    problem = assert_problem(answer, 422, "invalid_request")
    assert problem["errors"][0]["parameter"] == "If-Match"


@pytest.mark.parametrize(
    ("code", "line", "detail"),
    [
        ("x = (\n", 1, "'(' was never closed"),
        ("x = 1\nreturn x\n", 2, "'return' outside function"),
        pytest.param(
            "x = 1\ntype Order = str\n",
            2,
            "that needs Python 3.12, and workflows run on Python 3.11 here",
            marks=pytest.mark.skipif(
                sys.version_info >= (3, 12), reason="this Python reads that syntax"
            ),
        ),
    ],
    ids=["syntax", "compiler", "newer syntax"],
)
def test_code_that_does_not_parse_is_refused_with_its_lines(
    client: TestClient, code: str, line: int, detail: str
) -> None:
    project_id = new_project(client, code=ONE)
    for answer in (
        client.post("/projects", json={"name": "x", "code": code}),
        client.patch(f"/projects/{project_id}", json={"code": code}),
    ):
        problem = assert_problem(answer, 422, "invalid_workflow")
        [error] = problem["errors"]
        assert (error["line"], detail in error["detail"]) == (line, True)
    assert client.get(f"/projects/{project_id}/code").text == ONE


def test_code_that_parses_is_accepted_with_its_diagnostics(client: TestClient) -> None:
    code = (
        "from agents import Agent, WebSearch\nfrom .tools import look_up\nimport not_here\n"
        'a = Agent(name="a", temperature=0.2)\na = Agent(name="a", handoffs=a)\n'
    )
    expected = [
        (1, "error", "missing-module-member"),
        (2, "warning", "import-not-found"),
        (3, "warning", "import-not-found"),
        (4, "error", "unknown-argument"),
        (5, "warning", "double-agent-name"),
        (5, "warning", "double-agent-variable"),
        (5, "error", "invalid-argument-type"),
    ]
    created = client.post("/projects", json={"name": "x", "code": code})
    assert created.status_code == 201
    path = f"/projects/{created.json()['id']}"
    changed = client.patch(path, json={"code": "# changed\n" + code})
    restored = client.post(f"{path}/revisions/1/restore")
    for answer, shift in ((created, 0), (changed, 1), (restored, 0), (client.get(path), 0)):
        found = answer.json()["diagnostics"]
        shown = [(item["line"] - shift, item["severity"], item["rule"]) for item in found]
        assert shown == expected
    assert client.get(f"{path}/workflow").json()["diagnostics"] == restored.json()["diagnostics"]
    assert restored.json()["diagnostics"][3]["message"] == (
        "Argument `temperature` does not match any known parameter of `Agent.__init__`"
    )
    assert client.patch(path, json={"code": ONE}).json()["diagnostics"] == []


def test_an_answer_lists_so_many_diagnostics_and_counts_the_rest(client: TestClient) -> None:
    code = "".join(f"print(undefined_{n})\n" for n in range(150))
    found = client.post("/projects", json={"name": "x", "code": code}).json()["diagnostics"]
    assert len(found) == 101
    assert found[-1]["message"] == "there are 50 more problems"


def test_code_of_a_newer_python_that_is_stored_already_is_shown_with_its_problem(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def known(*_: object, **__: object) -> Report:
        return Report(Workflow())

    with monkeypatch.context() as patch:
        patch.setattr("shared.workflow.checker.CodeChecker.check", known)
        path = f"/projects/{new_project(client, code='x = 1' + chr(10) + 'def f(:')}"
    for shown in (client.get(path), client.get(f"{path}/workflow")):
        assert shown.json()["nodes"] == []
        [problem] = shown.json()["diagnostics"]
        assert (problem["line"], problem["rule"]) == (2, "invalid-syntax")
    assert client.get(f"{path}/workflow.svg").status_code == 422


@pytest.mark.parametrize(
    "code", ["(" * 50_000, "-" * 50_000 + "1", "[" * 300 + "]" * 300, "x" * 200_001, "\ufeff\x0c;"]
)
def test_code_that_breaks_parsers_is_refused(client: TestClient, code: str) -> None:
    answer = client.post("/projects", json={"name": "x", "code": code})
    assert_problem(answer, 422, "invalid_workflow")


@pytest.mark.parametrize("member", ["name", "code", "instructions"])
@pytest.mark.parametrize("text", ["a\x00b", "\udc00", "x\ud83d"])
def test_text_that_no_database_stores_is_refused(
    client: TestClient, member: str, text: str
) -> None:
    answer = request_json(client, "POST", "/projects", {"name": "x"} | {member: text})
    problem = assert_problem(answer, 422, "invalid_request")
    assert problem["errors"][0]["pointer"] == f"#/{member}"


def test_the_workflow_lists_agents_tools_and_handoffs(client: TestClient) -> None:
    code = 'from agents import Agent\nb = Agent(name="b")\na = Agent(name="a", handoffs=[b])\n'
    workflow = client.get(f"/projects/{new_project(client, code=code)}/workflow").json()
    assert [node["node_id"] for node in workflow["nodes"]] == ["b", "a"]
    edge = {"source": "a", "target": "b", "kind": "handoff", "tool_name": None}
    assert workflow["edges"] == [edge]
    assert workflow["tools"] == workflow["unresolved"] == []


FULL = """\
from agents import Agent, WebSearchTool, function_tool
from agents.realtime import RealtimeAgent
from .desks import billing

@function_tool
def lookup() -> str:
    \"\"\"Look up.\"\"\"
    return ""

async def main():
    refunds = Agent(name="Refunds", tools=[lookup, WebSearchTool()], output_type=int)
    triage = Agent(name="T", handoffs=[billing], tools=[refunds.as_tool("ask_refunds", "Ask.")])

voice = RealtimeAgent(name="A voice that has a name which is far too long for its box")
"""


def test_the_workflow_tells_scopes_agents_as_tools_and_what_only_a_run_decides(
    client: TestClient,
) -> None:
    workflow = client.get(f"/projects/{new_project(client, code=FULL)}/workflow").json()
    refunds, triage, voice = workflow["nodes"]
    assert (refunds["scope"], refunds["output_type"]) == ("main", "int")
    assert (triage["tools"], refunds["tools"]) == (["ask_refunds"], ["lookup", "WebSearchTool"])
    assert (voice["kind"], voice["variable"]) == ("RealtimeAgent", "voice")
    edge = {"source": "triage", "target": "refunds", "kind": "tool", "tool_name": "ask_refunds"}
    assert workflow["edges"] == [edge]
    [tool] = workflow["tools"]
    assert (tool["kind"], tool["scope"]) == ("function_tool", "")
    text = "`billing` is imported from `.desks`"
    place = {"line": 12, "node_id": "triage", "field": "handoffs"}
    assert workflow["unresolved"] == [place | {"text": text}]


def test_the_picture_shows_scopes_agents_as_tools_and_what_only_a_run_decides(
    client: TestClient,
) -> None:
    project_id = new_project(client, code=FULL)
    picture = ET.fromstring(client.get(f"/projects/{project_id}/workflow.svg").content)
    paths = [path.get("class") for path in picture.iter("{http://www.w3.org/2000/svg}path")]
    assert "edge tool" in paths
    texts: dict[str, list[str]] = {}
    for text in picture.iter("{http://www.w3.org/2000/svg}text"):
        texts.setdefault(text.get("class", ""), []).append(text.text or "")
    assert texts["label"] == ["ask_refunds"]
    assert texts["where"] == ["in main", "RealtimeAgent", "in main"]
    assert texts["tool"] == ["lookup", "WebSearchTool"]
    assert texts["note"][1] == ("line 12, triage, handoffs: `billing` is imported from `.desks`")
    assert all(len(name) < 30 for name in texts["name"])


@pytest.mark.parametrize("letter", ["W", "客", "i", "😀"])
def test_the_texts_of_the_picture_fit_their_boxes(client: TestClient, letter: str) -> None:
    name, about = repr(letter * 200), repr(letter * 900)
    code = f"from agents import Agent\na = Agent(name={name}, instructions={about})\n"
    project_id = new_project(client, code=code)
    picture = ET.fromstring(client.get(f"/projects/{project_id}/workflow.svg").content)
    pixels = {"W": 11.3, "客": 11.5, "i": 3, "😀": 15}[letter]
    for text in picture.iter("{http://www.w3.org/2000/svg}text"):
        larger = 14 / 11.5 if text.get("class") == "name" else 1
        assert len(text.text or "") * pixels * larger < 200


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "\"'&]]>", "\x01\x1b\x7f\ufffe", "😀" * 100, "{body}"]
)
def test_the_picture_is_well_formed_xml_whatever_the_names(client: TestClient, name: str) -> None:
    code = f"from agents import Agent\na = Agent(name={name!r})\n"
    project_id = new_project(client, name=f"x{name}", code=code)
    answer = client.get(f"/projects/{project_id}/workflow.svg")
    assert answer.headers["Content-Type"] == "image/svg+xml"
    picture = ET.fromstring(answer.content)
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    assert not list(picture.iter("{http://www.w3.org/2000/svg}script"))
    texts = [text.text or "" for text in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert [text.rstrip("…") for text in texts if name.startswith(text.rstrip("…"))] or (
        "\ufffd" in texts[0]
    )


def test_the_picture_marks_what_changed_since_a_revision(client: TestClient) -> None:
    before = 'from agents import Agent\na = Agent(name="a")\nb = Agent(name="b")\n'
    after = before.replace(
        'a = Agent(name="a"', 'c = Agent(name="c")\na = Agent(name="a", handoffs=[c]'
    )
    project_id = new_project(client, code=before)
    client.patch(f"/projects/{project_id}", json={"code": after})

    def marks(query: str) -> dict[str, str]:
        answer = client.get(f"/projects/{project_id}/workflow.svg{query}")
        picture = ET.fromstring(answer.content)
        nodes = [node for node in picture.iter() if node.get("data-node")]
        return {node.get("data-node", ""): node.get("class", "") for node in nodes}

    assert marks("?since=1") == {"b": "node", "a": "node changed", "c": "node new"}
    assert set(marks("").values()) == set(marks("?since=2").values()) == {"node"}
    missing = client.get(f"/projects/{project_id}/workflow.svg?since=9")
    assert_problem(missing, 404, "revision_not_found")


def test_the_picture_of_a_cycle_and_of_a_crowd_is_drawn(client: TestClient) -> None:
    many = "\n".join(f'n{n} = Agent(name="n{n}")' for n in range(30))
    cycle = "n0.handoffs = [n1, n0]\nn1.handoffs = [n0]\nn2.handoffs = [n3, n4, n5, n6, n7]\n"
    project_id = new_project(client, code=f"from agents import Agent\n{many}\n{cycle}")
    picture = ET.fromstring(client.get(f"/projects/{project_id}/workflow.svg").content)
    edges = [path for path in picture.iter() if path.get("class") == "edge"]
    assert len(edges) == len(client.get(f"/projects/{project_id}/workflow").json()["edges"]) > 0


def test_the_picture_of_an_empty_workflow_says_so(client: TestClient) -> None:
    answer = client.get(f"/projects/{new_project(client)}/workflow.svg")
    assert "No agents yet" in answer.text
