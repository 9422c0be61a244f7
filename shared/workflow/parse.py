"""What a workflow module defines, read from its syntax tree: agents, tools, handoffs."""

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field

from shared.workflow.model import Edge, Error, Node, Reference, Tool, Workflow, invalid

_FILENAME = "<workflow>"
_AGENTS = {"Agent", "RealtimeAgent", "SandboxAgent"}
_LONGEST_LABEL = 80
_MOST_REFERENCES = 10_000


@dataclass
class Module:
    """A parsed module: its tree, and its top level by name."""

    tree: ast.Module
    imports: dict[str, str] = field(default_factory=dict)
    values: dict[str, ast.expr] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef] = field(default_factory=dict)
    agents: list[tuple[str, ast.stmt, ast.Call]] = field(default_factory=list)
    amendments: dict[tuple[str, str], list[ast.stmt]] = field(default_factory=dict)
    references: list[Reference] = field(default_factory=list)
    labels: dict[int, str] = field(default_factory=dict)
    workflow: Workflow = field(default_factory=Workflow)

    def sdk_name(self, expression: ast.expr | None) -> str | None:
        """Return which name of the Agents SDK the expression stands for, if any."""
        path: list[str] = []
        while not isinstance(expression, ast.Name):
            match expression:
                case ast.Attribute(value=inner, attr=attr):
                    path.append(attr)
                    expression = inner
                case ast.Subscript(value=inner):
                    expression = inner
                case _:
                    return None
        path.append(self.imports.get(expression.id, ""))
        return path[0].rpartition(".")[2] if path[-1].split(".")[0] == "agents" else None

    def is_agent(self, value: ast.expr | None) -> bool:
        """Tell whether the expression makes an agent."""
        return isinstance(value, ast.Call) and self.sdk_name(value.func) in _AGENTS

    def is_tool(self, function: ast.stmt) -> bool:
        """Tell whether the statement defines a function that `function_tool` decorates."""
        return isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and any(
            self.sdk_name(item.func if isinstance(item, ast.Call) else item) == "function_tool"
            for item in function.decorator_list
        )

    def makes_tool(self, value: ast.expr) -> bool:
        """Tell whether the expression makes a tool: a hosted one, or an agent's `as_tool`."""
        if not isinstance(value, ast.Call):
            return False
        name = self.sdk_name(value.func) or ""
        as_tool = isinstance(value.func, ast.Attribute) and value.func.attr == "as_tool"
        return as_tool or name == "function_tool" or name.endswith("Tool")


def parse_workflow(code: str) -> Workflow:
    """Return what the module defines; raise InvalidWorkflow if it does not parse."""
    return read_module(code).workflow


def read_module(code: str) -> Module:
    """Parse a module and read its top level; raise InvalidWorkflow where it does not parse."""
    try:
        module = Module(_parse(code))
        _read_top_level(module)
        tools = _tools(module)
        nodes = tuple(_node(module, *agent) for agent in module.agents)
        edges = tuple(Edge(node.node_id, target) for node in nodes for target in node.handoffs)
        module.workflow = Workflow(nodes, tools, edges)
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


def amended_values(statement: ast.stmt) -> list[ast.expr]:
    """Return the lists that a statement which `amended` knows gives to the attribute."""
    match statement:
        case ast.Assign(value=value) | ast.AugAssign(value=value):
            return [value]
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr="extend"), args=args)):
            return args
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr="append" | "insert"), args=args)):
            return [ast.List(elts=args[-1:], ctx=ast.Load())]
        case _:
            return []


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
        names, value = assigned(statement)
        if amendment := amended(statement):
            module.amendments.setdefault(amendment, []).append(statement)
        match statement:
            case ast.Import(names=aliases):
                for alias in aliases:
                    root = alias.name.split(".")[0]
                    module.imports[alias.asname or root] = alias.name if alias.asname else root
            case ast.ImportFrom(module=source, names=aliases, level=0):
                _read_import(module, source or "", aliases)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                module.functions[name] = statement
                names = [name]
        for name in names:
            module.lines.setdefault(name, first_line(statement))
            if value is not None:
                module.values[name] = value
        if names and isinstance(value, ast.Call) and module.is_agent(value):
            module.agents.append((names[0], statement, value))


def _read_import(module: Module, source: str, aliases: list[ast.alias]) -> None:
    for alias in aliases:
        if alias.name != "*":
            module.imports[alias.asname or alias.name] = f"{source}.{alias.name}"
        elif source == "agents":
            for name in (*_AGENTS, "handoff", "function_tool"):
                module.imports.setdefault(name, f"agents.{name}")


