"""No dependency is under a licence that reaches over to the service, and all are listed."""

import pytest

from tests.licences import PAGE, licences, page, refused


def test_no_dependency_is_under_the_gpl_or_the_agpl_or_nobody_knows() -> None:
    found = [pair for part in licences().values() for pair in part.items()]
    assert len(found) > 50
    assert [pair for pair in found if refused(pair[1])] == []


@pytest.mark.parametrize(
    ("licence", "wrong"),
    [
        ("MIT", False),
        ("LGPL-3.0-only", False),
        ("GNU Lesser General Public License v3", False),
        ("GPL-3.0-or-later OR MIT", False),
        ("GPL-3.0-or-later", True),
        ("AGPL-3.0-only", True),
        ("GNU General Public License v2 (GPLv2)", True),
        ("GNU Affero General Public License v3", True),
        ("unknown", True),
    ],
)
def test_a_licence_is_judged_by_its_name(licence: str, *, wrong: bool) -> None:
    assert refused(licence) is wrong


def test_the_page_lists_them_all() -> None:
    listed = set(PAGE.read_text().splitlines())
    missing = [line for line in page().splitlines() if line not in listed]
    assert missing == [], "run `make licences`"
