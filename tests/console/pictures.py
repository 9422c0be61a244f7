"""Pictures of the console for the README: `make pictures` starts a service and talks to it."""

import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, expect, sync_playwright

from tests.console.person import Person, Room, answered
from tests.services import ROOT, EmbeddedService

PICTURES = ROOT / "docs" / "pictures"
_PROMPTS = (
    "Create a triage agent",
    "Add a billing agent and let triage hand off to it",
    "Give billing a tool named lookup_invoice",
    "Add a refund agent and let triage hand off to it",
)


def main() -> None:
    """Write the pictures."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    program = shutil.which("chromium")
    assert program, "install chromium"
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        with EmbeddedService(Path(folder)) as service:
            for dark in (False, True):
                take(browser, service.url, dark=dark)
        browser.close()


def take(browser: Browser, url: str, *, dark: bool) -> None:
    """Take all pictures in light or in dark."""
    scheme = "dark" if dark else "light"
    with Room(browser) as room:
        desk = room.enter(url, dark=dark)
        desk.begin_project("Order desk")
        for prompt in _PROMPTS:
            desk.hear(prompt)
        shoot(desk, f"talk-{scheme}")
        phone = room.enter(desk.page.url, phone=True, dark=dark)
        answered(phone.last)
        shoot(phone, f"phone-talk-{scheme}")
        phone.page.get_by_role("button", name="Workflow", exact=True).click()
        shoot(phone, f"phone-workflow-{scheme}")
        desk.last.get_by_role("button", name="Details").click()
        expect(desk.page.get_by_role("tabpanel", name="Message")).to_contain_text("Attempt 1")
        shoot(desk, f"message-{scheme}")


def shoot(person: Person, name: str) -> None:
    """Take one picture, once everything has come to rest."""
    person.page.wait_for_load_state("networkidle")
    person.page.mouse.move(0, 0)
    person.page.wait_for_timeout(300)
    person.page.screenshot(path=PICTURES / f"{name}.png", animations="disabled", caret="hide")


if __name__ == "__main__":
    main()
