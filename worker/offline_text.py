"""Texts that the offline model writes: literals, variables, patches."""

import builtins
import difflib
import json
import keyword
import re
import unicodedata

from worker.agent.patch import apply_patch
from worker.agent.patch_text import PatchRejected
from worker.agent.source import Source

_LONGEST_ID = 48
_CONTEXTS = (3, 12, 1_000_000)


def string(text: str) -> str:
    """Write a text as a Python literal in double quotes."""
    text = _clean(text)
    plain = "\\" not in text and text.replace("\n", "").isprintable()
    if "\n" in text and plain and '"""' not in text and not text.endswith('"'):
        return f'"""{text}"""'
    # JSON's escapes are Python's too; what JSON leaves and nobody can see is escaped besides
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in quoted)


def docstring(text: str) -> str:
    """Write a text as a docstring of one line."""
    return f'""{string(" ".join(text.split()))}""'


def variable(name: str) -> str:
    """Turn any name into a variable: ASCII, no keyword, no builtin, never empty."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")[:_LONGEST_ID].strip("_")
    if not words:
        return "assistant"
    if words[0].isdigit():
        return f"agent_{words}"
    taken = keyword.iskeyword(words) or keyword.issoftkeyword(words) or hasattr(builtins, words)
    return f"{words}_agent" if taken else words


def patch_between(before: str, after: str) -> str | None:
    """Return a V4A diff from one module to the other, or None if the format cannot say it."""
    old, new = (text.replace("\r\n", "\n").split("\n") for text in (before, after))
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for context in _CONTEXTS:
        lines: list[str] = []
        for group in matcher.get_grouped_opcodes(context):
            lines.append("@@")
            for tag, i, j, k, m in group:
                lines += [f" {line}" for line in old[i:j] if tag == "equal"]
                lines += [f"-{line}" for line in old[i:j] if tag != "equal"]
                lines += [f"+{line}" for line in new[k:m] if tag != "equal"]
        patch = "\n".join(lines) + "\n"
        if _makes(before, patch, after):
            return patch
    return None


def _makes(before: str, patch: str, after: str) -> bool:
    # a hunk whose context stands twice is refused: try more context
    try:
        made = apply_patch(Source.read(before), patch).text
    except PatchRejected:
        return False
    return made.replace("\r\n", "\n") == after.replace("\r\n", "\n")


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
