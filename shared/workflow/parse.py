"""The agents, tools and handoffs of a module, read from its syntax tree."""

import ast
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from shared.workflow.evaluate import Reader, Source, cut
from shared.workflow.model import (
    Edge,
    Error,
    Node,
    Reference,
    Tool,
    Unresolved,
    Workflow,
    invalid,
)
from shared.workflow.values import (
    Agent,
    AgentTool,
    Attribute,
    Choice,
    Class,
    Const,
    Function,
    HandsOff,
    Imported,
    Part,
    Text,
    Tooling,
    Unknown,
    Value,
)

_FILENAME = "<workflow>"
_COMPUTED = "is computed when the program runs"
_LONGEST_ID = 64
_LONGEST_LABEL = 80
_LONGEST_TEXT = 4_000
_SHORTEST_TEXT = 80
_MOST_TEXT = 200_000
_MOST_REFERENCES = 10_000
_MOST_AGENTS = 2_000
_MOST_TOOLS = 2_000
_MOST_UNRESOLVED = 200
"""Bounds of what reading returns: code of 28 kB must not become an answer of 20 MB."""


@dataclass
class Module:
    """A parsed module: its tree, its top level by name, and its agents.

    `classes` says which of the SDK's agents each node is, also where it is of a class of its own.
    """

    tree: ast.Module
    imports: dict[str, str] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef] = field(default_factory=dict)
    agents: list[tuple[str, ast.stmt, ast.Call]] = field(default_factory=list)
    classes: dict[str, str] = field(default_factory=dict)
    references: list[Reference] = field(default_factory=list)
    workflow: Workflow = field(default_factory=Workflow)

    def is_tool(self, function: ast.stmt) -> bool:
        """Tell whether the statement defines a function that `function_tool` decorates."""
        return isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and any(
            self._is_function_tool(item.func if isinstance(item, ast.Call) else item)
            for item in function.decorator_list
        )

    def _is_function_tool(self, decorator: ast.expr) -> bool:
        path = ast.unparse(decorator).split(".")
        full = ".".join([self.imports.get(path[0], ""), *path[1:]])
        return full.startswith("agents.") and full.endswith(".function_tool")


def parse_workflow(code: str) -> Workflow:
    """Return the agents and tools of the module; raise InvalidWorkflow if it does not parse."""
    return read_module(code).workflow


def read_module(code: str) -> Module:
    """Parse a module and read it; raise InvalidWorkflow where it does not parse."""
    try:
        module = Module(_parse(code))
        _read_top_level(module)
        _Builder(module, code).build()
    except (RecursionError, MemoryError):
        raise invalid([Error(1, "the module is nested too deeply")]) from None
    except ValueError as error:
        # a NUL in older Pythons, a lone surrogate, a number with thousands of digits
        raise invalid([Error(1, f"the module cannot be read: {error}")]) from None
    return module


def compile_module(tree: ast.Module) -> None:
    """Let the compiler look for what the parser lets pass; nothing is executed."""
    _silence_warnings()
    try:
        compile(tree, _FILENAME, "exec", dont_inherit=True)
    except SyntaxError as error:
        raise invalid([Error(error.lineno or 1, error.msg)]) from None


def first_line(statement: ast.stmt) -> int:
    """Return the line on which a statement begins, decorators included."""
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(item.lineno for item in decorators)])


def assigned(statement: ast.stmt) -> tuple[list[str], ast.expr | None]:
    """Return the plain names that a statement assigns to, and the value."""
    match statement:
        case ast.Assign(targets=targets, value=value):
            return [target.id for target in targets if isinstance(target, ast.Name)], value
        case ast.AnnAssign(target=ast.Name(id=name), value=value):
            return [name], value
        case _:
            return [], None


def amended(statement: ast.stmt) -> tuple[str, str] | None:
    """Return variable and attribute of `x.handoffs = ..`, `x.handoffs += ..`, `.append(..)`."""
    match statement:
        case ast.Assign(targets=[ast.Attribute(value=ast.Name(id=name), attr=attr)]):
            return name, attr
        case ast.AugAssign(target=ast.Attribute(value=ast.Name(id=name), attr=attr)):
            return name, attr
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Attribute() as attribute))):
            name = attribute.value.id if isinstance(attribute.value, ast.Name) else ""
            return (name, attribute.attr) if name else None
        case _:
            return None


