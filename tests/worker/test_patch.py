"""An edit lands at the one place that it identifies, or it is refused and says why."""

import json
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from shared.workflow.text import EMPTY_WORKFLOW
from tests.benchmarks.modules import module as module_of
from worker.agent.patch import apply_patch, replace_text
from worker.agent.patch_text import PatchRejected
from worker.agent.rebase import rebase
from worker.agent.source import Source

MODULE = '''"""A workflow."""

from agents import Agent, function_tool


@function_tool
def look_up(order: str) -> str:
    """Look up."""
    for part in order:
        print(part)
    return order


triage = Agent(
    name="triage",
    instructions="Find out what they want.",
    model="gpt-4.1",
)

billing = Agent(
    name="billing",
    instructions="Help with invoices.",
    model="gpt-4.1",
)
'''
MODEL = '-    model="gpt-4.1",\n+    model="gpt-5",\n'
IN_TRIAGE = MODULE.replace('"gpt-4.1"', '"gpt-5"', 1)
IN_BILLING = "gpt-5".join(MODULE.rsplit("gpt-4.1", 1))
RENAMED = MODULE.replace('name="triage"', 'name="front"')


def patched(patch: str, code: str = MODULE) -> str:
    return apply_patch(Source.read(code), patch).text


def replaced(old: str, new: str, code: str = MODULE) -> str:
    return replace_text(Source.read(code), old, new).text


def refused(patch: str, code: str = MODULE) -> str:
    with pytest.raises(PatchRejected) as caught:
        patched(patch, code)
    return str(caught.value)


# --- which file ---


@pytest.mark.parametrize(
    "patch",
    [
        "*** Begin Patch\n*** Add File: tools.py\n+X = 1\n*** End Patch",
        f"*** Update File: tools.py\n@@ triage\n{MODEL}",
        f"*** Update File: workflow.py\n@@ triage\n{MODEL}*** Add File: tools.py\n+X = 1\n",
        "*** Delete File: tools.py\n",
        f"*** Update File: workflow.py\n*** Move to: tools.py\n@@ triage\n{MODEL}",
        f"--- a/tools.py\n+++ b/tools.py\n@@ triage\n{MODEL}",
        f"--- a/workflow.py\n+++ b/tools.py\n@@ triage\n{MODEL}",
        f"diff --git a/tools.py b/tools.py\n@@ triage\n{MODEL}",
        f"--- a/src/workflow/tools.py\n+++ b/src/workflow/tools.py\n@@ triage\n{MODEL}",
        'tools.py\n<<<<<<< SEARCH\nname="triage"\n=======\nname="x"\n>>>>>>> REPLACE\n',
        "--- /dev/null\n+++ b/tools.py\n@@ -0,0 +1 @@\n+X = 1\n",
        "cat > tools.py <<'EOF'\nfrom agents import Agent\nEOF",
    ],
)
def test_only_the_module_may_be_named(patch: str) -> None:
    reason = refused(patch)
    assert reason.startswith("The patch names the file `")
    assert "tools.py`. The project has one file, workflow.py: put the code into it" in reason


@pytest.mark.parametrize(
    "name",
    ["workflow.py", "./workflow.py", "/workspace/workflow.py", "`workflow.py`", "/workflow.py"],
)
def test_the_module_may_be_named_with_a_folder_that_means_nothing(name: str) -> None:
    patch = f"*** Begin Patch\n*** Update File: {name}\n@@ triage\n{MODEL}*** End Patch"
    assert patched(patch) == IN_TRIAGE


@pytest.mark.parametrize(
    "patch",
    [
        "*** Delete File: workflow.py\n",
        "--- a/workflow.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n",
        "diff --git a/workflow.py b/workflow.py\ndeleted file mode 100644\n",
    ],
)
def test_the_module_cannot_be_deleted(patch: str) -> None:
    assert refused(patch).startswith("workflow.py cannot be deleted.")


# --- which place ---


