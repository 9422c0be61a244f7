"""Prompts of every kind that Unicode has, and what is no text at all."""

import sys
import unicodedata

from hypothesis import strategies as st

_PLANES = range(0, sys.maxunicode, 0x10000)


def _sample_of_a_plane(start: int) -> str:
    """Take characters from all over a plane, assigned or not, and its last two non-characters."""
    points = [*range(start, start + 0x10000, 0x101), start + 0xFFFE, start + 0xFFFF]
    return "".join(chr(point) for point in points if point and not 0xD800 <= point < 0xE000)


def _one_of_each_category() -> str:
    first = {unicodedata.category(chr(point)): chr(point) for point in range(1, sys.maxunicode)}
    return "".join(char for category, char in sorted(first.items()) if category != "Cs")


PROMPTS = {
    **{f"plane {start >> 16}": _sample_of_a_plane(start) for start in _PLANES},
    "every category": _one_of_each_category(),
    "every control but NUL": "".join(map(chr, (*range(1, 32), *range(127, 160)))),
    "blanks": " \t\r\n\u00a0\u2003\u3000\ufeff ",
    "line ends": "a\nb\rc\r\nd\u2028e\u2029f\x85g\x0bh\x0ci",
    "byte order marks": "\ufeffa\ufeff\ufffe",
    "combining": "e" + "\u0301" * 2000 + "\u0337\u0489",
    "not normalized": "\u0041\u030a \u00c5 \u212b \ufb01 \uac00 \u1100\u1161",
    "right to left": "\u202eabc\u202c \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "emoji joined": "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466\U0001f3f3\ufe0f",
    "like code": "'\"; DROP TABLE messages; -- {{x}} ${x} %s %(x)s \\u0000 \\x00 {} [0] </script>",
    "like JSON": '{"prompt": "\\ud800", "role": "system"}',
    "long": "prompt \U0001f600" * 124_000,
}
"""What must come back as it went in."""

NO_TEXT = {
    "NUL": "a\x00b",
    "high surrogate": "a\ud83db",
    "low surrogate": "a\ude00b",
    "wrong order": "\ude00\ud83d",
    "empty": "",
}
"""What is refused: it cannot be stored, or says nothing."""

ANY_PROMPT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=200
)
