"""A person's first conversation, typed by hand, with the model that needs no key."""

import ast
import re

import pytest
from playwright.sync_api import Dialog, expect

from tests.console.conftest import Running
from tests.console.person import Person, Room, answered


def test_the_whole_of_the_main_job_is_done_by_hand(person: Person) -> None:
    page = person.page
    expect(page.get_by_text("The model is “offline”")).to_be_visible()
    first = person.hear("Create a triage agent")
    expect(page.get_by_role("heading", name="Whole workflow")).to_be_visible()
    expect(first.locator(".markdown")).to_contain_text("Created the agent triage")
    expect(first.locator(".diff")).to_contain_text("+triage = Agent(")
    expect(first.locator(".meta")).to_contain_text(
        re.compile(r"offline.*tokens.*trace_", re.DOTALL)
    )
    expect(person.picture.locator(".node")).to_have_count(1)

    person.hear("Add a billing agent and let triage hand off to it")
    expect(person.picture.locator('[data-node="billing"] .mark')).to_have_text("new")
    expect(person.picture.locator('[data-node="triage"] .mark')).to_have_text("changed")
    expect(person.picture.locator(".edge.new")).to_have_count(1)

    person.hear("Make billing Spanish")
    expect(person.picture.locator('[data-node="billing"] .mark')).to_have_text("changed")
    expect(person.picture.locator('[data-node="triage"] .mark')).to_have_count(0)
    assert page.get_by_role("log").locator(".message").count() == 3

    described = person.hear("What does this workflow do?")
    expect(described.locator(".markdown")).to_contain_text("billing")
    expect(described.locator(".change")).to_be_empty()
    code = person.tab("Code")
    expect(code.locator(".line.marked").first).to_contain_text("Always answer in Spanish")
    expect(code.locator(".py-keyword").first).to_have_text("from")
    expect(code.locator('[data-line="1"]')).to_contain_text("A workflow of agents.")


@pytest.mark.parametrize("offer", ["Help desk", "Triage and billing", "Translator"])
def test_what_is_offered_first_is_understood_by_the_offline_model(
    person: Person, offer: str
) -> None:
    person.page.get_by_role("button", name=offer).click()
    answered(person.last)
    expect(person.last.locator(".diff .added").first).to_be_visible()
    for follow_up in person.page.locator(".follow-up").all_inner_texts():
        person.hear(follow_up)
        if not follow_up.endswith("?"):
            expect(person.last.locator(".diff")).to_be_visible()


def test_a_click_on_an_agent_opens_its_session_which_changes_it_alone(person: Person) -> None:
    person.hear("Create a triage agent and a billing agent")
    person.picture.locator('[data-node="billing"]').click()
    expect(person.page.get_by_role("heading", name="billing", exact=True)).to_be_visible()
    person.hear("Make it French")
    expect(person.last.locator(".diff")).to_contain_text("Always answer in French")
    refused = person.hear("Rename the triage agent to first")
    expect(refused.locator(".change")).to_be_empty()
    current = person.page.locator('.sessions [aria-current="page"]')
    expect(current).to_contain_text("billing")
    person.page.get_by_role("link", name="Whole workflow").click()
    expect(person.messages).to_have_count(1)


def test_the_picture_is_used_with_the_keyboard(person: Person) -> None:
    person.hear("Create a triage agent")
    node = person.page.get_by_role("button", name="triage, new: open its session")
    node.focus()
    node.press("Enter")
    expect(person.page.get_by_role("heading", name="triage", exact=True)).to_be_visible()


def test_the_tool_calls_of_an_old_message_are_read_when_they_are_unfolded(person: Person) -> None:
    person.hear("Create a triage agent")
    person.page.reload()
    person.last.get_by_text("Tool calls").click()
    expect(person.last.locator("details.tool")).to_contain_text("apply_patch")
    expect(person.last.locator("details.tool")).to_contain_text("triage = Agent(")


def test_an_earlier_revision_is_restored(person: Person) -> None:
    person.hear("Create a triage agent")
    person.hear("Create a billing agent")
    history = person.tab("History")
    expect(history.get_by_text("Revision 3")).to_be_visible()
    history.get_by_text("Revision 2").click()
    expect(history.locator("details[open] .diff")).to_contain_text("+triage")
    history.get_by_role("button", name="Restore revision 2").click()
    person.page.get_by_role("dialog").get_by_role("button", name="Restore").click()
    expect(history.get_by_text("Revision 4")).to_be_visible()
    assert "billing" not in person.tab("Code").inner_text()
    person.tab("Workflow")
    expect(person.picture.locator(".node")).to_have_count(1)