@pytest.mark.parametrize("anchor", ["", " trige", " class Triage", " -30,3 +30,3 @@", " import os"])
def test_an_ambiguous_context_is_refused_with_the_lines_of_the_candidates(anchor: str) -> None:
    reason = refused(f"@@{anchor}\n{MODEL}")
    assert reason.startswith("The hunk fits 2 times: on lines 17 and 23.")
    assert ("names no line of the module" in reason) == (anchor[:3] in (" tr", " cl", " im"))


@pytest.mark.parametrize(
    ("anchor", "expected"),
    [
        ("triage", IN_TRIAGE),
        ("billing", IN_BILLING),
        ("triage = Agent(", IN_TRIAGE),
        ("billing = Agent(", IN_BILLING),
        ("triage = Agent(...)", IN_TRIAGE),
        ("billing = Agent(...)", IN_BILLING),
        ('name="triage"', IN_TRIAGE),
        ('name="billing"', IN_BILLING),
        ('    name="billing",', IN_BILLING),
        ("-17 +17 @@", IN_TRIAGE),
        ("-23,1 +23,1 @@", IN_BILLING),
        ("-23,3 +23,3 @@ billing = Agent(", IN_BILLING),
        ("-99,3 +99,3 @@ billing = Agent(", IN_BILLING),
        ("  20 | billing = Agent(", IN_BILLING),
    ],
)
def test_an_anchor_or_right_line_numbers_decide_between_candidates(
    anchor: str, expected: str
) -> None:
    assert patched(f"@@ {anchor}\n{MODEL}") == expected


@pytest.mark.parametrize("anchor", ["def look_up", "from agents import Agent, function_tool"])
def test_what_an_anchor_names_must_hold_the_hunk(anchor: str) -> None:
    once = MODULE.replace('    model="gpt-4.1",\n', "", 1)
    assert "def" not in anchor or "is not in what" in refused(f"@@ {anchor}\n{MODEL}", once)
    assert refused(f"@@ {anchor}\n{MODEL}").startswith("The hunk ")


def test_an_anchor_does_not_reach_into_the_next_definition() -> None:
    without = MODULE.replace('    model="gpt-4.1",\n', "", 1)
    reason = refused(f"@@ triage\n{MODEL}", without)
    assert reason.startswith("The hunk is not in what `@@ triage` names, on line 14;")
    assert "its lines stand on line 22." in reason


def test_an_anchor_in_a_text_names_no_definition() -> None:
    code = MODULE.replace("Find out what they want.", "Send them to the billing agent.")
    assert refused(f"@@ billing agent\n{MODEL}", code).startswith("The hunk fits 2 times")


def test_an_anchor_that_is_repeated_as_context_is_understood() -> None:
    patch = '@@ triage = Agent(\n triage = Agent(\n-    name="triage",\n+    name="front",\n'
    assert patched(patch) == RENAMED


def test_nested_anchors_narrow_the_search_one_after_the_other() -> None:
    method = "    def run(self):\n        return 1\n"
    code = f"class A:\n{method}\n\nclass B:\n{method}"
    change = "-        return 1\n+        return 2\n"
    assert (
        patched(f"@@ class B\n@@     def run(self):\n{change}", code)
        == code[::-1].replace("1", "2", 1)[::-1]
    )
    assert refused(f"@@     def run(self):\n{change}", code).startswith("The hunk fits 2 times")
    assert refused(f"@@ class C\n@@ def run\n{change}", code).startswith("The hunk fits 2 times")


def test_a_misspelt_anchor_does_no_harm_where_the_context_is_unique() -> None:
    assert patched('@@ trige\n-    name="triage",\n+    name="front",\n') == RENAMED


def test_wrong_line_numbers_do_no_harm_where_the_context_is_unique() -> None:
    assert patched('@@ -99,1 +99,1 @@\n-    name="triage",\n+    name="front",\n') == RENAMED


