"""The rule of a node session: it changes its node's definition, and adds the tools it needs."""

import ast
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

from shared.workflow.parse import Module, amended, assigned, first_line, read_module

_BLOCKS = ("body", "orelse", "finalbody")


@dataclass(frozen=True)
class _Piece:
    """One statement of a block (an import: one name of it) as text and in words."""

    text: str
    title: str
    line: int
    binds: frozenset[str]
    addable: bool


def scope_violation(before: str, after: str, node_id: str) -> str | None:
    """Return why this change is more than a session on that node may do, or None.

    Both must be modules that parse. Other definitions are compared by their own text: they may
    move, and comments between them may change. Of a node inside a function, a class or another
    statement only its own lines may change, and what stands beside it may be added to.
    """
    old, new = _Side(before, node_id), _Side(after, node_id)
    if old.call and not new.call:
        return f"it removes or renames the agent `{node_id}`, which this session is about"
    if new.call and not old.call and not any(_holds(item, new.call) for item in _plain(new)):
        return f"it adds the agent `{node_id}` inside another statement; add it at the top level"
    return _changed_inside(old, new) or _compare(old, new, old.tree.body, new.tree.body, top=True)


class _Side:
    """One of the two modules, and the session's node in it."""

    def __init__(self, code: str, node_id: str) -> None:
        self.module: Module = read_module(code)
        self.tree = self.module.tree
        self.node_id = node_id
        self._lines = [
            line.encode("utf-8", "replace")
            for line in code.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        ]
        calls = {name: call for name, _, call in self.module.agents}
        self._calls = {id(call) for call in calls.values()}
        self._starts = sorted((call.lineno, call.col_offset) for call in calls.values())
        self.call = calls.get(node_id)
        node = self.module.workflow.node(node_id)
        self.variable = node.variable if node else None
        self.inner = {
            name: self.text(call)
            for name, call in calls.items()
            if self.call and call is not self.call and _within(call, self.call)
        }
        self.used = {item.id for item in ast.walk(self.tree) if isinstance(item, ast.Name)}

    def belongs(self, statement: ast.stmt) -> bool:
        """Tell whether a statement defines the node, contains it, or adds to its lists."""
        if self.call and _holds(statement, self.call):
            return True
        amendment = amended(statement)
        return amendment is not None and amendment[0] == (self.variable or self.node_id)

    def text(self, node: ast.stmt | ast.expr) -> str:
        """Return the text of a statement or an expression, decorators included."""
        first = first_line(node) if isinstance(node, ast.stmt) else node.lineno
        column = node.col_offset if first == node.lineno else 0
        return self.between((first, column), _end(node))

    def between(self, start: tuple[int, int], end: tuple[int, int]) -> str:
        """Return the text between two places: lines, and columns in bytes as in the tree."""
        lines = self._lines[start[0] - 1 : end[0]]
        lines[-1] = lines[-1][: end[1]]
        lines[0] = lines[0][start[1] :]
        return b"\n".join(lines).decode("utf-8", "replace")

    def piece(self, statement: ast.stmt) -> _Piece:
        """Return a statement as a piece."""
        binds = frozenset(_bound(statement))
        title, addable = self._title(statement, binds)
        return _Piece(self.text(statement), title, first_line(statement), binds, addable)

    def _title(self, statement: ast.stmt, binds: frozenset[str]) -> tuple[str, bool]:
        names, value = assigned(statement)
        line = first_line(statement)
        match statement:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                kind = "tool" if self.module.is_tool(statement) else "function"
                return f"the {kind} `{name}`", not self._makes_agents(statement)
            case ast.ClassDef(name=name):
                return f"the class `{name}`", not self._makes_agents(statement)
            case _ if names and id(value) in self._calls:
                return f"the agent `{names[0]}`", False
            case _ if names and binds == set(names):
                return f"`{names[0]}`", not self._makes_agents(statement)
            case _ if amendment := amended(statement):
                return f"`{amendment[0]}.{amendment[1]}` on line {line}", False
            case _:
                return f"the statement on line {line}", False

    def _makes_agents(self, statement: ast.stmt) -> bool:
        start = (first_line(statement), 0)
        index = bisect_left(self._starts, start)
        return index < len(self._starts) and self._starts[index] < _end(statement)


