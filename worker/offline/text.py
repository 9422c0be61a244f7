"""Texts that the offline model writes: literals and variables."""

import builtins
import json
import keyword
import re
import unicodedata

_LONGEST_ID = 48


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


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
