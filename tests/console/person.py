"""Somebody at the console: what they do, and what they see."""

import re
from types import TracebackType
from typing import Any, Self

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Request,
    expect,
)

expect.set_options(timeout=15_000)
_PASTE = "(e, text) => { e.value = text; e.dispatchEvent(new Event('input')) }"
_PHONE = {"width": 390, "height": 800}


class Room:
    """People at one browser; at its end it tells what went wrong on their pages."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self.wrong: list[str] = []
        self.foreseen: list[str] = []
        """Parts of messages that a test expects: of an API that it stops."""
        self._beats_late = "/ready"  # on a busy machine a worker may: that is no mistake of a page

    def enter(self, url: str, *, phone: bool = False, dark: bool = False) -> "Person":
        """Let someone open the console on a machine of their own."""
        context = self._browser.new_context(
            viewport=_PHONE if phone else {"width": 1440, "height": 900},  # type: ignore[arg-type]
            color_scheme="dark" if dark else "light",
        )
        context.set_default_timeout(15_000)
        self._contexts.append(context)
        return self.window(context, url)

    def window(self, context: BrowserContext, url: str) -> "Person":
        """Let someone open one more window on their machine."""
        page = context.new_page()
        origin = "/".join(url.split("/")[:3])
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("request", lambda request: self._asked(request, origin))
        page.goto(url)
        return Person(page, self, origin)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(f"{message.text} {message.location['url']}")

    def _asked(self, request: Request, origin: str) -> None:
        if not request.url.startswith((origin + "/", "data:", "blob:")):
            self.wrong.append(f"asked another host: {request.url}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for context in self._contexts:
            context.close()
        foreseen = [*self.foreseen, self._beats_late]
        unforeseen = [text for text in self.wrong if not any(part in text for part in foreseen)]
        assert kind or not unforeseen, unforeseen


class Person:
    """One window, and who sits before it."""

    def __init__(self, page: Page, room: Room, origin: str) -> None:
        self.page = page
        self.room = room
        self.origin = origin
        self.messages = page.locator(".message")
        self.last = self.messages.last
        self.prompt = page.get_by_role("textbox", name="Prompt")
        self.picture = page.locator(".picture svg")

    def begin_project(self, name: str = "A project") -> None:
        """Make a project by its dialog."""
        self.page.get_by_role("button", name="New project").click()
        self.page.get_by_label("Name", exact=True).fill(name)
        self.page.get_by_role("button", name="Begin").click()
        expect(self.page.get_by_role("heading", name="Whole workflow")).to_be_visible()

    def choose(self, model: str) -> None:
        """Choose which model answers in this window."""
        self.page.get_by_role("combobox", name="Model").select_option(model)

    def say(self, prompt: str) -> Locator:
        """Write a prompt and press Enter; return the message that it becomes."""
        before = self.messages.count()
        if "\n" in prompt:  # `fill` types line by line, for ten seconds where there are many
            self.prompt.evaluate(_PASTE, prompt)
        else:
            self.prompt.fill(prompt)
        self.prompt.press("Enter")
        message = self.messages.nth(before)
        expect(message.locator(".prompt-text")).to_have_text(prompt)
        return message

    def hear(self, prompt: str) -> Locator:
        """Write a prompt and wait for the reply."""
        message = self.say(prompt)
        answered(message)
        return message

    def tab(self, name: str) -> Locator:
        """Choose a tab beside the conversation; return its page."""
        self.page.get_by_role("tab", name=name).click()
        return self.page.get_by_role("tabpanel", name=name)

    def another_window(self) -> "Person":
        """Open the same address in a second window of the same browser."""
        return self.room.window(self.page.context, self.page.url)

    def place(self, part: str) -> str:
        """Return an id that stands in the address."""
        found = re.search(rf"{part}/([0-9a-f-]{{36}})", self.page.url)
        assert found, self.page.url
        return found[1]

    def asks(self, path: str) -> Any:
        """Ask the API, as the page does."""
        return self.page.request.get(self.origin + path).json()


def answered(message: Locator) -> None:
    """Wait until a message has its reply."""
    expect(message).to_have_attribute("data-status", "completed")