def literal(value: ast.expr | None) -> str | None:
    """Return the text of a string literal, else None."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return _clean(value.value)
    return None


def _parse(code: str) -> ast.Module:
    if "\0" in code:
        raise invalid([Error(code[: code.index("\0")].count("\n") + 1, "there is a NUL character")])
    _silence_warnings()
    try:
        return ast.parse(code, _FILENAME)
    except SyntaxError as error:
        raise invalid([Error(error.lineno or 1, error.msg)]) from None


def _silence_warnings() -> None:
    # warnings.catch_warnings swaps a global that other threads use; this filter only ever meets
    # warnings about a workflow (or, "<unknown>", about a string that pyflakes parses)
    module = re.compile(r"<(workflow|unknown)>\Z")
    if list(warnings.filters[:1]) != [("ignore", None, Warning, module, 0)]:
        warnings.filterwarnings("ignore", module=module.pattern)


def _read_top_level(module: Module) -> None:
    for statement in module.tree.body:
        names, _ = assigned(statement)
        match statement:
            case ast.Import(names=aliases):
                for alias in aliases:
                    root = alias.name.split(".")[0]
                    module.imports[alias.asname or root] = alias.name if alias.asname else root
            case ast.ImportFrom(module=source, names=aliases, level=0):
                for alias in aliases:
                    names_of_sdk = ("Agent", "handoff", "function_tool")
                    for name in names_of_sdk if alias.name == "*" else [alias.name]:
                        module.imports.setdefault(alias.asname or name, f"{source}.{name}")
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                module.functions[name] = statement
                names = [name]
        for name in names:
            module.lines.setdefault(name, first_line(statement))


class _Builder:
    """Makes the workflow of what the reader found."""

    def __init__(self, module: Module, code: str) -> None:
        self._module = module
        self._source = Source(code)
        self._reader = Reader(module.tree, self._source)
        self._resolver = self._reader.resolver
        self._agents = sorted(
            (agent for agent in self._reader.agents.values() if self._is_made(agent)),
            key=lambda agent: (*self._span(agent), agent.call.col_offset),
        )
        if len(self._agents) > _MOST_AGENTS:
            raise invalid([Error(1, f"there are more than {_MOST_AGENTS} agents")])
        self._ids = _node_ids(self._agents, self._name)
        self._unresolved: list[Unresolved] = []
        self._longest = max(
            _SHORTEST_TEXT, min(_LONGEST_TEXT, _MOST_TEXT // max(1, len(self._agents)))
        )
        self._labels: dict[int, str] = {}
        self._counted = 0

    def build(self) -> None:
        """Fill the module's agents, references and workflow."""
        edges: dict[Edge, None] = {}
        nodes = tuple(self._node(agent, edges) for agent in self._agents)
        self._say_what_is_lost()
        self._module.agents = [
            (self._ids[agent], agent.statement, agent.call) for agent in self._agents
        ]
        self._module.classes = {self._ids[agent]: self._kind(agent) for agent in self._agents}
        self._module.workflow = Workflow(nodes, self._tools(), tuple(edges), self._bounded())

    def _node(self, agent: Agent, edges: dict[Edge, None]) -> Node:
        node_id = self._ids[agent]
        line, end_line = self._span(agent)
        if self._name(agent) is None:
            name = self._field(agent, "name")
            is_missing = not (name or agent.rest or agent.cloned or agent.of)
            self._say(agent, "name", name, "is missing" if is_missing else _COMPUTED)
        for part in agent.rest:
            self._say(agent, "arguments", part, _COMPUTED, stars="**")
        handoffs = self._handoffs(agent, edges)
        return Node(
            node_id=node_id,
            name=cut(self._name(agent) or node_id, 4 * _LONGEST_LABEL),
            line=line,
            end_line=end_line,
            instructions=self._text(agent, "instructions", self._longest),
            model=self._text(agent, "model", _LONGEST_LABEL),
            tools=self._tool_names(agent, edges),
            handoffs=handoffs,
            kind=agent.of.name if agent.of else self._kind(agent),
            scope=agent.scope,
            variable=agent.variable,
            output_type=self._text(agent, "output_type", _LONGEST_LABEL),
            handoff_description=self._text(agent, "handoff_description", 4 * _LONGEST_LABEL),
            input_guardrails=self._names(agent, "input_guardrails"),
            output_guardrails=self._names(agent, "output_guardrails"),
            mcp_servers=self._names(agent, "mcp_servers"),
            hooks=self._text(agent, "hooks", _LONGEST_LABEL),
        )

    # --- what an agent is -----------------------------------------------------------------------

    def _is_made(self, agent: Agent) -> bool:
        """Tell whether a `.clone()` is one of an agent, as far as one can tell."""
        if agent.cloned is None or agent.replaced:
            return not agent.replaced
        bases = self._resolver.leaves(agent.cloned)
        unknown = all(isinstance(base, Unknown | Imported) for base in bases)
        return any(isinstance(b, Agent) for b in bases) or (
            unknown and self._reader.looks_like_agent(agent)
        )

    def _kind(self, agent: Agent) -> str:
        base = self._base(agent)
        return base.kind if base else agent.kind

    def _base(self, agent: Agent) -> Agent | None:
        bases = self._resolver.leaves(agent.cloned) if agent.cloned else []
        return next((base for base in bases if isinstance(base, Agent) and base is not agent), None)

    def _span(self, agent: Agent) -> tuple[int, int]:
        statement = agent.statement
        value = getattr(statement, "value", None)
        while isinstance(value, ast.Await):
            value = value.value
        if value is agent.call:
            return first_line(statement), statement.end_lineno or statement.lineno
        return agent.call.lineno, agent.call.end_lineno or agent.call.lineno

    def _name(self, agent: Agent) -> str | None:
        part = self._field(agent, "name")
        values = self._resolver.leaves(part.value) if part else []
        known = {v.value for v in values if isinstance(v, Const) and isinstance(v.value, str)}
        return _clean(known.pop()) if len(known) == len(values) == 1 else None

    def _field(self, agent: Agent, name: str) -> Part | None:
        if name in agent.fields:
            return agent.fields[name]
        if agent.of and (found := self._resolver.member(agent.of, name)):
            return Part(agent.call, found[0])
        base = self._base(agent)
        return base.fields.get(name) if base else None

    def _text(self, agent: Agent, name: str, limit: int) -> str | None:
        part = self._field(agent, name)
        if part is None:
            return None
        values = self._resolver.leaves(part.value)
        values = [v for v in values if not (isinstance(v, Const) and v.value is None)] or values
        if len(values) == 1:
            match values[0]:
                case Const(value=None):
                    return None
                case Const(value=str(text)) | Text(text=text):
                    return cut(_clean(text), limit)
                case Unknown(expression=ast.expr() as expression):
                    return self._computed(agent, name, expression, limit)
                case Function():
                    return _clean(self._source.of(part.expression, limit))
        return self._computed(agent, name, part.expression, limit)

    def _computed(self, agent: Agent, name: str, expression: ast.expr, limit: int) -> str:
        # an object such as `LitellmModel(...)` is known well enough
        made = re.match(r"[\w.]*\b[A-Z]\w*\(", self._source.of(expression))
        if name in ("instructions", "model") and not made:
            self._say(agent, name, Part(expression, Unknown()), _COMPUTED)
        return _clean(self._source.of(expression, limit))

    # --- lists of an agent ----------------------------------------------------------------------

    def _elements(self, agent: Agent, name: str) -> Iterator[Part]:
        """Yield the elements of a list, and say what a run decides about it."""
        part = self._field(agent, name)
        if part is None:
            return
        for element in self._resolver.elements(part):
            if element.condition:
                text = f"only where `{self._source.of(element.condition)}`"
                self._say(agent, name, element, text)
            if not element.starred:
                yield element
            elif not _is_none(element.value):
                self._say_value(agent, name, element, element.value)

    def _handoffs(self, agent: Agent, edges: dict[Edge, None]) -> tuple[str, ...]:
        targets: dict[str, None] = {}
        for element in self._elements(agent, "handoffs"):
            for part in self._handed(element):
                found = self._agents_of(agent, "handoffs", part)
                for target in found:
                    targets[target] = None
                    edges[Edge(self._ids[agent], target)] = None
                self._refer(agent, "handoff", part)
        return tuple(targets)

    def _handed(self, element: Part) -> Iterator[Part]:
        leaves = self._resolver.leaves(element.value)
        if any(isinstance(leaf, HandsOff) for leaf in leaves):
            for leaf in leaves:
                yield leaf.target if isinstance(leaf, HandsOff) else Part(element.expression, leaf)
        else:
            yield element

    def _agents_of(self, owner: Agent, name: str, part: Part) -> list[str]:
        found: list[str] = []
        values = self._resolver.leaves(part.value)
        for value in values or [Unknown()]:
            if isinstance(value, Agent) and value in self._ids:
                if value is owner and (part.value is not value or owner.repeated):
                    # of a loop or a factory: another agent that the same expression makes
                    self._say(owner, name, part, "may be another agent that the same lines make")
                else:
                    self._count()
                    found.append(self._ids[value])
            elif not _is_none(value):
                self._say_value(owner, name, part, value)
        if len(found) > 1 and type(part.value) is Choice:
            text = f"is one of {', '.join(f'`{item}`' for item in found[:5])}"
            self._say(owner, name, part, text)
        return found

    def _tool_names(self, agent: Agent, edges: dict[Edge, None]) -> tuple[str, ...]:
        names: dict[int, str] = {}
        numbers: Counter[str] = Counter()
        for element in self._elements(agent, "tools"):
            for value in self._resolver.leaves(element.value) or [Unknown()]:
                if isinstance(value, Const):
                    if value.value is not None:
                        self._say(agent, "tools", element, "is no tool")
                    continue
                label = self._tool_label(agent, element, value, edges)
                key = id(value) if isinstance(value, Tooling) else hash(label)
                if key not in names:
                    numbers[label] += 1
                    same = numbers[label]
                    names[key] = label if same == 1 else f"{label} {same}"
            self._refer(agent, "tool", element)
        return tuple(names.values())

    def _tool_name(self, agent: Agent | None, tool: AgentTool) -> str:
        given = tool.tool_name
        values = self._resolver.leaves(given.value) if given else []
        match values:
            case [Const(value=str(name))]:
                return cut(_clean(name), _LONGEST_LABEL)
            case [] | [Const(value=None)]:
                targets = [v for v in self._resolver.leaves(tool.agent) if isinstance(v, Agent)]
                name = (self._name(targets[0]) if targets else None) or "agent"
                return cut(re.sub(r"[^a-zA-Z0-9_]", "_", name.replace(" ", "_")).lower(), 80)
            case _:
                assert given is not None
                if agent:
                    self._say(agent, "tools", given, "is the name of a tool, which a run computes")
                return self._label(given.expression)

    def _tool_label(
        self, agent: Agent, element: Part, value: Value, edges: dict[Edge, None]
    ) -> str:
        match value:
            case AgentTool(agent=used, owner=expression):
                label = self._tool_name(agent, value)
                for target in self._agents_of(agent, "tools", Part(expression, used)):
                    edges[Edge(self._ids[agent], target, "tool", label)] = None
                return label
            case Tooling(name=name, kind=kind):
                return cut(_clean(name or kind), _LONGEST_LABEL)
            case Agent() if value in self._ids:
                return self._ids[value]
            case Function(name=name) if name:
                return name
            case Class(name=name):
                return name
            case Imported(path=path):
                return cut(path.rpartition(".")[2], _LONGEST_LABEL)
            case Unknown(expression=ast.expr() as expression):
                if isinstance(element.expression, ast.Name):
                    return self._label(element.expression)
                return self._label(expression)
            case _:
                return self._label(element.expression)

    def _names(self, agent: Agent, name: str) -> tuple[str, ...]:
        names: dict[str, None] = {}
        for element in self._elements(agent, name):
            expression = element.expression
            leaves = self._resolver.leaves(element.value)
            if len(leaves) == 1 and isinstance(leaves[0], Function) and leaves[0].name:
                names[leaves[0].name] = None
            else:
                names[self._label(expression)] = None
            self._count()
        return tuple(names)

    def _refer(self, agent: Agent, kind: str, part: Part) -> None:
        expression = part.expression
        label = self._label(expression.func if isinstance(expression, ast.Call) else expression)
        self._module.references.append(Reference(kind, self._ids[agent], label, expression))
        self._count()

    def _count(self) -> None:
        self._counted += 1
        if self._counted > _MOST_REFERENCES:
            raise invalid([Error(1, "there are too many handoffs and tools")])

    # --- texts ----------------------------------------------------------------------------------

    def _label(self, expression: ast.expr) -> str:
        # kept: a list that a thousand agents share is written out once
        if id(expression) not in self._labels:
            self._labels[id(expression)] = _clean(self._source.of(expression, _LONGEST_LABEL))
        return self._labels[id(expression)]

    def _say_value(self, agent: Agent, name: str, part: Part, value: Value) -> None:
        match value:
            case Unknown(expression=expression, reason=reason):
                shown = Part(expression or part.expression, value, starred=part.starred)
                self._say(agent, name, shown, reason)
            case Imported(path=path):
                self._say(agent, name, part, f"is imported from `{path.rpartition('.')[0]}`")
            case Agent():
                self._say(agent, name, part, "stands in no list")
            case _:
                self._say(agent, name, part, "is no agent" if name == "handoffs" else "is no tool")

    def _say(
        self, agent: Agent, name: str, part: Part | None, text: str, *, stars: str = ""
    ) -> None:
        expression = part.expression if part else agent.call
        shown = f"`{stars}{self._label(expression)}` {text}" if part else f"it {text}"
        self._unresolved.append(Unresolved(expression.lineno, self._ids[agent], name, shown))

    def _say_what_is_lost(self) -> None:
        for amendment in self._reader.lost:
            target = amendment.target
            changed = target.name if isinstance(target, Attribute) else ""
            if isinstance(target, Unknown) and isinstance(target.expression, ast.Attribute):
                changed = target.expression.attr
            if changed == "handoffs":
                line, source = amendment.part.expression.lineno, amendment.part.expression
                text = f"`{self._label(source)}` is added to an agent that only a run knows"
                self._unresolved.append(Unresolved(line, None, changed, text))
        for expression in self._reader.unread:
            text = f"`{self._label(expression)}` is in a loop that is too long to be read"
            self._unresolved.append(Unresolved(expression.lineno, None, "agents", text))
        for of in self._reader.classes:
            if not of.agents and self._reader.agent_class(of):
                text = f"nothing here makes an agent of the class `{of.name}`"
                self._unresolved.append(Unresolved(of.line, None, "agents", text))

    def _bounded(self) -> tuple[Unresolved, ...]:
        found = sorted(dict.fromkeys(self._unresolved), key=lambda item: item.line)
        if len(found) > _MOST_UNRESOLVED:
            rest = f"... and {len(found) - _MOST_UNRESOLVED} more"
            last = found[_MOST_UNRESOLVED]
            found = [*found[:_MOST_UNRESOLVED], Unresolved(last.line, None, last.field, rest)]
        return tuple(found)

    def _tools(self) -> tuple[Tool, ...]:
        listed = [tool for tool in self._reader.tools.values() if tool.listed]
        listed.sort(key=lambda tool: tool.line)
        return tuple(
            Tool(
                name=self._tool_title(tool),
                line=tool.line,
                end_line=tool.end_line,
                description=cut(_clean(tool.description), 4 * _LONGEST_LABEL),
                kind=tool.kind,
                scope=tool.scope,
            )
            for tool in listed[:_MOST_TOOLS]
        )

    def _tool_title(self, tool: Tooling) -> str:
        if isinstance(tool, AgentTool):
            return self._tool_name(None, tool)
        return cut(_clean(tool.name or tool.kind), _LONGEST_LABEL)


