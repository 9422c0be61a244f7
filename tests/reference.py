"""Write docs/settings.md and docs/problems.md from the code: `make reference`."""

from pathlib import Path

from api.problems import PROBLEM_TYPES
from shared.settings import Settings
from tests.services import ROOT

SETTINGS_PAGE = ROOT / "docs" / "settings.md"
PROBLEMS_PAGE = ROOT / "docs" / "problems.md"
_FOR_TESTS = {"fault_point"}

_SETTINGS_HEAD = """# Settings

The service reads its settings from the environment. A wrong value ends the start with one sentence
that says what to change. Times are in seconds, sizes in bytes unless a line says otherwise. A file
in `VIBECODER_SECRETS_DIR` with the name of a variable, in lower case, gives its value as well; the
environment comes first. `make reference` writes this page from `shared/settings.py`.

| variable | default | meaning |
|---|---|---|
"""

_PROBLEMS_HEAD = """# Problems

Every error is an RFC 9457 problem (`application/problem+json`) with `type`, `title`, `status`,
`detail`, `code` and `trace_id`. `detail` says what to do, `code` is for programs, and `type` is the
address of an explanation, `/problems/{code}`. A problem that waiting solves has `Retry-After`.
`make reference` writes this page from `api/problems.py`.

| status | `code` | meaning |
|---|---|---|
"""


def settings_page() -> str:
    """Return the page of all settings with their defaults."""
    rows = []
    for name, field in Settings.model_fields.items():
        if name in _FOR_TESTS:
            continue
        variable = str(field.validation_alias or f"VIBECODER_{name.upper()}")
        default = "" if field.default in (None, "", ()) else f"`{field.default}`"
        rows.append(f"| `{variable}` | {default} | {field.description} |\n")
    return _SETTINGS_HEAD + "".join(rows)


def problems_page() -> str:
    """Return the page of all problems, in the order of their status."""
    types = sorted(PROBLEM_TYPES.values(), key=lambda found: (found.status, found.code))
    rows = (
        f"| {int(found.status)} | `{found.code}` | {' '.join(found.meaning.split())} |\n"
        for found in types
    )
    return _PROBLEMS_HEAD + "".join(rows)


def pages() -> dict[Path, str]:
    """Return every generated page by its path."""
    return {SETTINGS_PAGE: settings_page(), PROBLEMS_PAGE: problems_page()}


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
