"""What is seen while a message is on its way, and when something breaks meanwhile."""

import re
import sqlite3
from contextlib import closing
from itertools import pairwise

from playwright.sync_api import Route, expect

from tests.console.conftest import Running
from tests.console.person import Person, Room, answered
from tests.services import wait_until

_WORDS = " ".join(f"word{n}" for n in range(1, 21))
SLOW = f"[[pace 0.05]] [[say {_WORDS}]]"
ENDLESS = "[[hang]]"

# what the reply's text was, each time it had changed
_LISTEN = """log => {
    window.heard = [];
    new MutationObserver(() => {
        const text = document.querySelector(".message:last-child .markdown")?.innerText;
        if (text && text !== window.heard.at(-1)) window.heard.push(text);
    }).observe(log, {childList: true, subtree: true, characterData: true});
}"""


def writing(person: Person) -> None:
    """Wait until a part of the slow reply is there."""
    expect(person.last.locator(".markdown")).to_contain_text("word3")


def test_a_reply_arrives_in_pieces(visitor: Person) -> None:
    visitor.page.get_by_role("log").evaluate(_LISTEN)
    answered(visitor.say(f"[[pace 0.2]] [[say {_WORDS}]]"))  # 4 s: ten batches of text
    heard = visitor.page.evaluate("() => window.heard")
    assert len(heard) > 3
    assert all(later.startswith(earlier) for earlier, later in pairwise(heard))
    assert heard[-1] == _WORDS


def test_a_reload_in_the_middle_loses_nothing(visitor: Person) -> None:
    visitor.say(SLOW)
    writing(visitor)
    visitor.page.reload()
    answered(visitor.last)
    expect(visitor.last.locator(".markdown")).to_have_text(_WORDS)
    expect(visitor.messages).to_have_count(1)


def test_an_api_that_restarts_in_the_middle_loses_nothing(
    visitor: Person, service: Running
) -> None:
    visitor.room.foreseen = ["ERR_CONNECTION", "ERR_INCOMPLETE", "ERR_EMPTY"]
    message = visitor.say(f"[[pace 0.2]] [[say {_WORDS}]]")
    writing(visitor)
    visitor.page.evaluate(
        """id => {
            window.numbers = [];
            const source = new EventSource(`/messages/${id}/events`);
            for (const kind of ["queued", "claimed", "text", "completed"])
                source.addEventListener(kind, event => {
                    window.numbers.push(Number(event.lastEventId));
                    if (kind === "completed") { source.close(); window.ended = true; }
                });
        }""",
        (message.get_attribute("id") or "").removeprefix("message-"),
    )
    service.api.terminate()
    expect(visitor.page.get_by_text("The connection is lost")).to_be_visible()
    service.api.start()
    answered(message)
    expect(visitor.page.get_by_text("The connection is lost")).to_be_hidden()
    expect(message.locator(".markdown")).to_have_text(_WORDS)
    # a browser's own EventSource comes back by itself, with Last-Event-ID
    visitor.page.wait_for_function("() => window.ended")
    numbers = visitor.page.evaluate("() => window.numbers")
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_running_message_is_stopped(visitor: Person) -> None:
    message = visitor.say(ENDLESS)
    expect(message.get_by_text("Working")).to_be_visible()
    message.get_by_role("button", name="Stop").click()
    expect(message).to_have_attribute("data-status", "cancelled")
    expect(message).to_contain_text("Stopped")
    again = visitor.say(ENDLESS)
    expect(again.get_by_text("Working")).to_be_visible()
    visitor.prompt.press("Escape")
    expect(again).to_have_attribute("data-status", "cancelled")


def test_what_waits_is_changed_and_withdrawn(visitor: Person) -> None:
    running = visitor.say(ENDLESS)
    first, second, third = (visitor.say(f"[[say reply {n}]]") for n in "123")
    expect(first.get_by_text("Waits for one message")).to_be_visible()
    expect(third.get_by_text("Waits for 3 messages")).to_be_visible()
    second.get_by_role("button", name="Withdraw").click()
    expect(second).to_contain_text("Withdrawn")
    first.get_by_role("button", name="Change the prompt").click()
    visitor.page.get_by_role("dialog").get_by_label("Prompt").fill("[[say changed]]")
    visitor.page.get_by_role("button", name="Save").click()
    expect(first.locator(".prompt-text")).to_have_text("[[say changed]]")
    running.get_by_role("button", name="Stop").click()
    answered(third)
    expect(first.locator(".markdown")).to_have_text("changed")
    expect(third.locator(".markdown")).to_have_text("reply 3")


def test_a_prompt_takes_the_place_of_what_runs(visitor: Person) -> None:
    running = visitor.say(ENDLESS)
    expect(running.get_by_text("Working")).to_be_visible()
    visitor.prompt.fill("[[say instead]]")
    visitor.page.get_by_role("button", name="Send, and stop what runs").click()
    expect(running).to_have_attribute("data-status", "cancelled")
    expect(visitor.messages.nth(1).locator(".markdown")).to_have_text("instead")