def test_hunks_may_come_in_any_order() -> None:
    billing = '@@ billing\n-    instructions="Help with invoices.",\n+    instructions="Help.",\n'
    front = '@@ triage\n-    name="triage",\n+    name="front",\n'
    expected = RENAMED.replace("Help with invoices.", "Help.")
    assert patched(billing + front) == patched(front + billing) == expected


def test_sections_are_applied_one_after_the_other() -> None:
    first = '*** Update File: workflow.py\n@@ triage\n-    name="triage",\n+    name="front",\n'
    second = '*** Update File: workflow.py\n@@ triage\n-    name="front",\n+    name="desk",\n'
    assert patched(f"*** Begin Patch\n{first}{second}*** End Patch") == MODULE.replace(
        'name="triage"', 'name="desk"'
    )


@pytest.mark.parametrize(
    ("hunks", "line"),
    [
        ('@@\n-    name="triage",\n+    name="a",\n@@\n-    name="triage",\n+    name="b",\n', 15),
        ('@@\n     name="triage",\n+    x=1,\n@@\n-    name="triage",\n+    name="b",\n', 15),
        ('@@\n     name="triage",\n+    x=1,\n@@\n     name="triage",\n+    y=1,\n', 16),
    ],
)
def test_hunks_that_overlap_are_refused(hunks: str, line: int) -> None:
    assert f"overlaps another one on line {line}." in refused(hunks)


def test_a_hunk_that_is_indented_less_is_indented_like_the_code() -> None:
    expected = MODULE.replace("print(part)\n", "print(part)\n        count(part)\n")
    for patch in (
        "@@\n         print(part)\n+        count(part)\n",
        "@@\n print(part)\n+count(part)\n",
        "@@\n for part in order:\n     print(part)\n+    count(part)\n",
        "@@\n             print(part)\n+            count(part)\n",
    ):
        assert patched(patch) == expected


def test_an_added_line_that_cannot_be_indented_like_the_code_is_refused() -> None:
    patch = "@@\n             print(part)\n+count(part)\n"
    assert "is indented less than the hunk's other lines" in refused(patch)


def test_lines_that_are_indented_in_different_ways_do_not_fit() -> None:
    assert refused("@@\n for part in order:\n print(part)\n+x = 1\n").startswith(
        "The hunk does not apply. The first line that differs, in the edit:\n"
        "for part in order:\nand line 9 of the module:\n    for part in order:\n"
    )


# --- additions ---


@pytest.mark.parametrize(
    "patch", ["+x = 1\n", "@@\n+x = 1\n", "@@\n+x = 1\n\n", "@@ -0,0 +1 @@\n+x = 1\n"]
)
def test_additions_without_context_go_to_the_end(patch: str) -> None:
    assert patched(patch) == f"{MODULE}x = 1\n"
    assert patched(patch, '"""Only a docstring."""') == '"""Only a docstring."""\nx = 1\n'


@pytest.mark.parametrize(
    "patch", ["@@\n+    x=1,\n", "@@ def look_up\n+    x = 1\n", "@@ -4,0 +5 @@\n+x\n"]
)
def test_additions_that_do_not_say_where_they_belong_are_refused(patch: str) -> None:
    assert "has only `+` lines, and nothing says where they go" in refused(patch)


def test_additions_below_a_whole_line_as_anchor_go_there() -> None:
    expected = MODULE.replace('name="billing",\n', 'name="billing",\n    tools=[look_up],\n')
    assert patched('@@     name="billing",\n+    tools=[look_up],\n') == expected


@pytest.mark.parametrize("code", ["", "\n", EMPTY_WORKFLOW])
@pytest.mark.parametrize("begin", ["", "@@\n", "*** Begin Patch\n*** Update File: workflow.py\n"])
def test_the_first_module_may_be_sent_as_additions(code: str, begin: str) -> None:
    module = 'from agents import Agent, Runner\n\ntriage = Agent(name="triage")\n'
    lines = "".join(f"+{line}\n" for line in module.splitlines())
    assert patched(begin + lines, code) == module