def _node_ids(agents: list[Agent], name: Callable[[Agent], str | None]) -> dict[Agent, str]:
    """Give each agent an id; agents of top-level variables choose first."""
    ids: dict[Agent, str] = {}
    taken: set[str] = set()
    numbers: dict[str, int] = {}
    for agent in sorted(agents, key=lambda agent: not (agent.variable and not agent.scope)):
        named = _identifier(_snake(name(agent) or ""))
        hinted = _identifier(agent.hint)
        # agents of one loop share the variable
        base = (named or hinted if agent.in_loop else hinted or named) or "agent"
        wanted = base
        if base in taken and agent.scope:
            wanted = _identifier(f"{agent.scope}_{base}")
        while wanted in taken:
            number = numbers[base] = numbers.get(base, 1) + 1
            wanted = f"{base[: _LONGEST_ID - 8]}_{number}"
        taken.add(wanted)
        ids[agent] = wanted
    return ids


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name[: 4 * _LONGEST_ID]).lower()


def _identifier(text: str) -> str:
    """Turn a text into an ASCII identifier of at most 64 characters, "" where nothing is left."""
    plain = text if text.isascii() else unicodedata.normalize("NFKD", text[: 4 * _LONGEST_ID])
    words = re.sub(r"[^A-Za-z0-9_]+", "_", plain.encode("ascii", "ignore").decode())
    words = words if text.isidentifier() else words.strip("_")
    if not words.strip("_"):
        return words if words == text else ""
    return (f"agent_{words}" if words[0].isdigit() else words)[:_LONGEST_ID]


def _is_none(value: Value) -> bool:
    return isinstance(value, Const) and value.value is None


def _clean(text: str) -> str:
    # a literal may hold a lone surrogate, which neither JSON nor a database takes
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
