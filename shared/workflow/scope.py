"""What a node session may change: its node's definition, and tools that it adds."""

import ast
from dataclasses import dataclass

from shared.workflow.parse import Module, amended, assigned, first_line, read_module


@dataclass(frozen=True)
class _Piece:
    """One top-level statement (an import: one name of it) as text and in words."""

    text: str
    title: str
    line: int
    binds: frozenset[str]
    addable: bool


def scope_violation(before: str, after: str, node_id: str) -> str | None:
    """Return why this change is more than a session on that node may do, or None.

    Both must be modules that `check_workflow` accepts. Other definitions are compared by their
    own text: they may move, and what stands between them may change.
    """
    old, new = read_module(before), read_module(after)
    if old.workflow.node(node_id) and not new.workflow.node(node_id):
        return f"it removes or renames the agent `{node_id}`, which this session is about"
    old_pieces, new_pieces = _Pieces(before, old, node_id), _Pieces(after, new, node_id)
    return (
        _removed_import(old_pieces, new_pieces)
        or _first_change(old_pieces, new_pieces, node_id)
        or _rebound(old_pieces, new_pieces, node_id)
    )


class _Pieces:
    """The top level of one module, divided into the node's own and everything else."""

    def __init__(self, code: str, module: Module, node_id: str) -> None:
        self._lines = code.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self._module = module
        self.imports: dict[str, _Piece] = {}
        self.others: list[_Piece] = []
        self.own: list[_Piece] = []
        for statement in module.tree.body:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                self._add_import(statement)
            elif _belongs(statement, node_id):
                self.own.append(self._piece(statement))
            else:
                self.others.append(self._piece(statement))
        self.names = frozenset(
            name for piece in (*self.imports.values(), *self.others) for name in piece.binds
        )

    def _add_import(self, statement: ast.Import | ast.ImportFrom) -> None:
        source = ""
        if isinstance(statement, ast.ImportFrom):
            source = f"from {'.' * statement.level}{statement.module or ''} "
        for alias in statement.names:
            text = f"{source}import {alias.name}" + (f" as {alias.asname}" if alias.asname else "")
            name = alias.asname or (alias.name if source else alias.name.split(".")[0])
            title = f"the line `{text}`"
            addable = alias.name != "*"
            piece = _Piece(text, title, statement.lineno, frozenset({name}), addable)
            self.imports.setdefault(text, piece)

    def _piece(self, statement: ast.stmt) -> _Piece:
        binds = frozenset(_bound(statement))
        title, addable = self._title(statement, binds)
        return _Piece(self._text(statement), title, first_line(statement), binds, addable)

    def _title(self, statement: ast.stmt, binds: frozenset[str]) -> tuple[str, bool]:
        names, value = assigned(statement)
        line = first_line(statement)
        match statement:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                kind = "tool" if self._module.is_tool(statement) else "function"
                return f"the {kind} `{name}`", True
            case ast.ClassDef(name=name):
                return f"the class `{name}`", True
            case _ if names and self._module.is_agent(value):
                return f"the agent `{names[0]}`", False
            case _ if names and binds == set(names):
                return f"`{names[0]}`", True
            case _ if amendment := amended(statement):
                return f"`{amendment[0]}.{amendment[1]}` on line {line}", False
            case _:
                return f"the statement on line {line}", False

    def _text(self, statement: ast.stmt) -> str:
        first, last = first_line(statement), statement.end_lineno or statement.lineno
        lines = self._lines[first - 1 : last]
        # columns count UTF-8 bytes; the end is cut first, as both may be on one line
        lines[-1] = lines[-1].encode()[: statement.end_col_offset].decode()
        if first == statement.lineno:
            lines[0] = lines[0].encode()[statement.col_offset :].decode()
        return "\n".join(lines)


def _belongs(statement: ast.stmt, node_id: str) -> bool:
    amendment = amended(statement)
    return node_id in assigned(statement)[0] or (amendment is not None and amendment[0] == node_id)


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


def _removed_import(old: _Pieces, new: _Pieces) -> str | None:
    for text, piece in old.imports.items():
        if text not in new.imports:
            return f"it removes {piece.title}"
    return None


def _first_change(old: _Pieces, new: _Pieces, node_id: str) -> str | None:
    added: list[_Piece] = []
    waiting = list(reversed(old.others))
    for piece in new.others:
        if waiting and piece.text == waiting[-1].text:
            waiting.pop()
        else:
            added.append(piece)
    if waiting:
        return f"it changes, moves or removes {waiting[-1].title} (line {waiting[-1].line})"
    only = f"only the agent `{node_id}` may change, and tools that it needs may be added"
    for piece in (*added, *(new.imports[text] for text in new.imports.keys() - old.imports)):
        if not piece.addable:
            return f"it adds {piece.title}; {only}"
        if taken := sorted(piece.binds & (old.names | {node_id})):
            return f"it gives `{taken[0]}` another meaning (line {piece.line}); {only}"
    return None


def _rebound(old: _Pieces, new: _Pieces, node_id: str) -> str | None:
    for piece in new.own:
        for name in sorted(piece.binds - {node_id}):
            if name in old.names or name in new.names:
                return f"it gives `{name}` another meaning (line {piece.line})"
    return None