def test_additions_without_imports_are_added_to_the_first_module() -> None:
    assert patched('+triage = Agent(name="triage")\n', EMPTY_WORKFLOW) == (
        f'{EMPTY_WORKFLOW}triage = Agent(name="triage")\n'
    )


@pytest.mark.parametrize("patch", ["@@\n \n+x = 1\n", "@@\n\n+x = 1\n", "@@\n \n \n+x = 1\n"])
def test_blank_context_identifies_nothing(patch: str) -> None:
    assert refused(patch).startswith("The hunk fits ")
    assert "blank lines as its only context" in refused("@@\n \n+x = 1\n", "a = 1\n\nb = 2")


# --- rewrites ---

NEW = 'from agents import Agent\n\nfront = Agent(\n    name="front",\n)\n'
ADDED = "".join(f"+{line}\n" for line in NEW.splitlines())
NUMBERED = "".join(f"{n:>4} | {line}\n" for n, line in enumerate(NEW.splitlines(), start=1))


@pytest.mark.parametrize(
    "patch",
    [
        NEW,
        f"```python\n{NEW}```",
        f"```\n{NEW}```\n",
        f"*** Begin Patch\n*** Add File: workflow.py\n{ADDED}*** End Patch",
        f"*** Begin Patch\n*** Add File: workflow.py\n{NEW}*** End Patch",
        f"--- /dev/null\n+++ b/workflow.py\n@@ -0,0 +1,5 @@\n{ADDED}",
        f"*** Begin Patch\n*** Update File: workflow.py\n{NEW}*** End Patch",
        f"cat > workflow.py <<'EOF'\n{NEW}EOF",
        NUMBERED,
        NEW.replace("\n", "\r\n"),
        f"\ufeff{NEW}",
    ],
    ids=range(11),
)
def test_a_whole_module_takes_the_place_of_the_old_one(patch: str) -> None:
    assert patched(patch) == NEW


def test_a_module_with_bullets_and_fences_in_a_text_is_a_module() -> None:
    text = '"""\n- one\n+ two\n@@ x\n```\n"""'
    module = f"from agents import Agent\n\na = Agent(\n    instructions={text},\n)\n"
    assert patched(module) == module


@pytest.mark.parametrize(
    "elision",
    [
        "# ... rest of the code remains the same ...",
        "# rest unchanged",
        "...existing code...",
        "# ... existing code ...",
        "# existing code",
        "# … other agents …",
        "# ...",
        "...",
        "# (rest of the file unchanged)",
        "# Rest of the code stays the same",
        "# The remaining agents remain unchanged",
        "# unchanged",
        "# [previous agents here ...]",
        "# [...]",
        "# ... (no changes) ...",
        "# No changes below",
        "# Same as before",
        "# Keep the rest",
        "# (keep existing agents)",
        "# ... keep existing ...",
        "# code omitted for brevity",
        "# Your existing code here",
        "# All other agents remain",
        "# ...rest...",
    ],
)
def test_elisions_are_refused(elision: str) -> None:
    assert "stands for code that the edit leaves out" in refused(f"{NEW}{elision}\n")
    for patch in (
        f"*** Add File: workflow.py\n{ADDED}+{elision}\n",
        f'@@\n     name="triage",\n+    tools=[],\n+{elision}\n',
        f"<<<<<<< SEARCH\ntriage = Agent(\n=======\ntriage = Agent(\n{elision}\n>>>>>>> REPLACE\n",
    ):
        assert "stands for code that the edit leaves out" in refused(patch)
    with pytest.raises(PatchRejected, match="stands for code that the edit leaves out"):
        replaced("triage = Agent(\n", f"{elision}\n")


