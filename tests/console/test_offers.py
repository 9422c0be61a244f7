"""What the page offers where the service has it; here the answers are made up."""

import json
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.console.person import Person

_TRACE = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 900 40" width="900" height="40">
<style>text{fill:#f00}@media (prefers-color-scheme:dark){text{fill:#0f0}}</style>
<text x="5" y="20">queued for 3 ms</text></svg>"""
_FURTHER = (
    "/messages/{message_id}/fork",
    "/messages/{message_id}/trace.svg",
    "/messages/{message_id}/usage",
    "/projects/{project_id}/usage",
)
_TOTALS = {
    "calls": 2,
    "input_tokens": 812,
    "output_tokens": 96,
    "cost": "0.001975",
    "unpriced_calls": 0,
}


@pytest.fixture
def further(person: Person) -> Person:
    """Give someone whose service has traces, costs and forks."""
    page = person.page

    def document(route: Route) -> None:
        found = route.fetch().json()
        for path in _FURTHER:
            found["paths"].setdefault(path, {})
        route.fulfill(json=found)

    page.route("**/openapi.json", document)
    page.route("**/trace.svg", lambda route: route.fulfill(body=_TRACE))
    page.route("**/usage", lambda route: route.fulfill(json={"totals": _TOTALS}))
    page.reload()
    return person


def color(page: Page) -> str:
    picture = page.get_by_role("tabpanel", name="Message").locator(".picture text")
    found: str = picture.evaluate("node => getComputedStyle(node).fill")
    return found


def test_the_waterfall_is_shown_in_the_pages_colours(further: Person) -> None:
    page = further.page
    further.hear("Create a triage agent").get_by_role("button", name="Details").click()
    expect(page.get_by_text("queued for 3 ms")).to_be_visible()
    assert color(page) == "rgb(255, 0, 0)"
    page.get_by_role("button", name="Light or dark").click()
    assert color(page) == "rgb(0, 255, 0)"
    page.get_by_role("button", name="Show it large").click()
    expect(page.get_by_role("dialog").get_by_text("queued for 3 ms")).to_be_visible()


def test_what_a_message_and_a_project_cost_is_told(further: Person) -> None:
    page = further.page
    further.begin_project("Costly")
    further.hear("Create a triage agent").get_by_role("button", name="Details").click()
    expect(page.get_by_role("tabpanel", name="Message")).to_contain_text("$0.0020")
    page.get_by_role("button", name="Costly").click()
    expect(page.get_by_role("dialog")).to_contain_text("2 model calls, 812 tokens read")


def test_a_fork_opens_the_session_that_it_makes(further: Person) -> None:
    page = further.page
    asked: list[Any] = []

    def fork(route: Route) -> None:
        asked.append(json.loads(route.request.post_data or ""))
        project = further.place("projects")
        made = page.request.post(
            f"{further.origin}/projects/{project}/sessions", data={"new": True, "title": "Forked"}
        )
        route.fulfill(status=201, json=made.json())

    page.route("**/fork", fork)
    message = further.hear("Create a triage agent")
    message.get_by_role("button", name="Fork the conversation from here").click()
    page.get_by_role("dialog").get_by_role("button", name="Fork").click()
    expect(page.get_by_role("heading", name="Forked")).to_be_visible()
    assert asked == [{"copy_project": False}]
