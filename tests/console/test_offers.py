"""What the page offers besides talking: where the time went, what it cost, a fork."""

from playwright.sync_api import Page, expect

from tests.console.person import Person


def color(page: Page) -> str:
    found: str = (
        page.get_by_role("tabpanel", name="Message")
        .locator("text.headline")
        .evaluate("node => getComputedStyle(node).fill")
    )
    return found


def test_the_waterfall_is_shown_in_the_pages_colours(person: Person) -> None:
    page = person.page
    person.begin_project()
    person.hear("Create a triage agent").get_by_role("button", name="Details").click()
    waterfall = page.get_by_role("region", name="Where the time went")
    expect(waterfall).to_contain_text("attempt 1")
    expect(waterfall).to_contain_text("tool apply_patch")
    light = color(page)
    page.get_by_role("button", name="Light or dark").click()
    assert color(page) != light
    page.get_by_role("button", name="Show it large").click()
    expect(page.get_by_role("dialog")).to_contain_text("tool apply_patch")
    page.go_back()
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_what_a_message_and_a_project_cost_is_told(visitor: Person) -> None:
    page = visitor.page
    visitor.hear("[[say Ciao]]").get_by_role("button", name="Details").click()
    used = visitor.asks(f"/messages/{visitor.place('messages')}/usage")["totals"]
    assert float(used["cost"]) > 0
    told = page.get_by_role("tabpanel", name="Message")
    expect(told).to_contain_text(f"${float(used['cost']):.4f}")
    page.get_by_role("button", name="A project").click()
    expect(page.get_by_role("dialog")).to_contain_text(
        f"1 model call, {used['input_tokens']:,} tokens read"
    )


def test_a_model_without_a_price_is_not_told_to_cost_nothing(person: Person) -> None:
    person.begin_project()
    person.choose("unpriced")
    person.hear("[[say Ciao]]").get_by_role("button", name="Details").click()
    told = person.page.get_by_role("tabpanel", name="Message")
    expect(told).to_contain_text("1 model call without a known price")
    expect(told).not_to_contain_text("$")


def test_a_fork_opens_the_session_that_it_makes_and_says_what_it_remembers(person: Person) -> None:
    page = person.page
    person.begin_project()
    message = person.hear("Create a triage agent")
    before = person.place("sessions")
    message.get_by_role("button", name="Fork the conversation from here").click()
    page.get_by_role("dialog").get_by_role("button", name="Fork").click()
    expect(page.get_by_role("heading", name="Go on from there")).to_be_visible()
    made = person.asks(f"/sessions/{person.place('sessions')}")
    assert made["forked_from_message_id"]
    assert made["session_id"] != before
    assert len(person.asks(f"/sessions/{made['session_id']}/items")) > 0
    page.get_by_role("link", name="this message").click()
    expect(page.get_by_role("tabpanel", name="Message")).to_contain_text("Create a triage agent")


def test_a_fork_with_a_copy_leaves_the_project_as_it_is(person: Person) -> None:
    page = person.page
    person.begin_project("The first")
    message = person.hear("Create a triage agent")
    before = person.place("projects")
    message.get_by_role("button", name="Fork the conversation from here").click()
    page.get_by_label("In a copy of the project").check()
    page.get_by_role("dialog").get_by_role("button", name="Fork").click()
    expect(page.get_by_role("heading", name="Go on from there")).to_be_visible()
    person.hear("Add a billing agent")
    nodes = [
        len(person.asks(f"/projects/{project}")["nodes"])
        for project in (before, person.place("projects"))
    ]
    assert nodes == [1, 2]
