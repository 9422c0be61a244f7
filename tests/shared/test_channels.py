"""The channels between processes: what is not an id is dropped, and listening goes on."""

import asyncio
from uuid import uuid4

from structlog.testing import capture_logs

from shared.channels import Channel, Topic
from shared.settings import Settings


async def test_what_is_not_an_id_is_dropped_with_a_line_in_the_log() -> None:
    channel = Channel(Settings(namespace="malformed-ids"))
    first, second = uuid4(), uuid4()
    heard = channel.listen(Topic.ENDED)
    assert await anext(heard) == (Topic.ENDED, [])
    with capture_logs() as logs:
        for data in (b"no id", b"\xff\xfe", b"", b"x %s y" % str(first).encode()):
            await channel.redis.publish("malformed-ids:ended", data)
        await channel.publish(Topic.ENDED, [second])
        async with asyncio.timeout(5):
            assert await anext(heard) == (Topic.ENDED, [first])
            assert await anext(heard) == (Topic.ENDED, [second])
    assert [line["dropped"] for line in logs] == [2, 1, 2]
    await heard.aclose()  # type: ignore[attr-defined]
    await channel.close()