@pytest.mark.parametrize(
    "lines",
    [
        "def later() -> None: ...\n",
        "class Later:\n    def run(self) -> None:\n        ...\n",
        '    """Text."""\n    ...\n',
        "# Support takes the rest of the orders.\n",
        "# The same goes for billing.\n",
        "x: tuple[int, ...] = ()\n",
        "# Other agents hand off to this one.\n",
        "# Keep answers short.\n",
        "# The tools that support has.\n",
        'x = "... and the rest"\n',
    ],
)
def test_what_is_no_elision_is_taken(lines: str) -> None:
    added = "".join(f"+{line}\n" for line in lines.splitlines())
    assert patched(
        f"@@\n return order\n{added}".replace(" return", "     return")
    ) == MODULE.replace("return order\n", f"return order\n{lines}")


def test_an_elision_that_the_module_already_has_is_taken() -> None:
    code = MODULE + "# rest unchanged\n"
    module = f"{NEW}# rest unchanged\n"
    assert patched(module, code) == module


# --- what cannot be code ---


@pytest.mark.parametrize(("text", "reason"), [("\ud83d", "half a character"), ("\0", "NUL")])
def test_what_code_cannot_contain_is_refused(text: str, reason: str) -> None:
    assert reason in refused(f'@@ triage\n-    model="gpt-4.1",\n+    model="{text}",\n')
    assert reason in refused(f"from agents import Agent\nx = '{text}'\n")
    with pytest.raises(PatchRejected, match=reason):
        replaced("Help with invoices.", text)


# --- what models wrap around a patch ---

ENVELOPE = "*** Begin Patch\n*** Update File: workflow.py\n"
SEARCH, REPLACE = "<<<<<<< SEARCH\n", ">>>>>>> REPLACE\n"
RENAME = '@@ triage = Agent(\n-    name="triage",\n+    name="front",\n'
UNIFIED = (
    "--- a/workflow.py\n+++ b/workflow.py\n@@ -14,3 +14,3 @@\n triage = Agent(\n"
    '-    name="triage",\n+    name="front",\n     instructions="Find out what they want.",\n'
)


@pytest.mark.parametrize(
    "patch",
    [
        RENAME,
        f"*** Begin Patch\n*** Update File: workflow.py\n{RENAME}*** End Patch",
        f"*** Begin Patch\n*** Update File: workflow.py\n{RENAME}*** End of File\n*** End Patch\n",
        f"*** Update File: workflow.py\n{RENAME}",
        f"*** Begin Patch\n{RENAME}",
        f"```diff\n{RENAME}```",
        f"```\n*** Begin Patch\n*** Update File: workflow.py\n{RENAME}*** End Patch\n```",
        f"Here is the patch:\n```diff\n{RENAME}```\nIt renames the agent.",
        f"Here it is:\n{ENVELOPE}{RENAME}*** End Patch\nDone.",
        f"apply_patch <<'EOF'\n{ENVELOPE}{RENAME}*** End Patch\nEOF",
        f'$ apply_patch <<"PATCH"\n{RENAME}PATCH\n',
        f"bash -lc \"apply_patch <<'EOF'\n{RENAME}EOF\"",
        UNIFIED,
        f"diff --git a/workflow.py b/workflow.py\nindex 1234567..89abcde 100644\n{UNIFIED}",
        f"{UNIFIED}\\ No newline at end of file\n",
        UNIFIED.replace("workflow.py\n", "workflow.py\t2026-01-01 00:00:00\n"),
        RENAME.replace("\n", "\r\n"),
        f"\ufeff{RENAME}",
        RENAME.replace('"triage",\n', '"triage",   \n'),
        ' 14 | triage = Agent(\n-  15 |     name="triage",\n+    name="front",\n',
        '  14 | triage = Agent(\n-  15 |     name="triage",\n+  15 |     name="front",\n',
        'triage = Agent(\n-    name="triage",\n+    name="front",\n',
        f'{RENAME}@@ triage\n     model="gpt-4.1",\n',
        f'{SEARCH}    name="triage",\n=======\n    name="front",\n{REPLACE}',
        f'workflow.py\n```python\n{SEARCH}name="triage",\n=======\nname="front",\n{REPLACE}```',
        f'{SEARCH}  15 |     name="triage",\n=======\n  15 |     name="front",\n{REPLACE}',
    ],
    ids=range(26),
)
def test_what_models_wrap_around_a_patch_is_understood(patch: str) -> None:
    assert patched(patch) == RENAMED


