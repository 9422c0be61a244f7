"""Events of a stream, as the OpenAPI document describes each."""

import json
from typing import Any

from api.schemas.common import MESSAGE_ID
from shared.tables import EventKind

SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "One server-sent event.",
    "properties": {
        "id": {
            "type": "string",
            "pattern": "^[0-9]+$",
            "description": "Its number: 1 for the first, without gaps.",
        },
        "event": {"type": "string", "enum": [str(kind) for kind in EventKind]},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {
                "type": "object",
                "properties": {
                    "message_id": {"type": "string", "format": "uuid"},
                    "at": {"type": ["string", "null"], "format": "date-time"},
                    "attempt": {"type": "integer"},
                },
                "required": ["message_id", "at"],
            },
        },
    },
    "required": ["id", "event", "data"],
    "examples": [
        {
            "id": "3",
            "event": "text",
            "data": json.dumps(
                {
                    "message_id": MESSAGE_ID,
                    "at": "2026-01-31T12:00:01+00:00",
                    "attempt": 1,
                    "call": 1,
                    "text": "It has one agent",
                }
            ),
        }
    ],
}
"""Before OpenAPI 3.2 the schema of such a media type is that of each event."""
