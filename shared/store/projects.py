"""Projects and the revisions of their code."""

from collections.abc import Sequence
from uuid import UUID, uuid4

from sqlalchemy import Select, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from shared.dialects import clock
from shared.errors import ProjectNotFound, RevisionNotFound
from shared.tables import Project, Revision


async def create(
    db: AsyncSession,
    *,
    owner: str,
    name: str,
    instructions: str,
    code: str,
    budget_tokens: int | None = None,
    budget_usd: str | None = None,
) -> Project:
    """Insert a project with its revision 1."""
    statement = (
        insert(Project)
        .values(
            id=uuid4(),
            owner=owner,
            name=name,
            instructions=instructions,
            code=code,
            revision=1,
            budget_tokens=budget_tokens,
            budget_usd=budget_usd,
        )
        .returning(Project)
    )
    project = (await db.scalars(statement)).one()
    await _insert_revision(db, project, message_id=None, diff="")
    return project


async def get(db: AsyncSession, project_id: UUID, *, owner: str) -> Project:
    """Read a living project of that owner."""
    return _found(await db.scalar(_living(project_id, owner)), project_id)


async def lock(db: AsyncSession, project_id: UUID, *, owner: str | None = None) -> Project:
    """Lock a living project until the commit; first of all locks. Sessions can still be made."""
    statement = _living(project_id, owner).with_for_update(key_share=True)
    project = await db.scalar(statement.execution_options(populate_existing=True))
    return _found(project, project_id)


async def listing(
    db: AsyncSession, *, owner: str, after: Project | None, limit: int
) -> Sequence[Project]:
    """List an owner's living projects, oldest first."""
    statement = (
        select(Project)
        .where(Project.owner == owner, Project.deleted_at.is_(None))
        .order_by(Project.created_at, Project.id)
        .limit(limit)
    )
    if after is not None:
        statement = statement.where(
            (Project.created_at > after.created_at)
            | ((Project.created_at == after.created_at) & (Project.id > after.id))
        )
    return (await db.scalars(statement)).all()


async def revise(
    db: AsyncSession, project: Project, *, code: str, diff: str, message_id: UUID | None
) -> int:
    """Make the next revision of a locked project; return its number."""
    project.code = code
    project.revision += 1
    await db.flush()
    await _insert_revision(db, project, message_id=message_id, diff=diff)
    return project.revision


async def mark_deleted(db: AsyncSession, project: Project) -> None:
    """Hide a locked project and all below it; a sweep purges the rows later."""
    project.deleted_at = await db.scalar(select(clock()))
    await db.flush()


async def revisions(
    db: AsyncSession, project_id: UUID, *, after: int, limit: int
) -> Sequence[Revision]:
    """List the revisions, oldest first."""
    found = await db.scalars(
        select(Revision)
        .where(Revision.project_id == project_id, Revision.number > after)
        .order_by(Revision.number)
        .limit(limit)
    )
    return found.all()


async def revision(db: AsyncSession, project_id: UUID, *, number: int) -> Revision:
    """Read one revision."""
    found = await db.get(Revision, (project_id, number))
    if found is None:
        raise RevisionNotFound(f"The project has no revision {number}.")
    return found


async def _insert_revision(
    db: AsyncSession, project: Project, *, message_id: UUID | None, diff: str
) -> None:
    await db.execute(
        insert(Revision).values(
            project_id=project.id,
            number=project.revision,
            message_id=message_id,
            code=project.code,
            diff=diff,
        )
    )


def _living(project_id: UUID, owner: str | None) -> Select[Project]:
    statement = select(Project).where(Project.id == project_id, Project.deleted_at.is_(None))
    return statement if owner is None else statement.where(Project.owner == owner)


def _found(project: Project | None, project_id: UUID) -> Project:
    if project is None:
        raise ProjectNotFound(f"There is no project {project_id}.")
    return project
