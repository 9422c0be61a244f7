"""The page itself: for everyone, on every screen, and alone with its service."""

import httpx2
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.console.conftest import Running
from tests.console.person import Person, Room

FILES = ("/", "/docs", "/console/app.js", "/console/console.css", "/console/icon.svg")


def serious(person: Person) -> list[str]:
    """Let axe-core look at the page; return what it takes for serious."""
    found = Axe().run(person.page).response["violations"]
    return [
        f"{each['id']}: {node['html']}"
        for each in found
        for node in each["nodes"]
        if each["impact"] in ("serious", "critical")
    ]


def test_the_problems_of_the_code_stand_above_it(room: Room, service: Running) -> None:
    blank = "\n" * 80
    code = f"from agents import Agent\nimport not_here{blank}\na = Agent(name='a', temperature=1)\n"
    made = httpx2.post(
        f"{service.api.url}/projects", json={"name": "x", "code": code}, trust_env=False
    ).json()
    person = room.enter(f"{service.api.url}/#/projects/{made['id']}")
    shown = person.tab("Code")
    problems = shown.get_by_role("list", name="Problems of the code").get_by_role("listitem")
    expect(problems).to_have_text(
        [
            "Line 2`not_here` is not installed here",
            "Line 83Argument `temperature` does not match any known parameter of `Agent.__init__`",
        ]
    )
    line = shown.locator('[data-line="83"]')
    expect(line).not_to_be_in_viewport()
    shown.get_by_role("button", name="Line 83").click()
    expect(line).to_be_in_viewport()
    assert not serious(person)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_serious(room: Room, service: Running, dark: bool) -> None:
    person = room.enter(service.api.url, dark=dark)
    expect(person.page.get_by_role("heading", name="What shall")).to_be_visible()
    found = serious(person)
    person.hear("Create a triage agent and a billing agent, and let triage hand off to billing")
    for name in ("History",) if dark else ("Workflow", "Code", "History"):
        person.tab(name)
        expect(person.page.get_by_role("tabpanel", name=name)).not_to_be_empty()
        found += serious(person)
    person.last.get_by_role("button", name="Details").click()
    expect(person.page.get_by_role("tabpanel", name="Message")).to_contain_text("Attempt 1")
    found += serious(person)
    person.page.get_by_role("button", name="New project").click()
    found += serious(person)
    person.page.keyboard.press("Escape")
    person.page.get_by_role("link", name="Operations").click()
    expect(person.page.get_by_role("heading", name="Workers")).to_be_visible()
    found += serious(person)
    assert not found


def test_a_phone_shows_one_thing_at_a_time(room: Room, service: Running) -> None:
    person = room.enter(service.api.url, phone=True)
    person.hear("Create a triage agent")
    expect(person.picture).to_be_hidden()
    page = person.page
    views = page.get_by_role("navigation", name="Views")
    views.get_by_role("button", name="Workflow").click()
    expect(person.picture).to_be_visible()
    expect(person.prompt).to_be_hidden()
    views.get_by_role("button", name="Sessions").click()
    page.get_by_role("button", name="triage").click()
    expect(page.get_by_role("heading", name="triage", exact=True)).to_be_visible()
    expect(person.prompt).to_be_visible()
    wider = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wider) == 0
    assert not serious(person)


def test_the_theme_is_the_systems_until_a_person_chooses(room: Room, service: Running) -> None:
    person = room.enter(service.api.url, dark=True)
    root = person.page.locator("html")
    expect(root).to_have_attribute("data-theme", "dark")
    dark = root.evaluate("() => getComputedStyle(document.body).backgroundColor")
    person.page.get_by_role("button", name="Light or dark").click()
    expect(root).to_have_attribute("data-theme", "light")
    person.page.reload()
    expect(root).to_have_attribute("data-theme", "light")
    assert root.evaluate("() => getComputedStyle(document.body).backgroundColor") != dark


def test_all_of_it_is_reached_with_the_keyboard(person: Person) -> None:
    person.hear("Create a triage agent")
    page = person.page
    page.reload()
    expect(person.messages).to_have_count(1)
    page.evaluate("() => document.activeElement.blur()")
    page.keyboard.press("/")
    expect(person.prompt).to_be_focused()
    skip = page.get_by_role("link", name="Skip to the content")
    skip.focus()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
    page.get_by_role("tab", name="Workflow").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Code")).to_be_focused()
    expect(page.get_by_role("tabpanel", name="Code")).to_be_visible()
    person.last.get_by_role("button", name="Details").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("tabpanel", name="Message")).to_be_visible()
    # what happened is said, too
    expect(page.get_by_role("status")).to_have_text("")
    person.hear("What does this workflow do?")
    expect(page.get_by_role("status")).to_contain_text("VibeCoder: ")


def test_an_end_that_the_page_learns_of_without_its_stream_is_said_too(person: Person) -> None:
    person.page.route("**/events", lambda route: None)  # never answered
    person.hear("Create a triage agent")
    expect(person.page.get_by_role("status")).to_contain_text("VibeCoder: ")


def test_the_operations_page_shows_what_was_answered(person: Person) -> None:
    person.hear("Create a triage agent")
    page = person.page
    page.get_by_role("link", name="Operations").click()
    expect(page.locator(".tile", has_text="Workers alive").locator("strong")).to_have_text("1")
    expect(page.locator(".tile", has_text="Replies").locator("strong")).not_to_have_text("0")
    expect(page.get_by_role("img", name="Messages ended a minute")).to_be_visible()
    expect(page.locator("svg rect.completed").first).to_be_attached()
    expect(page.get_by_role("row").filter(has_text="of 100")).to_be_visible()


def test_the_api_is_described_without_another_host(room: Room, service: Running) -> None:
    reader = room.enter(f"{service.api.url}/docs")
    operation = reader.page.locator("#operations-sessions-send_message")
    expect(operation).to_be_visible(timeout=60_000)  # it draws the whole API
    operation.locator(".opblock-summary-control").click()
    expect(operation).to_contain_text("Send a prompt to VibeCoder")


@pytest.mark.parametrize("path", FILES)
def test_a_page_may_ask_nobody_else(service: Running, path: str) -> None:
    answer = httpx2.get(service.api.url + path, trust_env=False)
    policy = answer.headers["Content-Security-Policy"]
    assert answer.status_code == 200
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    again = {"If-None-Match": answer.headers["ETag"]}
    assert httpx2.get(service.api.url + path, headers=again, trust_env=False).status_code == 304


@pytest.mark.parametrize(
    "path", ["/console/missing.js", "/console/../app.py", "/console/%2e%2e/app.py", "/console/"]
)
def test_only_the_pages_files_are_served(service: Running, path: str) -> None:
    answer = httpx2.get(service.api.url + path, trust_env=False)
    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"