@pytest.mark.parametrize(
    ("module", "patch"),
    [
        ('a = "Don\u2019t"\nb = 1\n', '@@\n a = "Don\'t"\n-b = 1\n+b = 2\n'),
        ('a = "Don\'t"\nb = 1\n', "@@\n a = \u201cDon\u2019t\u201d\n-b = 1\n+b = 2\n"),
        ("a = 'x\u2014y'\nb = 1\n", "@@\n a = 'x-y'\n-b = 1\n+b = 2\n"),
        (
            "if a:\n    b = 1\n",
            "@@\n if a:\n-\u00a0\u00a0\u00a0\u00a0b = 1\n+\u00a0\u00a0\u00a0\u00a0b = 2\n",
        ),
        ('a = "Caf\u00e9"\nb = 1\n', '@@\n a = "Cafe\u0301"\n-b = 1\n+b = 2\n'),
        ('a = "Cafe\u0301"\nb = 1\n', '@@\n a = "Caf\u00e9"\n-b = 1\n+b = 2\n'),
        ("a = 1   \nb = 1\n", "@@\n a = 1\n-b = 1\n+b = 2\n"),
        ("a = 1\nb = 1\n", "@@\n a = 1  \n-b = 1  \n+b = 2\n"),
    ],
)
def test_the_module_keeps_its_own_bytes_where_the_context_is_spelt_otherwise(
    module: str, patch: str
) -> None:
    assert patched(patch, module) == module.replace("b = 1", "b = 2")


def test_added_lines_are_spelt_like_the_module_where_the_patch_was_respelt() -> None:
    patch = "@@\n-a = \u201cx\u201d\n+a = \u201cy\u201d\n+b = \u201cCafe\u0301\u201d\n"
    assert patched(patch, 'a = "x"\n') == 'a = "y"\nb = "Cafe\u0301"\n'


def test_of_two_places_the_exact_one_is_meant() -> None:
    code = "a = 1  \nb = 1\na = 1\nb = 1\n"
    assert patched("@@\n a = 1\n+c = 1\n", code) == "a = 1  \nb = 1\na = 1\nc = 1\nb = 1\n"


# --- line endings ---


def test_new_lines_end_like_their_neighbours() -> None:
    crlf = MODULE.replace("\n", "\r\n")
    assert patched(RENAME, crlf) == RENAMED.replace("\n", "\r\n")
    assert patched(RENAME.replace("\n", "\r\n"), crlf) == RENAMED.replace("\n", "\r\n")
    assert patched("+x = 1\n", crlf) == f"{crlf}x = 1\r\n"


def test_one_other_line_ending_does_not_turn_the_rest() -> None:
    mixed = MODULE.replace('model="gpt-4.1",\n)\n\nb', 'model="gpt-4.1",\r\n)\n\nb')
    assert patched(RENAME, mixed) == mixed.replace('name="triage"', 'name="front"')
    assert patched(f"@@ triage\n{MODEL}", mixed) == mixed.replace("gpt-4.1", "gpt-5", 1)


def test_the_last_line_keeps_its_missing_end() -> None:
    assert patched("@@\n-b = 1\n+b = 2\n", "a = 1\nb = 1") == "a = 1\nb = 2"
    assert patched("@@\n b = 1\n+c = 1\n", "a = 1\r\nb = 1") == "a = 1\r\nb = 1\r\nc = 1\r\n"
    assert patched("@@\n-b = 1\n", "a = 1\nb = 1") == "a = 1\n"