def _tools(module: Module) -> tuple[Tool, ...]:
    tools = []
    for statement in module.tree.body:
        line, end = first_line(statement), statement.end_lineno or statement.lineno
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            if module.is_tool(statement):
                text = ast.get_docstring(statement) or ""
                tools.append(Tool(statement.name, line, end, _clean(text.split("\n\n")[0])))
            continue
        names, value = assigned(statement)
        if names and isinstance(value, ast.Call) and module.makes_tool(value):
            tools.append(Tool(names[0], line, end, _label(value.func)))
    return tuple(tools)


def _node(module: Module, node_id: str, statement: ast.stmt, call: ast.Call) -> Node:
    keywords = {item.arg: item.value for item in call.keywords if item.arg}
    name = keywords.get("name", call.args[0] if call.args else None)
    first = len(module.references)
    for kind in ("handoffs", "tools"):
        _refer(module, kind, node_id, [keywords[kind]] if kind in keywords else [])
    found = module.references[first:]
    return Node(
        node_id=node_id,
        name=literal(name) or node_id,
        line=first_line(statement),
        end_line=statement.end_lineno or statement.lineno,
        instructions=_text(module, keywords.get("instructions")),
        model=_text(module, keywords.get("model")),
        tools=_labels(found, "tool"),
        handoffs=_labels(found, "handoff"),
    )


def _labels(references: list[Reference], kind: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item.label for item in references if item.kind == kind))


def _refer(module: Module, kind: str, node_id: str, values: list[ast.expr]) -> None:
    for statement in module.amendments.get((node_id, kind), []):
        # `x.handoffs = [..]` replaces what stood before, everything else adds to it
        values = [] if isinstance(statement, ast.Assign) else values
        values = [*values, *amended_values(statement)]
    seen: set[str] = set()
    for value in values:
        for element in _elements(module, value, seen):
            target = _target(module, element)
            label = _module_label(module, target)
            module.references.append(Reference(kind[:-1], node_id, label, target))
        if len(module.references) > _MOST_REFERENCES:
            raise invalid([Error(1, "there are too many handoffs and tools")])


def _elements(module: Module, value: ast.expr, seen: set[str]) -> Iterator[ast.expr]:
    match value:
        case ast.List(elts=elements) | ast.Tuple(elts=elements) | ast.Set(elts=elements):
            for element in elements:
                if isinstance(element, ast.Starred):
                    yield from _elements(module, element.value, seen)
                else:
                    yield element
        case ast.BinOp(left=left, right=right):
            yield from _elements(module, left, seen)
            yield from _elements(module, right, seen)
        case ast.Name(id=name) if name not in seen:
            # each name once: lists that hold one another would grow without bound
            seen.add(name)
            if isinstance(module.values.get(name), ast.List | ast.Tuple | ast.BinOp):
                yield from _elements(module, module.values[name], seen)


def _target(module: Module, element: ast.expr) -> ast.expr:
    value = module.values.get(element.id) if isinstance(element, ast.Name) else element
    if not isinstance(value, ast.Call) or module.sdk_name(value.func) != "handoff":
        return element
    keywords = {item.arg: item.value for item in value.keywords}
    return value.args[0] if value.args else keywords.get("agent", element)


def literal(value: ast.expr | None) -> str | None:
    """Return the text of a string literal, else None."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return _clean(value.value)
    return None


def _text(module: Module, value: ast.expr | None) -> str | None:
    if value is None or (isinstance(value, ast.Constant) and value.value is None):
        return None
    known = module.values.get(value.id) if isinstance(value, ast.Name) else value
    return literal(known) if literal(known) is not None else _clean(ast.unparse(value))


def _module_label(module: Module, target: ast.expr) -> str:
    # kept: one long expression in a list that a thousand agents share is written out once
    if id(target) not in module.labels:
        label = _label(target.func if isinstance(target, ast.Call) else target)
        module.labels[id(target)] = label
    return module.labels[id(target)]


def _label(value: ast.expr) -> str:
    text = value.id if isinstance(value, ast.Name) else ast.unparse(value)
    return _clean(text if len(text) <= _LONGEST_LABEL else text[:_LONGEST_LABEL] + "...")


def _clean(text: str) -> str:
    # a literal may hold a lone surrogate, which neither JSON nor a database takes
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
