"""What a look at a memory file says when the file cannot be had."""

from pathlib import Path

from filelock import FileLock

from tests.shared.world import ON_SQLITE, World
from worker.file_findings import see
from worker.memory.files import MemoryFiles


@ON_SQLITE
async def test_a_memory_file_that_stays_locked_is_told(world: World, tmp_path: Path) -> None:
    session = await world.session()
    memories = MemoryFiles(world.database, tmp_path, lock_timeout_s=0.05)
    path = tmp_path / f"{session.id}.1.db"
    path.touch()
    with FileLock(f"{path}.lock"):
        seen = await see(memories, session)
    memories.close()
    assert seen.fault
    assert seen.fault.code == "memory_file_locked"
    assert not seen.fault.repairable
