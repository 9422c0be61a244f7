"""API keys in the database: what is kept of them, and how long they are good."""

import re

from shared.database import Database
from shared.store import keys
from shared.store.keys import new_key, read_key
from shared.tables import Role


async def made(database: Database, *, lasts_s: float | None = None) -> str:
    async with database.begin() as db:
        return await keys.create(db, name="n", owner="o", role=Role.READ, lasts_s=lasts_s)


async def only(database: Database) -> keys.KnownKey:
    async with database.read() as db:
        [key] = await keys.listing(db)
    return key


async def test_of_a_key_only_its_name_and_hash_are_kept(database: Database) -> None:
    key = await made(database)
    known = await only(database)
    presented = read_key(key)
    assert presented
    assert (known.id, known.hash) == (presented.key_id, presented.hash)
    assert (known.owner, known.role, known.valid) == ("o", Role.READ, True)
    assert key.split("_")[2] not in repr(known)


async def test_a_key_is_good_until_it_expires(database: Database) -> None:
    await made(database, lasts_s=-1)
    assert not (await only(database)).valid


async def test_a_key_is_good_while_its_time_goes_on(database: Database) -> None:
    await made(database, lasts_s=60)
    assert (await only(database)).valid


async def test_a_key_is_revoked_once(database: Database) -> None:
    await made(database)
    key_id = (await only(database)).id
    for _ in range(2):
        async with database.begin() as db:
            assert await keys.revoke(db, key_id)
    assert not (await only(database)).valid
    async with database.begin() as db:
        assert not await keys.revoke(db, "0" * 16)


def test_keys_are_random_and_told_from_everything_else() -> None:
    found = {new_key() for _ in range(100)}
    assert len(found) == 100
    assert all(re.fullmatch(r"vck_[0-9a-f]{16}_[0-9a-f]{64}", key) for key in found)
    key = found.pop()
    for other in ("", key[:-1], key + "0", key.upper(), f" {key}", key + "\n", "vck_"):
        assert read_key(other) is None
