"""Answers that hold what a model wrote, letter by letter."""

import json
from typing import Any

from fastapi.responses import JSONResponse
from typing_extensions import override


class VerbatimJSON(JSONResponse):
    """JSON in escaped ASCII, which can say what UTF-8 cannot: half of a surrogate pair."""

    @override
    def render(self, content: Any) -> bytes:
        return json.dumps(content, separators=(",", ":")).encode()
