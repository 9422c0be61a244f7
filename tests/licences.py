"""The licences of all that is installed with the service: `make licences` writes them down."""

import re
from importlib.metadata import PackageNotFoundError, files, metadata

from tests.services import ROOT

PAGE = ROOT / "docs" / "licences.md"
_LOCKED = re.compile(r"^([A-Za-z0-9_.-]+)==", re.MULTILINE)
_REFUSED = re.compile(r"(?<!L)GPL|(?<!Lesser )General Public|unknown", re.IGNORECASE)

_HEAD = """# Licences

What the service installs, from `requirements.lock`, and what only its development does, from
`requirements-dev.lock`; each package's licence is what its own metadata says. Written by
`make licences`. None is under the GPL or the AGPL (`tests/test_licences.py`); psycopg is under the
LGPL and is imported unchanged.

The service itself is under the MIT licence.
"""


def refused(licence: str) -> bool:
    """Tell whether no choice that a licence leaves is acceptable."""
    return all(_REFUSED.search(choice) for choice in licence.split(" OR "))


def licences() -> dict[str, dict[str, str]]:
    """Return the licence of each package that is installed, by what needs it."""
    service = _installed("requirements.lock")
    development = _installed("requirements-dev.lock")
    for name in service:
        development.pop(name, None)
    return {"The service": service, "Development": development}


def page() -> str:
    """Write the page."""
    parts = [_HEAD]
    for title, found in licences().items():
        rows = "".join(f"| {name} | {licence} |\n" for name, licence in found.items())
        parts.append(f"\n## {title}\n\n| package | licence |\n|---|---|\n{rows}")
    return "".join(parts)


def _installed(lock: str) -> dict[str, str]:
    found = {}
    for name in _LOCKED.findall((ROOT / lock).read_text()):
        try:
            found[name] = _licence(name)
        except PackageNotFoundError:
            continue  # of another system, or of another Python
    return found


def _licence(name: str) -> str:
    said = metadata(name).json
    classified = [
        line.rpartition(" :: ")[2]
        for line in said.get("classifier", [])
        if line.startswith("License ::")
    ]
    # the field of old may hold a whole licence; then the classifiers are the name of it
    plain = str(said.get("license", ""))
    short = plain if len(plain) <= 40 and plain != "Dual License" else ""
    named = str(said.get("license_expression", short)) or " OR ".join(classified)
    return named or _title(name) or "unknown"


def _title(name: str) -> str:
    """Read how the licence that a package brings along is titled, if that is a name."""
    texts = [file for file in files(name) or () if file.name.startswith("LICENSE")]
    title = texts[0].read_text().splitlines()[0] if texts else ""
    return title.removesuffix(" License") if title.endswith(" License") else ""


if __name__ == "__main__":
    PAGE.write_text(page())