def test_a_byte_order_mark_stays() -> None:
    assert patched(RENAME, f"\ufeff{MODULE}") == f"\ufeff{RENAMED}"
    assert patched('@@\n-"""A workflow."""\n+"""W."""\n', f"\ufeff{MODULE}").startswith(
        '\ufeff"""W.'
    )


# --- refusals ---


@pytest.mark.parametrize("patch", ["", "\n", "*** Begin Patch\n*** End Patch", "```\n```"])
def test_an_empty_patch_is_refused(patch: str) -> None:
    assert refused(patch).startswith("The patch is empty.")


@pytest.mark.parametrize(
    ("patch", "reason"),
    [
        ("no diff at all", "The patch has no line that begins with `+` or `-`."),
        ("@@\n from agents import Agent\n", "The patch has no line that begins with `+` or `-`."),
        ('@@\n-    name="triage",\n+    name="triage",\n', "The patch changes nothing."),
        ("*** Frobnicate\n+x\n", "The line `*** Frobnicate` is not part of a patch."),
        ("*** Add File: workflow.py\n+x = 1\ny = 2\n", "The line `y = 2` of a new file does not"),
        ("<<<<<<< SEARCH\nx\n=======\ny\n", "A SEARCH block is not complete"),
    ],
)
def test_what_is_no_patch_is_refused(patch: str, reason: str) -> None:
    assert refused(patch).startswith(reason)


def test_a_refusal_shows_the_first_line_that_differs_and_the_modules_line() -> None:
    patch = (
        '@@\n billing = Agent(\n     name="billing",\n-    instructions="Help with bills.",\n'
        '+    instructions="Help.",\n'
    )
    assert refused(patch) == (
        "The hunk does not apply. The first line that differs, in the edit:\n"
        '    instructions="Help with bills.",\n'
        "and line 22 of the module:\n"
        '    instructions="Help with invoices.",\n'
        "Copy context and removed lines as they stand in the module now: whole lines with their "
        "indentation, without their numbers."
    )
    assert "and line 15 of the module:\n" in refused('@@\n-    name="triague",\n+x\n')
    assert "The module has no line like it." in refused("@@\n-§§§\n+x\n")
    ends = refused("@@\n a = 1\n b = 2\n c = 3\n+d = 4\n", "a = 1\nb = 2\n")
    assert "the edit:\nc = 3\nThe module ends on line 2." in ends


def test_a_hunk_among_several_is_named() -> None:
    assert refused(f"{RENAME}@@\n-nowhere\n+x\n").startswith("Hunk 2 of 2 does not apply.")


# --- replace_text ---


def test_a_text_that_occurs_once_is_replaced() -> None:
    assert replaced('"triage"', '"front"') == RENAMED
    assert replaced("    return order\n\n\n", "    return order[:9]\n\n\n") == MODULE.replace(
        "return order", "return order[:9]"
    )
    assert replaced('billing"', 'bills"') == MODULE.replace('billing"', 'bills"')


def test_a_text_that_occurs_more_often_is_refused_with_its_lines() -> None:
    with pytest.raises(PatchRejected, match="occurs 2 times in the module, on lines 17 and 23"):
        replaced('"gpt-4.1"', '"gpt-5"')
    with pytest.raises(PatchRejected, match="occurs 2 times in the module, on lines 1 and 1"):
        replaced("aa", "b", "x = 'aaa'\n")


def test_a_text_that_does_not_occur_is_refused_with_the_first_line_that_differs() -> None:
    with pytest.raises(PatchRejected, match="The text does not apply") as caught:
        replaced('    name="triage",\n    instructions="Other.",', "x")
    assert "and line 16 of the module:" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('    name="triage",\r\n', '    name="front",\r\n'),
        ('name="triage",', 'name="front",'),
        ('  15 |     name="triage",', '  15 |     name="front",'),
        ("name=\u201ctriage\u201d,", 'name="front",'),
        ('triage = Agent(\n    name="triage",', 'triage = Agent(\n    name="front",'),
        ('triage = Agent(  \n    name="triage",', 'triage = Agent(\n    name="front",'),
        ('        name="triage",\n        instructions="Find out what they want.",',
         '        name="front",\n        instructions="Find out what they want.",'),
    ],
    ids=range(7),
)  # fmt: skip
def test_a_text_is_found_however_it_is_spelt(old: str, new: str) -> None:
    assert replaced(old, new) == RENAMED