def _compare(
    old: _Side, new: _Side, before: list[ast.stmt], after: list[ast.stmt], *, top: bool
) -> str | None:
    """Compare two blocks that hold the node, or held or will hold it."""
    old_imports, new_imports = _imports(before), _imports(after)
    old_own, old_rest = _divided(old, before)
    new_own, new_rest = _divided(new, after)
    taken = set[str]().union(*(piece.binds for piece in (*old_imports.values(), *old_rest)))
    # a new name in a function must not hide one that the function means
    taken |= {new.node_id} if top else old.used | {new.node_id}
    for text, piece in old_imports.items():
        if text not in new_imports:
            return f"it removes {piece.title}"
    added = [new_imports[text] for text in new_imports if text not in old_imports]
    return (
        _first_change(old_rest, new_rest, added, taken, new.node_id)
        or _rebound(new, new_own, taken | {n for p in new_rest for n in p.binds})
        or _around(old, new, old_own, new_own)
    )


def _divided(side: _Side, block: list[ast.stmt]) -> tuple[list[ast.stmt], list[_Piece]]:
    own = [statement for statement in block if side.belongs(statement)]
    rest = [
        side.piece(statement)
        for statement in block
        if not isinstance(statement, ast.Import | ast.ImportFrom) and not side.belongs(statement)
    ]
    return own, rest


def _imports(block: list[ast.stmt]) -> dict[str, _Piece]:
    found: dict[str, _Piece] = {}
    for statement in block:
        if not isinstance(statement, ast.Import | ast.ImportFrom):
            continue
        source = ""
        if isinstance(statement, ast.ImportFrom):
            source = f"from {'.' * statement.level}{statement.module or ''} "
        for alias in statement.names:
            text = f"{source}import {alias.name}" + (f" as {alias.asname}" if alias.asname else "")
            name = alias.asname or (alias.name if source else alias.name.split(".")[0])
            title, line = f"the line `{text}`", statement.lineno
            piece = _Piece(text, title, line, frozenset({name}), alias.name != "*")
            found.setdefault(text, piece)
    return found


def _first_change(
    before: list[_Piece], after: list[_Piece], added: list[_Piece], taken: set[str], node_id: str
) -> str | None:
    waiting = list(reversed(before))
    more: list[_Piece] = []
    for piece in after:
        if waiting and piece.text == waiting[-1].text:
            waiting.pop()
        else:
            more.append(piece)
    if waiting:
        return f"it changes, moves or removes {waiting[-1].title} (line {waiting[-1].line})"
    only = f"only the agent `{node_id}` may change, and tools that it needs may be added"
    for piece in (*more, *added):
        if not piece.addable:
            return f"it adds {piece.title}; {only}"
        if names := sorted(piece.binds & taken):
            return f"it gives `{names[0]}` another meaning (line {piece.line}); {only}"
    return None


def _rebound(new: _Side, own: list[ast.stmt], taken: set[str]) -> str | None:
    for statement in own:
        if _block_of(new, statement) is None:
            for name in sorted(_bound(statement) - {new.node_id, new.variable}):
                if name in taken:
                    return f"it gives `{name}` another meaning (line {first_line(statement)})"
    return None