def test_the_code_is_downloaded_as_a_program(person: Person) -> None:
    person.hear("Create a triage agent")
    code = person.tab("Code")
    with person.page.expect_download() as download:
        code.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == "workflow.py"
    text = download.value.path().read_text()
    assert "run_demo_loop(triage)" in ast.unparse(ast.parse(text))


def test_a_message_opens_to_everything_and_its_link_can_be_sent(person: Person, room: Room) -> None:
    message = person.hear("Create a triage agent")
    message.get_by_role("button", name="Details of this message").click()
    detail = person.page.get_by_role("tabpanel", name="Message")
    expect(detail).to_contain_text("Attempt 1")
    detail.get_by_text("Call 1").click()
    expect(detail.get_by_role("region", name="response").first).to_contain_text('"function_call"')
    expect(detail.locator("details.tool")).to_contain_text("apply_patch")
    colleague = room.enter(person.page.url)
    expect(colleague.page.locator(".message.selected .prompt-text")).to_have_text(
        "Create a triage agent"
    )
    expect(colleague.page.get_by_role("tabpanel", name="Message")).to_contain_text("Attempt 1")
    # what an operator is given: the message's id alone
    operator = room.enter(f"{person.origin}/#/messages/{person.place('messages')}")
    expect(operator.page.get_by_role("tabpanel", name="Message")).to_contain_text("Attempt 1")


def test_what_has_html_in_it_is_shown_as_it_was_written(person: Person) -> None:
    nasty = "<img src=x onerror=alert(1)><script>alert(2)</script> **bold** `<b>`"
    alarms: list[str] = []

    def alarmed(dialog: Dialog) -> None:
        alarms.append(dialog.message)
        dialog.dismiss()

    person.page.on("dialog", alarmed)
    person.begin_project(nasty)
    person.hear(f"Create an agent called triage for {nasty}")
    person.hear(f"Tell triage to say {nasty}")
    person.hear("What does this workflow do?")
    expect(person.page.locator(".project[aria-current]")).to_have_text(nasty)
    for name in ("Code", "History", "Workflow"):
        person.tab(name)
    person.last.get_by_role("button", name="Details").click()
    expect(person.page.get_by_role("tabpanel", name="Message")).to_contain_text("Attempt 1")
    assert person.page.locator("main :is(img, script, b)").count() == 0
    assert not alarms


def test_a_project_is_renamed_instructed_and_deleted(person: Person) -> None:
    page = person.page
    person.begin_project("First name")
    page.get_by_role("button", name="First name").click()
    page.get_by_label("Name", exact=True).fill("Second name")
    page.get_by_label("What VibeCoder heeds").fill("Be polite.")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("link", name="Second name")).to_be_visible()
    page.get_by_role("button", name="Second name").click()
    expect(page.get_by_label("What VibeCoder heeds")).to_have_value("Be polite.")
    page.get_by_label("Delete the project").check()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="What shall the workflow do?")).to_be_visible()
    expect(page.get_by_role("link", name="Second name")).to_have_count(0)


def test_a_session_is_renamed_doubled_and_forgotten(person: Person) -> None:
    page = person.page
    person.hear("Create a triage agent")
    page.get_by_role("button", name="Rename this session").click()
    page.get_by_label("Title").fill("Drafts")
    page.get_by_role("button", name="Save").click()
    expect(page.locator('.sessions [aria-current="page"]')).to_contain_text("Drafts")
    page.get_by_role("button", name="New conversation").click()
    expect(page.get_by_role("heading", name="Whole workflow, 2")).to_be_visible()
    expect(person.messages).to_have_count(0)
    page.get_by_role("link", name="Drafts").click()
    expect(person.messages).to_have_count(1)
    page.get_by_role("button", name="Forget this conversation").click()
    page.get_by_role("dialog").get_by_role("button", name="Forget").click()
    expect(person.messages).to_have_count(0)
    expect(page.get_by_role("heading", name="What shall the workflow do?")).to_be_visible()


def test_what_was_begun_to_be_written_survives_a_reload(person: Person) -> None:
    person.begin_project()
    person.prompt.fill("Create a tri")
    person.prompt.press("Shift+Enter")
    person.page.reload()
    expect(person.prompt).to_have_value("Create a tri\n")
    expect(person.messages).to_have_count(0)


def test_an_address_that_leads_nowhere_says_so(room: Room, service: Running) -> None:
    room.foreseen = ["404"]
    nobody = "00000000-0000-4000-8000-000000000000"
    lost = room.enter(f"{service.api.url}/#/projects/{nobody}")
    expect(lost.page.locator(".toast")).to_contain_text("There is no project")
    expect(lost.page.get_by_role("heading", name="What shall the workflow do?")).to_be_visible()
