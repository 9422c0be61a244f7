"""An edit in any style lands exactly where it was meant, or nowhere: over generated modules."""

from collections.abc import Callable
from dataclasses import dataclass
from textwrap import indent

from hypothesis import assume, event, given
from hypothesis import strategies as st

from worker.agent.patch import apply_patch, replace_text
from worker.agent.patch_text import PatchRejected
from worker.agent.rebase import RebaseConflict, rebase
from worker.agent.source import Change, Source

# --- modules: few names and many repetitions, so that contexts recur ---

NAMES = ("triage", "billing", "sales", "triage_2")
MODELS = ("gpt-4.1", "gpt-5")
TEXTS = ("Help.", "Répondez « vite ».", "Don\u2019t guess.", "日本語", "cafe\u0301")


@st.composite
def agents(draw: st.DrawFn) -> str:
    name = draw(st.sampled_from(NAMES))
    lines = [f'    name="{name}",', f'    instructions="{draw(st.sampled_from(TEXTS))}",']
    if draw(st.booleans()):
        lines.append(f'    model="{draw(st.sampled_from(MODELS))}",')
    if draw(st.booleans()):
        lines.insert(draw(st.integers(0, len(lines))), "")
    if draw(st.integers(0, 4)) == 0:
        text = '"""\n- one\n# two\ntriage = Agent(\n"""'
        lines[1] = f"    instructions={text},"
    if draw(st.integers(0, 4)) == 0:
        return f'{name} = Agent(name="{name}", model="{draw(st.sampled_from(MODELS))}")\n'
    return "\n".join([f"{name} = Agent(", *lines, ")", ""])


def _indented_but_texts(body: str) -> str:
    """Indent code as people do: the lines of a text stay where they are."""
    lines = Source.read(body).layout
    pairs = zip(lines.lines, lines.in_text, strict=True)
    return "\n".join(line if is_text else f"    {line}" for line, is_text in pairs)


@st.composite
def blocks(draw: st.DrawFn) -> str:
    kind = draw(st.integers(0, 6))
    if kind < 4:
        return draw(agents())
    name = draw(st.sampled_from(NAMES))
    body = "".join(draw(st.lists(agents() | st.just("x = 1\n"), min_size=1, max_size=3)))
    headers = {
        4: f"async def make_{name}():\n",
        5: f"class Made_{name}:\n",
        6: f"@function_tool\ndef look_up_{name}(query):\n",
    }
    inside = indent(body, "    ") if draw(st.booleans()) else _indented_but_texts(body)
    return headers[kind] + inside.rstrip() + "\n    return 1\n"


@st.composite
def modules(draw: st.DrawFn) -> str:
    parts = draw(st.lists(blocks(), min_size=1, max_size=5))
    gaps = ["\n" * draw(st.integers(0, 2)) for _ in parts]
    code = "from agents import Agent\n" + "".join(
        gap + part for gap, part in zip(gaps, parts, strict=True)
    )
    if draw(st.booleans()):
        code += "triage.handoffs.append(billing)\n" * draw(st.integers(1, 2))
    if draw(st.integers(0, 3)) == 0:
        code = code.replace("    ", "\t")
    if draw(st.integers(0, 3)) == 0:
        code = code.replace(",\n", ",  \n")
    if draw(st.integers(0, 3)) == 0:
        code = code.removesuffix("\n")
    return code


# --- edits: some neighbouring lines become others ---

NEW_LINES = ('    model="o3",', "x = 2", "", "# changed", "        tools=[],", 'name="neu",')


@dataclass(frozen=True)
class Edit:
    """Replace the lines from `start` up to `end` of a module with LF endings."""

    code: str
    start: int
    end: int
    new: tuple[str, ...]

    @property
    def lines(self) -> list[str]:
        return list(Source.read(self.code).lines)

    @property
    def after(self) -> list[str]:
        return [*self.lines[: self.start], *self.new, *self.lines[self.end :]]


@st.composite
def edits(draw: st.DrawFn) -> Edit:
    code = draw(modules())
    count = len(Source.read(code).lines)
    start = draw(st.integers(0, count))
    end = draw(st.integers(start, min(start + 2, count)))
    new = draw(st.lists(st.sampled_from(NEW_LINES), min_size=start == end, max_size=3))
    edit = Edit(code, start, end, tuple(new))
    assume(edit.after != edit.lines)
    return edit