def test_a_text_may_be_removed_and_may_grow_over_lines() -> None:
    assert replaced('    name="triage",\n', "") == MODULE.replace('    name="triage",\n', "")
    crlf = MODULE.replace("\n", "\r\n")
    assert replaced('"triage"', '(\n"x"\n)', crlf) == MODULE.replace(
        '"triage"', '(\n"x"\n)'
    ).replace("\n", "\r\n")
    assert replaced("b", "c", "a\nb") == "a\nc"
    assert replaced("b\n", "", "a\nb\n") == "a\n"


@pytest.mark.parametrize(("old", "new"), [("", "x"), (" \n", "x"), ("name", "name")])
def test_a_replacement_of_nothing_is_refused(old: str, new: str) -> None:
    with pytest.raises(PatchRejected):
        replaced(old, new)


# --- cost ---


def _seconds(work: Callable[[], object]) -> float:
    begun = time.process_time()
    with suppress(PatchRejected):
        work()
    return time.process_time() - begun


def test_a_module_of_20_kb_is_edited_in_less_than_50_ms() -> None:
    code = module_of(20_000)
    edit = '@@ agent_7 = Agent(\n-    name="Agent 7",\n+    name="The seventh",\n'
    edited, newer = apply_patch(Source.read(code), edit), f"{code}\nLATER = 1\n"
    for work in (
        lambda: patched(edit, code),
        lambda: replaced('"Agent 7"', '"The seventh"', code),
        lambda: refused("@@ agent_7\n-    name=7,\n+x\n", code),
        lambda: rebase(code, edited, newer),
    ):
        assert sorted(_seconds(work) for _ in range(5))[2] < 0.05


@pytest.mark.parametrize(
    "make",
    [
        lambda n: ("#\n" * n, " #\n" * n + "+x\n"),
        lambda n: ("x\n" * n, "@@\n-x\n+y\n" * n),
        lambda n: ("x\ny\n" * n, "@@\n x\n y\n+z\n" * (n // 4)),
        lambda n: ("x = 1\n" * n, "@@ x\n-  y\n+z\n" * (n // 4)),
        lambda n: ("    x\n  x\n" * n, "@@\n" + " x\n" * n + "+y\n"),
        lambda n: ("a" * n, "@@ " + " " * n + "x\n-" + "a" * n + "b\n+c\n"),
        lambda n: ("x\n", "+" + "# " * n + "...\n"),
        lambda n: ('"""' * n, "@@ x\n" + '-"""\n' * n + "+y\n"),
        lambda n: ("(" * n + "\n", "@@ x\n" + "-(\n" * n + "+y\n"),
        lambda n: ("def f():\n" * n, "@@ def f\n@@ def f\n-x\n+y\n" * (n // 10)),
        lambda n: ("x\n", "<<<<<<< SEARCH\nx\n=======\ny\n>>>>>>> REPLACE\n" * n),
        lambda n: ("x\n", json.dumps([[" " * n]]) + "\n+y\n"),
        lambda n: ("\n".join(" " * k + "if x:" for k in range(n // 50)), "@@ if x\n-z\n+y\n" * 20),
    ],
    ids=range(13),
)  # fmt: skip
def test_the_cost_of_an_edit_is_bounded(make: Callable[[int], tuple[str, str]]) -> None:
    code, patch = make(20_000)
    source = Source.read(code)
    assert _seconds(lambda: apply_patch(source, patch)) < 5
    assert _seconds(lambda: replace_text(source, patch[:100_000], "y")) < 5