def _around(old: _Side, new: _Side, before: list[ast.stmt], after: list[ast.stmt]) -> str | None:
    """Compare what stands around the node in the statement that holds it."""
    first = next((item for item in before if old.call and _holds(item, old.call)), None)
    second = next((item for item in after if new.call and _holds(item, new.call)), None)
    if first is None or second is None:
        return None
    changed = f"it changes {new.piece(second).title} around the agent `{new.node_id}`"
    if _is_plain(old, first) and _is_plain(new, second):
        return None
    blocks = _block_of(old, first), _block_of(new, second)
    if blocks[0] is None or blocks[1] is None:
        assert old.call
        assert new.call
        same = blocks[0] is blocks[1] and _outside(old, first, old.call) == _outside(
            new, second, new.call
        )
        return None if same else changed
    if _outside(old, first, *blocks[0]) != _outside(new, second, *blocks[1]):
        return changed
    return _compare(old, new, blocks[0], blocks[1], top=False)


def _outside(side: _Side, statement: ast.stmt, *inner: ast.stmt | ast.expr) -> tuple[str, str]:
    """Return the text before and behind a part of a statement, without comments at the part."""
    first = inner[0]
    line = first_line(first) if isinstance(first, ast.stmt) else first.lineno
    column = first.col_offset if line == first.lineno else 0
    before = side.between((first_line(statement), 0), (line, column)).split("\n")
    behind = side.between(_end(inner[-1]), _end(statement)).split("\n")
    while len(before) > 1 and _is_comment(before[-1]):
        before.pop()
    start = next((i for i, text in enumerate(behind) if not _is_comment(text)), len(behind))
    return "\n".join(before), "\n".join(behind[start:])


def _changed_inside(old: _Side, new: _Side) -> str | None:
    for name, text in new.inner.items():
        if old.inner.get(name) != text:
            verb = "changes" if name in old.inner else "adds"
            return f"it {verb} the agent `{name}`; only the agent `{new.node_id}` may change"
    return None


def _plain(side: _Side) -> Iterator[ast.stmt]:
    return (item for item in side.tree.body if _is_plain(side, item))


def _is_plain(side: _Side, statement: ast.stmt) -> bool:
    """Tell whether a statement only binds the node to its variable, and so is the node's own."""
    names, value = assigned(statement)
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement]
    while isinstance(value, ast.Await):
        value = value.value
    return bool(names) and len(names) == len(targets) and value is side.call


def _block_of(side: _Side, statement: ast.stmt) -> list[ast.stmt] | None:
    """Return the block of a statement in which the node stands, None if it is a simple one."""
    holders: list[ast.AST] = [
        statement,
        *getattr(statement, "handlers", ()),
        *getattr(statement, "cases", ()),
    ]
    for holder in holders:
        for name in _BLOCKS:
            block: list[ast.stmt] = getattr(holder, name, None) or []
            if side.call and any(_holds(item, side.call) for item in block):
                return block
    return None


def _holds(statement: ast.stmt, call: ast.expr) -> bool:
    return _within(call, statement)


def _within(inner: ast.expr, outer: ast.stmt | ast.expr) -> bool:
    first = first_line(outer) if isinstance(outer, ast.stmt) else outer.lineno
    start = (first, outer.col_offset if first == outer.lineno else 0)
    return start <= (inner.lineno, inner.col_offset) and _end(inner) <= _end(outer)


def _end(node: ast.stmt | ast.expr) -> tuple[int, int]:
    return node.end_lineno or node.lineno, node.end_col_offset or 0


def _is_comment(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")


def _bound(statement: ast.stmt) -> set[str]:
    """Return the module-level names that a statement binds or deletes."""
    found: set[str] = set()
    waiting: list[ast.AST] = [statement]
    while waiting:
        item = waiting.pop()
        match item:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found.add(name)
                waiting.extend([*item.decorator_list, item.args])
            case ast.ClassDef(name=name):
                found.add(name)
                waiting.extend([*item.decorator_list, *item.bases])
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                found.add(name)
            case ast.Lambda():
                pass
            case ast.alias(name=name, asname=asname):
                found.add(asname or name.split(".")[0])
            case ast.ExceptHandler(name=str(name)):
                found.add(name)
                waiting.extend(item.body)
            case _:
                waiting.extend(ast.iter_child_nodes(item))
    return found