def test_a_failed_message_says_why_and_is_sent_again(visitor: Person) -> None:
    failed = visitor.say("[[status 500 times 1]] [[say better now]]")
    expect(failed).to_have_attribute("data-status", "failed")
    expect(failed).to_contain_text("model_error")
    failed.get_by_role("button", name="Send this prompt again").click()
    expect(visitor.messages).to_have_count(2)
    answered(visitor.last)
    expect(visitor.last.locator(".markdown")).to_have_text("better now")

    page = visitor.page
    page.get_by_role("link", name="Operations").click()
    expect(page.locator(".tile", has_text="Workers alive")).to_contain_text("1")
    row = page.get_by_role("row").filter(has_text="model_error").first
    row.get_by_role("link", name="Open").click()
    expect(page.locator(".message.selected")).to_contain_text("model_error")


def test_a_killed_worker_is_seen_and_the_reply_comes(visitor: Person, service: Running) -> None:
    message = visitor.say(f"[[pace 0.05]] [[delay 30 times 1]] [[say {_WORDS}]]")
    expect(message.get_by_text("Working")).to_be_visible()
    wait_until(lambda: bool(service.stub.requests("delay 30")), "the model to be asked")
    service.worker.kill()
    service.worker.launch()
    expect(message.get_by_text("attempt 2: its worker was lost")).to_be_visible(timeout=20_000)
    answered(message)
    expect(message.locator(".markdown")).to_have_text(_WORDS)
    expect(message.locator(".meta")).to_contain_text("2 attempts")


def test_two_windows_on_one_session_show_the_same(visitor: Person) -> None:
    other = visitor.another_window()
    visitor.say(SLOW)
    writing(other)
    answered(other.last)
    expect(other.last.locator(".markdown")).to_have_text(_WORDS)
    other.choose("stub")
    other.hear("[[say from the other]]")
    expect(visitor.messages).to_have_count(2)
    expect(visitor.last.locator(".markdown")).to_have_text("from the other")


def test_a_colleague_elsewhere_sees_what_is_said(visitor: Person, room: Room) -> None:
    colleague = room.enter(visitor.page.url)
    expect(colleague.prompt).to_be_visible()
    visitor.hear("[[say hello there]]")
    expect(colleague.last.locator(".markdown")).to_have_text("hello there")


def test_a_session_of_200_messages_opens_at_its_end_and_shows_the_rest(
    visitor: Person, service: Running
) -> None:
    visitor.hear("[[say first]]")
    with closing(sqlite3.connect(service.database, timeout=10)) as database, database:
        fill(database, visitor.place("sessions").replace("-", ""))
    visitor.page.reload()
    expect(visitor.last.locator(".prompt-text")).to_have_text("prompt 200")
    expect(visitor.last).to_be_in_viewport()
    earlier = visitor.page.get_by_role("button", name="Show earlier messages")
    while earlier.is_visible():
        earlier.click()
    expect(visitor.messages).to_have_count(200)
    expect(visitor.messages.first.locator(".markdown")).to_have_text("first")
    visitor.hear("[[say last]]")


def fill(database: sqlite3.Connection, session_id: str) -> None:
    """Add to a session's first message 199 like it."""
    names = [row[1] for row in database.execute("PRAGMA table_info(messages)")]
    other = {"id": "lower(hex(randomblob(16)))", "seq": "n", "content": "'prompt ' || n"}
    values = ", ".join(other.get(name, name) for name in names)
    database.execute(
        f"""INSERT INTO messages ({", ".join(names)})
        WITH RECURSIVE numbers(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM numbers WHERE n < 200)
        SELECT {values.replace("idempotency_key", "NULL")} FROM messages, numbers
        WHERE session_id = ? AND seq = 1""",
        (session_id,),
    )
    database.execute("UPDATE sessions SET next_seq = 201 WHERE id = ?", (session_id,))


def test_a_very_long_reply_is_shown_whole_and_the_page_stays_quick(visitor: Person) -> None:
    lines = "\n\n".join(f"{n}:" + "syllable" * 40 for n in range(400))
    message = visitor.say(f"[[say {lines}]]")
    answered(message)
    expect(message.locator(".markdown p")).to_have_count(400)
    expect(message.locator(".prompt-text")).to_have_class(re.compile("cut"))
    spent = visitor.page.evaluate(
        "() => { const from = performance.now(); document.body.offsetHeight;"
        " return performance.now() - from }"
    )
    assert spent < 1000
    visitor.hear("[[say short]]")


def test_a_key_is_asked_for_once_and_kept_out_of_the_address(visitor: Person) -> None:
    page, asked = visitor.page, []

    def wants_key(route: Route) -> None:
        given = route.request.headers.get("authorization")
        asked.append(given)
        if given == "Bearer secret":  # the service has no keys: it would not know this one
            others = {k: v for k, v in route.request.headers.items() if k != "authorization"}
            route.continue_(headers=others)
        else:
            problem = {"detail": "Send a key.", "code": "unauthorized"}
            route.fulfill(status=401, json=problem, content_type="application/problem+json")

    visitor.room.foreseen = ["401"]
    page.route(re.compile("/(projects|sessions|messages)"), wants_key)
    page.reload()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("API key").fill("secret")
    dialog.get_by_role("button", name="Use it").click()
    visitor.hear("[[say with a key]]")
    page.reload()
    expect(visitor.messages).to_have_count(1)
    assert asked.count("Bearer secret") > 5
    assert "secret" not in page.url
    page.get_by_role("button", name="Forget the key").click()
    expect(dialog).to_be_visible()