# --- styles: how models write an edit ---


def _hunk(edit: Edit, before: int, behind: int) -> tuple[int, list[str]]:
    lines = edit.lines
    first, last = max(edit.start - before, 0), min(edit.end + behind, len(lines))
    assume(first < last)  # additions without context go to the end
    body = [f" {line}" for line in lines[first : edit.start]]
    body += [f"-{line}" for line in lines[edit.start : edit.end]]
    body += [f"+{line}" for line in edit.new]
    return first, [*body, *(f" {line}" for line in lines[edit.end : last])]


def _anchors(edit: Edit, first: int) -> list[str]:
    """Return the headers above a line: the anchors that a model may choose."""
    lines = edit.lines
    statements = Source.read(edit.code).layout.statements
    around = [s for s in statements if s.start <= first < s.end]
    return [lines[s.body - 1 if lines[s.start].startswith("@") else s.start] for s in around]


@st.composite
def v4a(draw: st.DrawFn, edit: Edit) -> str:
    first, body = _hunk(edit, draw(st.integers(0, 3)), draw(st.integers(0, 3)))
    anchors = _anchors(edit, first)
    chosen = draw(st.sampled_from(["none", "last", "all", "wrong", "name"]))
    headers = ["@@"]
    if chosen == "last" and anchors:
        headers = [f"@@ {anchors[-1].strip()}"]
    elif chosen == "all" and anchors:
        headers = [f"@@ {anchor}" for anchor in anchors]
    elif chosen == "name" and anchors:
        headers = [f"@@ {anchors[-1].split('=')[0].strip()}"]
    elif chosen == "wrong":
        headers = ["@@ class Nowhere"]
    return "\n".join([*headers, *body])


@st.composite
def shifted(draw: st.DrawFn, edit: Edit) -> str:
    _, body = _hunk(edit, draw(st.integers(1, 3)), draw(st.integers(0, 3)))
    texts = [line[1:] for line in body if line[1:].strip()]
    common = min((len(text) - len(text.lstrip()) for text in texts), default=0)
    less = draw(st.integers(0, common))
    return "@@\n" + "\n".join(
        line[0] + line[1 + less :] if line[1:].strip() else line for line in body
    )


@st.composite
def unified(draw: st.DrawFn, edit: Edit) -> str:
    context = draw(st.integers(0, 3))
    first, body = _hunk(edit, context, context)
    old = sum(line[0] != "+" for line in body)
    new = sum(line[0] != "-" for line in body)
    number = draw(st.just(first + 1) | st.just(len(edit.lines) + 50))
    head = f"--- a/workflow.py\n+++ b/workflow.py\n@@ -{number},{old} +{number},{new} @@\n"
    return head + "\n".join(body)


@st.composite
def search_replace(draw: st.DrawFn, edit: Edit) -> str:
    _, body = _hunk(edit, draw(st.integers(0, 3)), draw(st.integers(0, 3)))
    old = [line[1:] for line in body if line[0] != "+"]
    new = [line[1:] for line in body if line[0] != "-"]
    assume(any(line.strip() for line in old))
    return "\n".join(["<<<<<<< SEARCH", *old, "=======", *new, ">>>>>>> REPLACE"])


@st.composite
def numbered(draw: st.DrawFn, edit: Edit) -> str:
    first, body = _hunk(edit, draw(st.integers(0, 3)), draw(st.integers(0, 3)))
    number = first
    lines: list[str] = []
    for line in body:
        number += line[0] != "+"
        lines.append(line if line[0] == "+" else f"{line[0]}{number:>4} | {line[1:]}")
    return "@@\n" + "\n".join(lines)


@st.composite
def whole(draw: st.DrawFn, edit: Edit) -> str:
    if draw(st.booleans()):
        return "\n".join(edit.after)
    return "*** Add File: workflow.py\n" + "\n".join(f"+{line}" for line in edit.after)


