"""Edits of a workflow module's text, each at the places that its syntax tree names."""

import ast
import re
from dataclasses import dataclass

from shared.workflow.model import Node, Workflow
from shared.workflow.parse import Module, amended, assigned, first_line, literal, read_module
from worker.offline.text import docstring, string

_LANGUAGE = re.compile(r"(?<!\s)\s*Always answer in \w+\.")


_Placed = ast.expr | ast.keyword | ast.alias


class CannotEdit(Exception):
    """The edit is not possible; the text says why, to a person."""


@dataclass(frozen=True)
class _Splice:
    start: int
    end: int
    text: str


class Draft:
    """A module that is being edited; each verb leaves a module that parses, or raises."""

    def __init__(self, code: str) -> None:
        self.code = code.replace("\r\n", "\n")
        self._read()

    def _read(self) -> None:
        self._module: Module = read_module(self.code)
        self._starts = [0]
        for line in self.code.split("\n"):
            self._starts.append(self._starts[-1] + len(line) + 1)

    @property
    def workflow(self) -> Workflow:
        """Return the agents and tools as they are now."""
        return self._module.workflow

    def create(self, node_id: str, *, name: str, instructions: str, above: Node | None) -> None:
        """Add an agent at the end, or above another one."""
        agent = self._sdk("Agent")
        definition = (
            f"{node_id} = {agent}(\n    name={string(name)},\n"
            f"    instructions={string(instructions)},\n)\n"
        )
        self._insert(definition, self.workflow.node(above.node_id) if above else None)

    def hand_off(self, source: Node, target: Node) -> None:
        """Let one agent hand off to another, wherever the two stand."""
        source, target = self._again(source), self._again(target)
        first, second = _variable(source), _variable(target)
        if target.line < source.line and self._extend(source, "handoffs", second):
            return
        self._insert(f"{first}.handoffs.append({second})\n", None, blank=1)

    def add_tool(self, node: Node, tool: str, description: str) -> None:
        """Add a function tool that does nothing yet, and give it to an agent."""
        decorator = self._sdk("function_tool")
        definition = (
            f"@{decorator}\ndef {tool}(query: str) -> str:\n    {docstring(description)}\n"
            '    return "Not implemented yet."\n\n'
        )
        self._insert(definition, self._again(node))
        if not self._extend(self._again(node), "tools", tool):
            self._insert(f"{_variable(node)}.tools.append({tool})\n", None, blank=1)

    def instruct(self, node: Node, sentence: str, *, language: bool = False) -> None:
        """Add a sentence to an agent's instructions; a language replaces an earlier one."""
        value = self._keyword(node, "instructions")
        if value is None:
            self._set(node, "instructions", string(sentence))
            return
        text = literal(value)
        if text is None:
            raise CannotEdit(
                f"The instructions of `{node.node_id}` are computed; I only know plain text."
            )
        text = _LANGUAGE.sub("", text) if language else text
        gap = "" if not text or text.endswith((" ", "\n")) else " "
        self._splice([self._over(value, string(f"{text}{gap}{sentence}"))])

    def rename(self, node: Node, new_id: str, new_name: str) -> None:
        """Rename an agent: its variable wherever it is used, its name, its own instructions."""
        variable = _variable(node)
        splices = [
            self._over(item, new_id)
            for item in ast.walk(self._module.tree)
            if isinstance(item, ast.Name) and item.id == variable
        ]
        if any(self.code[item.start : item.end] != variable for item in splices):
            raise CannotEdit(f"`{node.node_id}` is used where I cannot rename it.")
        call = self._call(node)
        value = self._keyword(node, "name") or (call.args[0] if call.args else None)
        if literal(value) is not None and value is not None:
            splices.append(self._over(value, string(new_name)))
        about = self._keyword(node, "instructions")
        text = literal(about) or ""
        said = re.compile(rf"(?<!\w){re.escape(node.name)}(?!\w)")
        if about is not None and said.search(text):
            splices.append(self._over(about, string(said.sub(lambda _: new_name, text))))
        self._splice(splices)

    def remove(self, node: Node) -> None:
        """Remove an agent, and what hands off to it."""
        variable = _variable(node)
        for other in self.workflow.nodes:
            for kind in ("handoffs", "tools"):
                self._drop(other, kind, variable)
        splices = [
            self._lines(item)
            for item in self._module.tree.body
            if variable in assigned(item)[0] or self._amends(item, variable)
        ]
        self._splice(splices)

    def is_taken(self, name: str) -> bool:
        """Tell whether the module, or Python, already uses this variable."""
        used = {item.id for item in ast.walk(self._module.tree) if isinstance(item, ast.Name)}
        return name in used | self._module.imports.keys() | self._module.lines.keys()

    # --- how the text changes -------------------------------------------------------------

    def _again(self, node: Node) -> Node:
        found = self.workflow.node(node.node_id)
        assert found is not None
        return found

    def _call(self, node: Node) -> ast.Call:
        return next(call for name, _, call in self._module.agents if name == node.node_id)

    def _keyword(self, node: Node, name: str) -> ast.expr | None:
        keywords = self._call(node).keywords
        return next((item.value for item in keywords if item.arg == name), None)

    def _set(self, node: Node, name: str, value: str) -> None:
        call = self._call(node)
        arguments: list[_Placed] = [*call.args, *call.keywords]
        if not arguments:
            end = self._end(call) - 1
            self._splice([_Splice(end, end, f"{name}={value}")])
            return
        last = max(arguments, key=self._end)
        alone = last.lineno != call.lineno
        gap = f",\n{' ' * last.col_offset}" if alone else ", "
        self._splice([_Splice(self._end(last), self._end(last), f"{gap}{name}={value}")])

    def _extend(self, node: Node, kind: str, element: str) -> bool:
        value = self._keyword(node, kind)
        if value is None:
            self._set(node, kind, f"[{element}]")
            return True
        if not isinstance(value, ast.List):
            return False
        parts = [*(self._source(item) for item in value.elts), element]
        self._splice([self._over(value, f"[{', '.join(parts)}]")])
        return True

    def _drop(self, node: Node, kind: str, element: str) -> None:
        value = self._keyword(node, kind)
        if not isinstance(value, ast.List):
            return
        kept = [item for item in value.elts if not _names(item, element)]
        if len(kept) == len(value.elts):
            return
        if kept:
            parts = ", ".join(self._source(item) for item in kept)
            self._splice([self._over(value, f"[{parts}]")])
            return
        call = self._call(node)
        argument = next(item for item in call.keywords if item.value is value)
        others: list[_Placed] = [*call.args, *call.keywords]
        before = [self._end(item) for item in others]
        ends = [end for end in before if end < self._start(argument)]
        start = max(ends) if ends else self._start(argument)
        self._splice([_Splice(start, self._end(argument), "")])

    def _amends(self, statement: ast.stmt, name: str) -> bool:
        amendment = amended(statement)
        if amendment is None:
            return False
        call = statement.value if isinstance(statement, ast.Expr) else None
        given = isinstance(call, ast.Call) and any(_names(item, name) for item in call.args)
        return amendment[0] == name or given

    def _sdk(self, name: str) -> str:
        for local, full in self._module.imports.items():
            if full == f"agents.{name}":
                return local
        for item in self._module.tree.body:
            if isinstance(item, ast.ImportFrom) and item.module == "agents" and not item.level:
                if item.names[-1].name == "*":
                    return name
                end = self._end(item.names[-1])
                self._splice([_Splice(end, end, f", {name}")])
                return name
        self._insert_import(f"from agents import {name}\n")
        return name

    def _insert_import(self, line: str) -> None:
        body = self._module.tree.body
        after = 0
        for item in body:
            text = isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant)
            if text or isinstance(item, ast.ImportFrom | ast.Import):
                after = item.end_lineno or after
            else:
                break
        place = min(self._starts[after], len(self.code))
        before = "" if not place or self.code[place - 1] == "\n" else "\n"
        self._splice([_Splice(place, place, f"{before}{line}")])

    def _insert(self, text: str, above: Node | None, *, blank: int = 2) -> None:
        if above is not None:
            # above the whole function or class of an agent that stands in one
            lines = [first_line(item) for item in self._module.tree.body]
            place = self._starts[max(line for line in lines if line <= above.line) - 1]
            blank_line = "\n" if text.startswith("@") and place else ""
            self._splice([_Splice(place, place, f"{blank_line}{text}\n")])
            return
        code = self.code.rstrip("\n")
        follows = blank == 1 and ".append(" in code.rpartition("\n")[2]
        gap = "\n" if follows else "\n\n"
        self._splice([_Splice(len(code), len(self.code), f"{gap if code else ''}{text}")])

    def _splice(self, splices: list[_Splice]) -> None:
        for item in sorted(splices, key=lambda item: item.start, reverse=True):
            self.code = self.code[: item.start] + item.text + self.code[item.end :]
        self._read()

    def _lines(self, statement: ast.stmt) -> _Splice:
        start = self._starts[first_line(statement) - 1]
        end = min(self._starts[statement.end_lineno or statement.lineno], len(self.code))
        while self.code[end : end + 1] == "\n":
            end += 1
        return _Splice(start, end, "")

    def _over(self, item: ast.expr, text: str) -> _Splice:
        return _Splice(self._start(item), self._end(item), text)

    def _source(self, item: ast.expr) -> str:
        return self.code[self._start(item) : self._end(item)]

    def _start(self, item: _Placed) -> int:
        return self._offset(item.lineno, item.col_offset)

    def _end(self, item: _Placed) -> int:
        return self._offset(item.end_lineno or item.lineno, item.end_col_offset or 0)

    def _offset(self, line: int, column: int) -> int:
        start = self._starts[line - 1]
        text = self.code[start : self._starts[line] - 1]
        return start + len(text.encode()[:column].decode())


def _variable(node: Node) -> str:
    """Return the variable of the top level that holds the agent."""
    if node.scope or node.variable is None:
        place = f" inside `{node.scope}`" if node.scope else " without a variable of its own"
        raise CannotEdit(f"`{node.node_id}` stands{place}; I only know agents of the top level.")
    return node.variable


def _names(item: ast.expr, name: str) -> bool:
    """Tell whether an element stands for the agent: itself, handoff(it) or it.as_tool(...)."""
    match item:
        case ast.Name(id=found):
            return found == name
        case ast.Call(func=ast.Attribute(value=ast.Name(id=found), attr="as_tool")):
            return found == name
        case ast.Call(args=[ast.Name(id=found), *_]):
            return found == name
        case _:
            return False
