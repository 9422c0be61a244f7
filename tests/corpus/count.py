"""Count what a module writes, by a plain look at its syntax tree that shares no code with ours.

It knows constructions of agents by name, and handoffs and agents as tools that are written as
names in a list, in `handoff(...)`, `.as_tool(...)`, or appended. It does not follow values.
"""

import ast
from dataclasses import dataclass, field

_CLASSES = {"Agent", "RealtimeAgent", "SandboxAgent"}
_FIELDS = {"instructions", "handoffs", "tools", "model", "name"}


@dataclass
class Written:
    """The agents by line and column, and pairs of names: who hands off to whom, who uses whom."""

    agents: list[tuple[int, str]] = field(default_factory=list)
    handoffs: set[tuple[str, str]] = field(default_factory=set)
    uses: set[tuple[str, str]] = field(default_factory=set)


def count(code: str) -> Written:
    """Look at a module."""
    return _Count(ast.parse(code)).written


class _Count:
    def __init__(self, tree: ast.Module) -> None:
        self.written = Written()
        self._names = _names_of_classes(tree)
        self._tools: dict[str, str] = {}
        self._holders: dict[int, str] = {}
        nodes = list(ast.walk(tree))
        for node in nodes:
            if isinstance(node, ast.Assign):
                self._hold(node)
        for node in nodes:
            if isinstance(node, ast.Call):
                self._call(node)

    def _hold(self, node: ast.Assign) -> None:
        target, value = node.targets[0], node.value
        if isinstance(target, ast.Name) and isinstance(value, ast.Call):
            self._holders[id(value)] = target.id
            if used := _used(value):
                self._tools[target.id] = used

    def _call(self, node: ast.Call) -> None:
        makes = self._makes_agent(node)
        if makes or _clones(node):
            owner = self._holders.get(id(node)) or _literal_name(node)
            if makes or not self._makes_agent(_receiver(node)):
                self.written.agents.append((node.lineno, owner))
            for item in node.keywords:
                if isinstance(item.value, ast.List):
                    self._add(item.arg or "", item.value.elts, owner)
        match node.func:
            case ast.Attribute(
                value=ast.Attribute(value=ast.Name(id=owner), attr=kind), attr="append"
            ):
                self._add(kind, node.args, owner)

    def _makes_agent(self, node: ast.expr | None) -> bool:
        return isinstance(node, ast.Call) and _path(node.func) in self._names

    def _add(self, kind: str, elements: list[ast.expr], owner: str) -> None:
        for element in elements:
            if kind == "handoffs" and (target := self._handed(element)):
                self.written.handoffs.add((owner, target))
            elif kind == "tools":
                named = self._tools.get(element.id) if isinstance(element, ast.Name) else None
                if used := named or _used(element):
                    self.written.uses.add((owner, used))

    def _handed(self, node: ast.expr) -> str:
        if isinstance(node, ast.Name):
            return node.id
        if isinstance(node, ast.Call) and self._makes_agent(node):
            return _literal_name(node)
        if isinstance(node, ast.Call) and _path(node.func).endswith("handoff"):
            given = [item.value for item in node.keywords if item.arg == "agent"]
            return self._handed((node.args or given)[0]) if node.args or given else ""
        return ""


def _names_of_classes(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level:
            if (node.module or "").split(".")[0] == "agents":
                names |= {a.asname or a.name for a in node.names if a.name in _CLASSES}
        elif isinstance(node, ast.Import):
            roots = {a.asname or a.name for a in node.names if a.name.split(".")[0] == "agents"}
            names |= {f"{root}.{kind}" for root in roots for kind in _CLASSES}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and any(_path(base) in names for base in node.bases):
            names.add(node.name)
    return names


def _path(node: ast.expr) -> str:
    if isinstance(node, ast.Subscript):
        return _path(node.value)
    return ast.unparse(node) if isinstance(node, ast.Name | ast.Attribute) else ""


def _receiver(node: ast.Call) -> ast.expr | None:
    return node.func.value if isinstance(node.func, ast.Attribute) else None


def _clones(node: ast.Call) -> bool:
    keywords = {item.arg for item in node.keywords}
    named = isinstance(node.func, ast.Attribute) and node.func.attr == "clone"
    return named and bool(keywords & _FIELDS)


def _literal_name(node: ast.Call) -> str:
    for item in node.keywords:
        if item.arg == "name" and isinstance(item.value, ast.Constant):
            return str(item.value.value)
    return ""


def _used(node: ast.expr) -> str:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return ""
    named = isinstance(node.func.value, ast.Name) and node.func.attr == "as_tool"
    return ast.unparse(node.func.value) if named else ""