STYLES: dict[str, Callable[[Edit], st.SearchStrategy[str]]] = {
    "v4a": v4a,
    "shifted": shifted,
    "unified": unified,
    "search": search_replace,
    "numbered": numbered,
    "whole": whole,
}
WRAPPERS: tuple[Callable[[str], str], ...] = (
    str,
    lambda patch: f"```diff\n{patch}\n```",
    lambda patch: f"apply_patch <<'EOF'\n{patch}\nEOF",
    lambda patch: f"Here it is:\n\n```\n{patch}\n```\n" if "\n@@" in patch else patch,
    lambda patch: (
        f"*** Begin Patch\n*** Update File: workflow.py\n{patch}\n*** End Patch"
        if patch.startswith("@@")
        else patch
    ),
    lambda patch: patch.replace("\n", "\r\n"),
    lambda patch: f"\ufeff{patch}\n\n",
    lambda patch: patch.replace("\u2019", "'").replace("«", "«"),
    lambda patch: "\n".join(line.rstrip() for line in patch.split("\n")),
)


@st.composite
def rendered(draw: st.DrawFn) -> tuple[Edit, str, str]:
    edit = draw(edits())
    style = draw(st.sampled_from(sorted(STYLES)))
    patch = draw(STYLES[style](edit))
    for wrap in draw(st.lists(st.sampled_from(WRAPPERS), max_size=2)):
        patch = wrap(patch)
    return edit, style, patch


def _plain(lines: list[str]) -> list[str]:
    """Forget what a wrapper may have changed: blanks at the end, typographic apostrophes."""
    return [line.rstrip().replace("\u2019", "'") for line in lines]


def _normal(lines: list[str]) -> list[str]:
    plain = _plain(lines)
    while plain and not plain[-1]:
        plain.pop()
    return plain


@given(rendered(), st.sampled_from(["\n", "\r\n"]))
def test_an_edit_in_any_style_lands_exactly_there_or_nowhere(
    case: tuple[Edit, str, str], ending: str
) -> None:
    edit, style, patch = case
    code = edit.code.replace("\n", ending)
    source = Source.read(code)
    try:
        after = apply_patch(source, patch)
    except PatchRejected:
        event(f"{style}: refused")
        assert source.text == code
        return
    event(f"{style}: applied")
    if edit.start == edit.end == len(edit.lines) or "@@" not in patch or style == "whole":
        assert _normal(list(after.lines)) == _normal(edit.after)
    else:
        assert _plain(list(after.lines)) == _plain(edit.after)
    # all that was not touched keeps its bytes
    kept = [
        line for line, origin in zip(after.lines, after.origins, strict=True) if origin is not None
    ]
    origins = [origin for origin in after.origins if origin is not None]
    assert kept == [source.lines[origin] for origin in origins]
    assert origins == sorted(origins)
    assert set(after.endings) <= {ending, ""}


@given(edits(), st.integers(0, 40), st.integers(0, 40))
def test_a_replaced_text_lands_exactly_there_or_nowhere(edit: Edit, left: int, right: int) -> None:
    code = f"{edit.code}\n"
    lines = code.splitlines(keepends=True)
    first, last = (len("".join(lines[:place])) for place in (edit.start, edit.end))
    new = "".join(f"{line}\n" for line in edit.new)
    before, behind = code[max(first - left, 0) : first], code[last : last + right]
    try:
        after = replace_text(
            Source.read(code), before + code[first:last] + behind, before + new + behind
        ).text
    except PatchRejected:
        return
    assert after == code[:first] + new + code[last:]


@given(edits(), st.data())
def test_on_newer_code_an_edit_lands_in_the_same_place_or_nowhere(
    mine: Edit, data: st.DataObject
) -> None:
    base = Source.read(mine.code)
    start = data.draw(st.integers(0, len(base.lines)))
    end = data.draw(st.integers(start, min(start + 2, len(base.lines))))
    new = tuple(data.draw(st.lists(st.sampled_from(NEW_LINES), max_size=3)))
    my_change, other = Change(mine.start, mine.end, mine.new), Change(start, end, new)
    newer = base.changed([other]).text
    assume(newer != mine.code)
    try:
        merged = rebase(mine.code, base.changed([my_change]), newer)
    except RebaseConflict:
        event("conflict")
        return
    event("merged")
    if both := range(max(mine.start, start), min(mine.end, end)):
        assert not any(base.lines[place].strip() for place in both), "both changed the same lines"
        return
    first, second = sorted([my_change, other], key=lambda change: (change.start, change.end))
    expected = [base.changed([first, second]).text]
    if mine.start == mine.end == start:  # one added where the other changed: above or below
        expected.append(base.changed([second, first]).text)
    assert merged in expected
