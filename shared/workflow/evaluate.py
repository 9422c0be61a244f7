"""Read a module statement by statement, as Python would run it, and keep what it makes.

Each statement is read once: functions after the code around them, loops over known elements once
for each element, branches from the same state and joined behind. Nothing is executed.
"""

import ast
import builtins
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, ClassVar, Literal

from shared.workflow.values import (
    LAZY,
    LIST_FIELDS,
    Agent,
    AgentTool,
    Arguments,
    Attribute,
    Choice,
    Class,
    Const,
    Each,
    Function,
    FunctionNode,
    HandsOff,
    Imported,
    Instance,
    Item,
    Mapping,
    Parameter,
    Part,
    Partial,
    Resolver,
    Result,
    Sequence,
    Text,
    Tooling,
    Unknown,
    Value,
    Values,
    copied,
)

AGENT_CLASSES = frozenset({"Agent", "RealtimeAgent", "SandboxAgent"})
_POSITIONAL = (
    "name",
    "handoff_description",
    "tools",
    "mcp_servers",
    "mcp_config",
    "instructions",
    "prompt",
    "handoffs",
)
_ONLY_OF_AGENTS = frozenset(
    {"instructions", "handoff_description", "output_type", "model", "tool_use_behavior"}
    | set(LIST_FIELDS)
)
_HANDOFFS = frozenset({"handoff", "realtime_handoff"})
_COPIES = frozenset({"dataclasses.replace", "copy.replace", "copy.copy", "copy.deepcopy"})
# of these calls the value is an argument, by its position
_SAME = {
    "typing.cast": 1,
    "asyncio.run": 0,
    "asyncio.create_task": 0,
    "textwrap.dedent": 0,
    "inspect.cleandoc": 0,
    "builtins.dict": 0,
}
_LISTS = frozenset({"list", "tuple", "set", "frozenset", "sorted", "reversed", "iter"})
_ADDING = frozenset({"append", "add", "insert", "extend"})
_MOST_UNROLLED = 50_000
_MOST_STEPS_OF_CHANGES = 200_000
_MOST_BASES = 100
_MOST_OF_ONE = 100
_LONGEST_RANGE = 100
_LONGEST_TEXT = 20_000

# how a statement goes on: with the next one, with the next iteration, out of the loop
_ON, _NEXT, _OUT = 0, 1, 2


class Source:
    """The text of a module, by the places of its expressions."""

    def __init__(self, code: str) -> None:
        text = code.replace("\r\n", "\n").replace("\r", "\n")
        self._lines = [line.encode("utf-8", "replace") for line in text.split("\n")]
        self.size = len(code)

    def of(self, node: ast.expr, limit: int = 80) -> str:
        """Return an expression as it is written, on one line, cut to that many characters."""
        last, end = node.end_lineno or node.lineno, node.end_col_offset or 0
        parts: list[bytes] = []
        rest = 4 * limit + 4
        for number in range(node.lineno, min(last, len(self._lines)) + 1):
            line = self._lines[number - 1]
            start = node.col_offset if number == node.lineno else 0
            parts.append(line[start : min(end if number == last else len(line), start + rest)])
            rest -= len(parts[-1]) + 1
            if rest <= 0:
                parts.append(b"...")
                break
        text = " ".join(b"\n".join(parts).decode("utf-8", "replace").split())
        return cut(text, limit)


def cut(text: str, limit: int) -> str:
    """Return the text, with "..." in place of characters beyond that number."""
    return text if len(text) <= limit else f"{text[: max(0, limit - 3)]}..."


@dataclass(eq=False)
class _Scope:
    """The names of a module, a function or a class."""

    name: str
    kind: Literal["module", "function", "class"]
    parent: "_Scope | None" = None
    owner: Class | None = None
    function: Function | None = None
    names: dict[str, Value] = field(default_factory=dict)
    journal: dict[str, Value | None] | None = None
    elsewhere: dict[str, "_Scope"] = field(default_factory=dict)

    def inner(self, name: str) -> str:
        """Return the qualified name of a function or class in this scope."""
        return f"{self.name}.{name}" if self.name else name


@dataclass(frozen=True)
class _Hint:
    statement: ast.stmt
    name: str = ""
    variable: str | None = None


@dataclass(frozen=True)
class Amendment:
    """A change of a value that was not known when it was read."""

    target: Value
    kind: Literal["extend", "set", "put"]
    part: Part
    function: Function | None = None
    key: object = None


class Reader:
    """The agents, tools, functions and classes of a module."""

    def __init__(self, tree: ast.Module, source: Source) -> None:
        self.resolver = Resolver()
        self.agents: dict[tuple[int, tuple[int, ...]], Agent] = {}
        self.tools: dict[tuple[int, tuple[int, ...]], Tooling] = {}
        self.classes: list[Class] = []
        self.lost: list[Amendment] = []
        self.unread: list[ast.expr] = []
        self._source = source
        self._functions: dict[int, Function] = {}
        self._amendments: list[Amendment] = []
        self._hints: dict[int, _Hint] = {}
        self._made: Counter[int] = Counter()
        self._later: deque[Callable[[], None]] = deque()
        self._module = self._scope = _Scope("", "module")
        self._statement: ast.stmt = ast.Pass()
        self._star = False
        self._loops = 0
        self._path: tuple[int, ...] = ()
        self._shared: set[str] = set()
        self._stored: dict[int, set[str]] = {}
        self._read = 0
        self._most_read = _MOST_UNROLLED + source.size
        self._look_ahead(tree)
        self._block(tree.body)
        while self._later:
            self._later.popleft()()
        self._settle()

    def _look_ahead(self, tree: ast.Module) -> None:
        """Note the names of `global` statements, and those that each loop binds."""
        waiting: list[tuple[ast.AST, list[set[str]]]] = [(tree, [])]
        while waiting:
            node, loops = waiting.pop()
            match node:
                case ast.Global(names=names) | ast.Nonlocal(names=names):
                    self._shared.update(names)
                case ast.Name(id=name, ctx=ast.Store()):
                    for loop in loops:
                        loop.add(name)
                case ast.For() | ast.AsyncFor() | ast.While():
                    loops = [*loops, self._stored.setdefault(id(node), set())]
                case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                    loops = []
            # outside of loops statements alone matter
            parts = ast.iter_child_nodes(node) if loops else _statements(node)
            waiting.extend((part, loops) for part in parts)

    # --- statements ---------------------------------------------------------------------------

    def _block(self, statements: Iterable[ast.stmt]) -> int:
        flow = _ON
        for statement in statements:
            self._read += 1
            outer, self._statement = self._statement, statement
            handler = self._STATEMENTS.get(type(statement))
            if handler:
                flow = max(flow, handler(self, statement) or _ON)
            else:
                self._children(statement)
            self._statement = outer
            # code behind a `return` may hold agents all the same
            if flow and self._path:
                break
        return flow

    def _children(self, node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self._value(child)
            elif not isinstance(child, ast.expr_context | ast.operator | ast.stmt):
                self._children(child)

    def _branches(self, bodies: Iterable[Iterable[ast.stmt]], *, or_none: bool = False) -> int:
        """Read each body from the same state; behind them, names have the values of any."""
        scope, outer = self._scope, self._scope.journal
        names: dict[str, list[Value]] = {}
        flows, going = [_ON] if or_none else [], int(or_none)
        for body in bodies:
            scope.journal = {}
            flow = self._block(body)
            flows.append(flow)
            for name, before in scope.journal.items():
                if flow == _ON and name in scope.names:
                    names.setdefault(name, []).append(scope.names[name])
                if before is None:
                    scope.names.pop(name, None)
                else:
                    scope.names[name] = before
            going += flow == _ON
        scope.journal = outer
        for name, values in names.items():
            before = scope.names.get(name)
            rest = [before] if before is not None and len(values) < going else []
            self._bind(name, _join([*rest, *values]))
        return min(flows, default=_ON)

    def _if(self, node: ast.If) -> int:
        bodies: list[list[ast.stmt]] = []
        while True:
            truth = self._truth(node.test) if self._path else None
            if not self._path:
                self._value(node.test)
            if truth is True and not bodies:
                return self._block(node.body)
            if truth is not False:
                bodies.append(node.body)
            if truth is True:
                return self._branches(bodies)
            if len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If):
                node = node.orelse[0]
            elif not bodies:
                return self._block(node.orelse)
            else:
                return self._branches([*bodies, node.orelse])

    def _for(self, node: ast.For | ast.AsyncFor) -> int:
        iterable = self._value(node.iter)
        parts = self._known(iterable)
        if not parts or self._read > self._most_read:
            self._assign(node.target, _any(iterable, node.iter, node.target), node.iter)
            self._any_times(node)
            return self._block(node.orelse)
        path = self._path
        for part in self._each(parts, node.iter):
            self._assign(node.target, part.value, part.expression)
            if self._block(node.body) == _OUT:
                break
        self._path = path
        return self._block(node.orelse)

    def _while(self, node: ast.While) -> int:
        self._value(node.test)
        self._any_times(node)
        return self._block(node.orelse)

    def _any_times(self, node: ast.For | ast.AsyncFor | ast.While) -> None:
        """Read a loop's body once for all iterations: names have values of earlier ones, too."""
        carried: dict[str, Choice] = {}
        for name in self._stored[id(node)] - self._shared:
            if (before := self._scope.names.get(name)) is not None:
                carried[name] = Choice([before])
        for name, choice in carried.items():
            self._bind(name, choice)
        self._loops += 1
        self._branches([node.body], or_none=True)
        self._loops -= 1
        for name, choice in carried.items():
            if (after := self._scope.names.get(name)) is not None:
                choice.items.append(after)

    def _each(self, parts: list[Part], expression: ast.expr) -> Iterator[Part]:
        """Yield the elements of a loop, as long as the module has not been read too often."""
        path = self._path
        for index, part in enumerate(parts):
            if index and self._read > self._most_read:
                self.unread.append(expression)
                return
            self._path = (*path, index)
            yield part

    def _known(self, iterable: Value) -> list[Part] | None:
        """Return the elements of a value that one can iterate over, None if they are not known."""
        if isinstance(iterable, Mapping) and not iterable.rest:
            self.resolver.step(len(iterable.parts))
            return [Part(p.expression, Const(key)) for key, p in iterable.parts.items()]
        if not isinstance(iterable, Sequence):
            return None
        found: list[Part] = []
        for part in iterable.parts:
            inner = self._known(part.value) if part.starred else [part]
            inner = inner if inner is None else inner[: part.count]
            self.resolver.step()
            if inner is None or part.condition:
                return None
            found.extend(inner)
        return found

    def _try(self, node: Any) -> int:
        flow = self._branches([[*node.body, *node.orelse], *(h.body for h in node.handlers)])
        for handler in node.handlers:
            if handler.type:
                self._value(handler.type)
        return max(flow, self._block(node.finalbody))

    def _with(self, node: ast.With | ast.AsyncWith) -> int:
        for item in node.items:
            if item.optional_vars:
                self._hint(item.optional_vars, item.context_expr)
            value = self._value(item.context_expr)
            if item.optional_vars:
                self._assign(item.optional_vars, value, item.context_expr)
        return self._block(node.body)

    def _match(self, node: ast.Match) -> int:
        self._value(node.subject)
        for case in node.cases:
            for item in ast.walk(case.pattern):
                name = getattr(item, "name", None) or getattr(item, "rest", None)
                if isinstance(name, str):
                    self._bind(name, Unknown())
            if case.guard:
                self._value(case.guard)
        return self._branches([case.body for case in node.cases], or_none=True)

    def _import(self, node: ast.Import) -> None:
        for alias in node.names:
            root = alias.name.split(".")[0]
            self._bind(alias.asname or root, Imported(alias.name if alias.asname else root))

    def _import_from(self, node: ast.ImportFrom) -> None:
        source = "." * node.level + (node.module or "")
        for alias in node.names:
            if alias.name == "*":
                self._star = self._star or source == "agents"
            else:
                self._bind(alias.asname or alias.name, Imported(f"{source}.{alias.name}"))

    def _elsewhere(self, node: ast.Global | ast.Nonlocal) -> None:
        for name in node.names:
            scope: _Scope | None = self._module
            if isinstance(node, ast.Nonlocal):
                scope = self._scope.parent
                while scope and name not in scope.names:
                    scope = scope.parent
            self._scope.elsewhere[name] = scope or self._module

    def _define(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        decorators = [self._value(item) for item in node.decorator_list]
        function = self._function(node, node.name, node.body)
        value: Value = function
        for decorator in decorators:
            given = decorator.given if isinstance(decorator, Partial) else Arguments()
            maker = decorator.function if isinstance(decorator, Partial) else decorator
            if isinstance(maker, Imported) and maker.sdk_name == "function_tool":
                value = self._function_tool(node, function, given)
        names = {d.path for d in decorators if isinstance(d, Imported)}
        owner = self._scope.owner if self._scope.kind == "class" else None
        if owner is not None:
            self._method(owner, function, names)
        if names & {"builtins.property", "functools.cached_property"}:
            value = function.result
            function.calls.append({})
        self._bind(node.name, value)

    def _method(self, owner: Class, function: Function, decorators: set[str]) -> None:
        owner.methods[function.name] = function
        if "builtins.staticmethod" in decorators or not function.parameters:
            return
        function.own = owner if "builtins.classmethod" in decorators else Instance(owner)

    def _function(self, node: FunctionNode, name: str, body: list[ast.stmt] | ast.expr) -> Function:
        given = node.args
        if id(node) in self._functions:
            return self._functions[id(node)]
        positional = [*given.posonlyargs, *given.args]
        parameters = {item.arg: Parameter() for item in (*positional, *given.kwonlyargs)}
        pairs = zip(reversed(positional), reversed(given.defaults), strict=False)
        for argument, default in (*pairs, *zip(given.kwonlyargs, given.kw_defaults, strict=True)):
            if default is not None:
                parameters[argument.arg].items.append(self._value(default))
        function = Function(node, name, parameters, tuple(parameters))
        self._functions[id(node)] = function
        scope = _Scope(
            self._scope.inner(name) if name else self._scope.name,
            "function",
            self._scope,
            self._scope.owner,
            function,
        )
        scope.names.update(parameters)
        for several in (given.vararg, given.kwarg):
            if several is not None:
                scope.names[several.arg] = Unknown(reason="is a parameter")
        self._later.append(lambda: self._body(scope, function, body))
        return function

    def _body(self, scope: _Scope, function: Function, body: list[ast.stmt] | ast.expr) -> None:
        self._scope, outer = scope, self._scope
        if function.own:
            scope.names[next(iter(function.parameters))] = function.own
        if isinstance(body, ast.expr):
            function.result.items.append(self._value(body))
        else:
            self._block(body)
        self._scope = outer

    def _class(self, node: ast.ClassDef) -> None:
        for item in (*node.decorator_list, *(keyword.value for keyword in node.keywords)):
            self._value(item)
        bases = [self._value(item) for item in node.bases]
        made = Class(node.name, node.lineno, bases)
        self.classes.append(made)
        self._bind(node.name, made)
        scope = _Scope(self._scope.inner(node.name), "class", self._scope, made)
        self._scope, outer = scope, self._scope
        self._block(node.body)
        self._scope = outer
        for name, value in scope.names.items():
            if not isinstance(value, Function):
                made.add(name, value)

    def _return(self, node: ast.Return) -> int:
        if node.value:
            self._hint(None, node.value)
            value = self._value(node.value)
            if self._scope.function:
                self._scope.function.result.items.append(value)
        return _OUT

    def _raise(self, node: ast.Raise) -> int:
        self._children(node)
        return _OUT

    def _expression(self, node: ast.Expr) -> None:
        self._hint(None, node.value)
        self._value(node.value)

    # --- assignments --------------------------------------------------------------------------

    def _assignment(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._hint(target, node.value)
        value = self._value(node.value)
        for target in node.targets:
            self._assign(target, value, node.value)

    def _annotated(self, node: ast.AnnAssign) -> None:
        if self._scope.kind == "class" and self._scope.owner and isinstance(node.target, ast.Name):
            self._scope.owner.fields.append(node.target.id)
        if node.value:
            self._hint(node.target, node.value)
            self._assign(node.target, self._value(node.value), node.value)

    def _augmented(self, node: ast.AugAssign) -> None:
        target, added = node.target, self._value(node.value)
        part = copied(node.value, added)
        if not isinstance(node.op, ast.Add):
            if isinstance(target, ast.Name):
                self._bind(target.id, Unknown(node.value))
            return
        if isinstance(target, ast.Attribute):
            self._extend(self._field(target), part)
            return
        if isinstance(target, ast.Name):
            before = self._lookup(target)
            if isinstance(before, Const | Text) or not isinstance(before, (Sequence, *LAZY)):
                self._bind(target.id, self._sum([(target, before), (node.value, added)]))
            else:
                self._extend(before, part)

    def _assign(self, target: ast.expr, value: Value, expression: ast.expr) -> None:
        match target:
            case ast.Name(id=name):
                if type(value) is Tooling and not value.listed and not self._path:
                    value.name, value.listed = value.name or name, True
                elif isinstance(value, AgentTool):
                    value.listed = True
                self._bind(name, value)
            case ast.Tuple(elts=targets) | ast.List(elts=targets):
                self._unpack(targets, value, expression)
            case ast.Starred(value=inner):
                self._assign(inner, Unknown(expression), expression)
            case ast.Attribute(value=base, attr=name):
                self._set(self._value(base), name, Part(expression, value))
            case ast.Subscript(value=base, slice=index):
                self._put(self._value(base), self._value(index), Part(expression, value))

    def _unpack(self, targets: list[ast.expr], value: Value, expression: ast.expr) -> None:
        parts = self._known(value) if isinstance(value, Sequence) else None
        star = next((i for i, t in enumerate(targets) if isinstance(t, ast.Starred)), None)
        for index, target in enumerate(targets):
            if star is not None and index >= star:
                rest = len(targets) - star - 1
                if parts is None:
                    self._assign(target, Unknown(expression), expression)
                elif index == star and isinstance(target, ast.Starred):
                    middle = Sequence(parts[star : len(parts) - rest])
                    self._assign(target.value, middle, expression)
                else:
                    part = parts[index - len(targets) :][:1]
                    self._assign(target, part[0].value if part else Unknown(), expression)
            elif parts is not None and index < len(parts):
                self._assign(target, parts[index].value, parts[index].expression)
            else:
                self._assign(target, self._item(value, Const(index)), expression)

    def _set(self, base: Value, name: str, part: Part) -> None:
        match base:
            case Agent(fields=fields):
                before = fields.get(name)
                if before and (self._scope.journal is not None or base.scope != self._scope.name):
                    part = Part(part.expression, Choice([before.value, part.value]))
                fields[name] = part
            case Instance(of=of) | (Class() as of):
                of.add(name, part.value)
            case _ if isinstance(base, LAZY):
                self._later_change(Attribute(base, name), "set", part)

    def _put(self, base: Value, index: Value, part: Part) -> None:
        key = index.value if isinstance(index, Const) else None
        match base:
            case Mapping(parts=parts, rest=rest):
                if key is None:
                    rest.append(part)
                elif key in parts and self._scope.journal is not None:
                    parts[key] = Part(part.expression, Choice([parts[key].value, part.value]))
                else:
                    parts[key] = part
            case Sequence(parts=elements):
                elements.append(part)
            case _ if isinstance(base, LAZY):
                self._later_change(base, "put", part, key)

    def _extend(self, target: Value, part: Part) -> None:
        if isinstance(target, Sequence):
            target.parts.append(part)
        elif isinstance(target, LAZY):
            self._later_change(target, "extend", part)
        elif isinstance(target, Unknown) and isinstance(target.expression, ast.Attribute):
            self.lost.append(Amendment(target, "extend", part))

    def _later_change(
        self, target: Value, kind: Literal["extend", "set", "put"], part: Part, key: object = None
    ) -> None:
        change = Amendment(target, kind, part, self._scope.function, key)
        self._amendments.append(change)

    def _field(self, node: ast.Attribute) -> Value:
        """Return the list that an attribute holds, to change it."""
        base = self._value(node.value)
        if isinstance(base, Agent) and node.attr in LIST_FIELDS:
            return base.elements(node.attr)
        if isinstance(base, Imported | Unknown):
            return Unknown(node)
        return self._attribute(base, node.attr)

    def _hint(self, target: ast.expr | None, value: ast.expr) -> None:
        """Note under which name, and in which statement, the calls of a value stand."""
        match value:
            case ast.Await(value=inner) | ast.NamedExpr(value=inner):
                self._hint(target, inner)
            case ast.IfExp(body=body, orelse=orelse):
                self._hint(target, body)
                self._hint(target, orelse)
            case ast.BoolOp(values=values):
                for item in values:
                    self._hint(target, item)
            case ast.Tuple(elts=values) | ast.List(elts=values):
                if isinstance(target, ast.Tuple | ast.List) and len(values) == len(target.elts):
                    for name, item in zip(target.elts, values, strict=True):
                        self._hint(name, item)
            case ast.Call() if id(value) not in self._hints:
                self._hints[id(value)] = _named(target, self._statement)

    # --- names --------------------------------------------------------------------------------

    def _bind(self, name: str, value: Value) -> None:
        scope = self._scope.elsewhere.get(name, self._scope)
        if name in self._shared:
            cell = scope.names.get(name)
            if not isinstance(cell, Choice):
                cell = scope.names[name] = Choice([] if cell is None else [cell])
            if cell is not value:
                cell.items.append(value)
            return
        if scope.journal is not None:
            scope.journal.setdefault(name, scope.names.get(name))
        scope.names[name] = value

    def _lookup(self, node: ast.Name) -> Value:
        scope: _Scope | None = self._scope.elsewhere.get(node.id, self._scope)
        while scope is not None:
            if node.id in scope.names and (scope.kind != "class" or scope is self._scope):
                return scope.names[node.id]
            scope = scope.parent
        if hasattr(builtins, node.id):
            return Imported(f"builtins.{node.id}")
        return Imported(f"agents.{node.id}") if self._star else Unknown(node, "is not defined")

    # --- expressions --------------------------------------------------------------------------

    def _value(self, node: ast.expr) -> Value:
        self._read += 1
        handler = self._EXPRESSIONS.get(type(node))
        if handler:
            value: Value = handler(self, node)
            return value
        self._children(node)
        return Unknown(node)

    def _constant(self, node: ast.Constant) -> Value:
        return Const(node.value)

    def _list(self, node: ast.List | ast.Tuple | ast.Set) -> Value:
        return Sequence([self._part(item) for item in node.elts])

    def _part(self, node: ast.expr) -> Part:
        if isinstance(node, ast.Starred):
            return copied(node.value, self._value(node.value))
        return Part(node, self._value(node))

    def _dict(self, node: ast.Dict) -> Value:
        made = Mapping()
        for key, item in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                self._hints.setdefault(id(item), _Hint(self._statement, key.value))
            index = self._value(key) if key else None
            part = Part(item, self._value(item))
            if index is None and isinstance(part.value, Mapping):
                self.resolver.step(len(part.value.parts))
                made.update(part.value)
            else:
                self._put(made, index or Unknown(), part)
        return made

    def _named(self, node: ast.NamedExpr) -> Value:
        self._hint(node.target, node.value)
        value = self._value(node.value)
        self._assign(node.target, value, node.value)
        return value

    def _await(self, node: ast.Await | ast.FormattedValue) -> Value:
        return self._value(node.value)

    def _yield(self, node: ast.Yield) -> Value:
        if node.value:
            self._hint(None, node.value)
            value = self._value(node.value)
            if self._scope.function:
                self._scope.function.result.items.append(value)
        return Unknown(node)

    def _if_else(self, node: ast.IfExp) -> Value:
        truth = self._truth(node.test) if self._path else None
        if truth is not None:
            return self._value(node.body if truth else node.orelse)
        self._value(node.test)
        return _join([self._value(node.body), self._value(node.orelse)])

    def _bool_op(self, node: ast.BoolOp) -> Value:
        return _join([self._value(item) for item in node.values])

    def _joined(self, node: ast.JoinedStr) -> Value:
        parts: list[str] = []
        known = True
        for item in node.values:
            value = self._value(item)
            plain = not isinstance(item, ast.FormattedValue) or (
                item.conversion == -1 and not item.format_spec
            )
            if isinstance(value, Const) and plain:
                parts.append(str(value.value))
            elif isinstance(value, Text) and plain:
                parts.append(value.text)
                known = False
            else:
                inner = item.value if isinstance(item, ast.FormattedValue) else item
                parts.append(f"{{{self._source.of(inner)}}}")
                known = False
        text = cut("".join(parts), _LONGEST_TEXT)
        return Const(text) if known else Text(text)

    def _binary(self, node: ast.BinOp) -> Value:
        if not isinstance(node.op, ast.Add):
            values = [self._value(node.left), self._value(node.right)]
            if isinstance(node.op, ast.BitOr) and all(isinstance(v, Mapping) for v in values):
                merged = Mapping()
                for value in values:
                    assert isinstance(value, Mapping)
                    self.resolver.step(len(value.parts))
                    merged.update(value)
                return merged
            if isinstance(node.op, ast.Mult) and isinstance(values[0], Sequence):
                return Sequence([copied(node.left, values[0])])
            return Unknown(node)
        operands: list[ast.expr] = []
        left: ast.expr = node
        while isinstance(left, ast.BinOp) and isinstance(left.op, ast.Add):
            operands.append(left.right)
            left = left.left
        return self._sum([(item, self._value(item)) for item in (left, *reversed(operands))])

    def _sum(self, operands: list[tuple[ast.expr, Value]]) -> Value:
        values = [value for _, value in operands]
        if any(isinstance(v, Text) or _is_string(v) for v in values):
            parts = [
                str(v.value)
                if isinstance(v, Const)
                else v.text
                if isinstance(v, Text)
                else f"{{{self._source.of(item)}}}"
                for item, v in operands
            ]
            text = cut("".join(parts), _LONGEST_TEXT)
            return Const(text) if all(map(_is_string, values)) else Text(text)
        if any(isinstance(v, (Sequence, *LAZY)) for v in values):
            return Sequence([copied(item, v) for item, v in operands])
        return Unknown(operands[0][0])

    def _get_attribute(self, node: ast.Attribute) -> Value:
        base = self._value(node.value)
        if isinstance(base, Unknown):
            return Unknown(node, base.reason)
        return self._attribute(base, node.attr)

    def _attribute(self, base: Value, name: str) -> Value:
        if isinstance(base, Agent) and name in LIST_FIELDS:
            return base.elements(name)
        # the methods of a class are read later than its objects are used
        if isinstance(base, (Instance, *LAZY)):
            return Attribute(base, name)
        return _join(self.resolver.attribute(base, name))

    def _subscript(self, node: ast.Subscript) -> Value:
        base = self._value(node.value)
        if isinstance(base, Imported | Class):  # Agent[Context]
            return base
        if isinstance(node.slice, ast.Slice):
            self._children(node.slice)
            return self._slice(base, node)
        index = self._value(node.slice)
        if isinstance(base, Unknown):
            return Unknown(node, base.reason)
        return self._item(base, index)

    def _slice(self, base: Value, node: ast.Subscript) -> Value:
        parts = self._known(base) if isinstance(base, Sequence) else None
        assert isinstance(node.slice, ast.Slice)
        ends: list[int | None] = []
        for end in (node.slice.lower, node.slice.upper):
            value = getattr(end, "value", None)
            if end is not None and not (isinstance(end, ast.Constant) and isinstance(value, int)):
                return Unknown(node)
            ends.append(value if isinstance(value, int) else None)
        if parts is None or node.slice.step:
            return Unknown(node)
        return Sequence(parts[ends[0] : ends[1]])

    def _item(self, base: Value, key: Value) -> Value:
        if isinstance(base, LAZY) or isinstance(key, LAZY):
            return Item(base, key)
        return _join(self.resolver.items(base, key))

    def _lambda(self, node: ast.Lambda) -> Value:
        return self._function(node, "", node.body)

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp) -> Value:
        made = Sequence()

        def add(condition: ast.expr | None) -> None:
            made.parts.append(Part(node.elt, self._value(node.elt), condition=condition))

        self._generate(node.generators, add)
        return made

    def _dict_comprehension(self, node: ast.DictComp) -> Value:
        made = Mapping()

        def put(condition: ast.expr | None) -> None:
            key = self._value(node.key)
            self._put(made, key, Part(node.value, self._value(node.value), condition=condition))

        self._generate(node.generators, put)
        return made

    def _generate(
        self,
        generators: list[ast.comprehension],
        make: Callable[[ast.expr | None], None],
    ) -> None:
        """Call `make` for each element, with the condition under which there is one."""

        def generate(depth: int, iterable: Value, condition: ast.expr | None) -> None:
            generator = generators[depth]
            parts = self._known(iterable)
            if parts and self._read <= self._most_read:
                path = self._path
                for part in self._each(parts, generator.iter):
                    element(depth, part, condition)
                self._path = path
            else:
                self._loops += 1
                each = _any(iterable, generator.iter, generator.target)
                element(depth, Part(generator.iter, each), condition)
                self._loops -= 1

        def element(depth: int, part: Part, condition: ast.expr | None) -> None:
            generator = generators[depth]
            self._assign(generator.target, part.value, part.expression)
            truths = [self._truth(item) for item in generator.ifs]
            if False in truths:
                return
            open_ = [i for i, t in zip(generator.ifs, truths, strict=True) if t is None]
            stated = condition or next(iter(open_), None)
            if depth + 1 < len(generators):
                generate(depth + 1, self._value(generators[depth + 1].iter), stated)
            else:
                make(stated)

        outer = self._scope
        first = self._value(generators[0].iter)
        self._scope = _Scope(outer.name, "function", outer, outer.owner, outer.function)
        generate(0, first, None)
        self._scope = outer

    def _truth(self, node: ast.expr) -> bool | None:
        """Tell whether a condition holds, None where only a run knows."""
        match node:
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                truth = self._truth(operand)
                return None if truth is None else not truth
            case ast.BoolOp(op=op, values=values):
                truths = [self._truth(item) for item in values]
                decisive = isinstance(op, ast.Or)
                if decisive in truths:
                    return decisive
                return None if None in truths else not decisive
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return _compared(self._value(left), op, self._value(right))
            case _:
                value = self._value(node)
                if isinstance(value, Const):
                    return bool(value.value)
                return True if isinstance(value, Agent | Function | Class | Tooling) else None

    # --- calls --------------------------------------------------------------------------------

    def _call(self, node: ast.Call) -> Value:
        if isinstance(node.func, ast.Attribute):
            return self._method_call(node, node.func)
        return self._called(node, self._value(node.func), self._arguments(node))

    def _arguments(self, node: ast.Call) -> Arguments:
        given = Arguments([self._part(item) for item in node.args])
        for keyword in node.keywords:
            part = Part(keyword.value, self._value(keyword.value))
            if keyword.arg:
                given.keywords[keyword.arg] = part
            elif isinstance(part.value, Mapping) and not part.value.rest:
                self.resolver.step(len(part.value.parts))
                items = part.value.parts.items()
                given.keywords.update({key: item for key, item in items if isinstance(key, str)})
            else:
                given.rest.append(part)
        return given

    def _method_call(self, node: ast.Call, func: ast.Attribute) -> Value:
        name = func.attr
        if name in _ADDING and isinstance(func.value, ast.Attribute):
            base = self._field(func.value)
        else:
            base = self._value(func.value)
        given = self._arguments(node)
        if name == "as_tool" and not isinstance(base, Const | Text | Sequence | Mapping):
            return self._as_tool(node, base, given)
        if name == "clone" and not given.positional:
            return self._clone(node, base, given)
        if name == "__init__" and self._scope.owner and _is_super(func.value):
            return self._super_init(self._scope.owner, given)
        if isinstance(base, Const | Text):
            return _stripped(node, base, name)
        if isinstance(base, (Sequence, Mapping, Unknown, *LAZY)):
            found = self._container_method(node, base, name, given.positional)
            return Unknown(node) if found is None else found
        if isinstance(base, Instance):
            members = self.resolver.member(base.of, name)
            return self._called(node, _join(members) if members else Unknown(), given)
        return self._called(node, self._attribute(base, name), given)

    def _container_method(
        self, node: ast.Call, base: Value, name: str, given: list[Part]
    ) -> Value | None:
        if isinstance(base, Mapping) and name in ("values", "items", "update"):
            self.resolver.step(len(base.parts) + len(base.rest))
        match name, given:
            case (("append" | "add" | "insert"), [*_, part]):
                self._extend(base, part)
            case "extend", [part]:
                self._extend(base, copied(part.expression, part.value))
            case "values", []:
                return base.values() if isinstance(base, Mapping) else Values(base)
            case "items", [] if isinstance(base, Mapping) and not base.rest:
                pairs = [(Part(node, Const(key)), part) for key, part in base.parts.items()]
                return Sequence([Part(part.expression, Sequence([k, part])) for k, part in pairs])
            case (("get" | "pop"), [key, *_]):
                return self._item(base, key.value)
            case "setdefault", [key, part]:
                self._put(base, key.value, part)
                return part.value
            case "update", [Part(value=Mapping() as more)] if isinstance(base, Mapping):
                base.update(more)
            case "copy", []:
                return Sequence([copied(node, base)])
            case _:
                return None
        return Const(None)

    def _called(self, node: ast.Call, function: Value, given: Arguments) -> Value:
        match _callable(function):
            case Partial(function=inner, given=first):
                positional = [*first.positional, *given.positional]
                keywords = first.keywords | given.keywords
                rest = [*first.rest, *given.rest]
                return self._called(node, inner, Arguments(positional, keywords, rest))
            case Imported(path=path) as imported:
                name = imported.sdk_name
                if name:
                    return self._sdk_call(node, name, given)
                return self._library_call(node, path, given)
            case Function() as known:
                return Result(known, self._enter(known, given))
            case Class() as of:
                return self._make(node, of, given)
            case _:
                return Unknown(node)

    @staticmethod
    def _enter(function: Function, given: Arguments) -> dict[str, Value]:
        """Give a function's parameters the arguments of a call; return them by name."""
        names = islice(function.names, bool(function.own), None)
        found = {
            name: part.value
            for name, part in given.named(names).items()
            if name in function.parameters and not part.starred
        }
        for name, value in found.items():
            function.parameters[name].items.append(value)
        function.calls.append(found)
        return found

    def _make(self, node: ast.Call, of: Class, given: Arguments) -> Value:
        initials = self.resolver.member(of, "__init__")
        if initials and isinstance(initials[0], Function):
            self._enter(initials[0], given)
            given = Arguments([], given.keywords, given.rest)
        else:
            for name, part in given.named(of.fields).items():
                of.add(name, part.value)
        kind = self.agent_class(of)
        if kind is None:
            return Instance(of)
        agent = self._agent(node, kind, given)
        if agent.of is None:
            agent.of = of
            of.agents.append(agent)
        return agent

    def _super_init(self, owner: Class, given: Arguments) -> Value:
        for base in owner.bases:
            found = self.resolver.member(base, "__init__") if isinstance(base, Class) else []
            if found and isinstance(found[0], Function):
                self._enter(found[0], given)
                return Const(None)
        for name, part in given.named(_POSITIONAL).items():
            owner.add(name, part.value)
        return Const(None)

    @staticmethod
    def agent_class(value: Value) -> str | None:
        """Return which of the SDK's agents a class is, or is derived from."""
        waiting, seen = [value], set[int]()
        while waiting and len(seen) < _MOST_BASES:
            item = waiting.pop()
            if id(item) in seen:
                continue
            seen.add(id(item))
            if isinstance(item, Imported) and item.sdk_name in AGENT_CLASSES:
                return item.sdk_name
            if isinstance(item, Class):
                waiting.extend(item.bases)
            elif isinstance(item, Choice):
                waiting.extend(item.items)
        return None

    def _sdk_call(self, node: ast.Call, name: str, given: Arguments) -> Value:
        if name in AGENT_CLASSES:
            return self._agent(node, name, given)
        if name in _HANDOFFS:
            target = given.get("agent", 0)
            return HandsOff(target) if target else Unknown(node)
        if name == "function_tool":
            function = given.get("func", 0)
            if function is None:
                return Partial(Imported("agents.function_tool"), given)
            return self._function_tool(node, function.value, given)
        if name == "tool_namespace":
            tools = given.get("tools")
            return tools.value if tools else Unknown(node)
        if name == "prompt_with_handoff_instructions" and given.positional:
            part = given.positional[0]
            prefix = Text("{RECOMMENDED_PROMPT_PREFIX}\n\n")
            return self._sum([(node.func, prefix), (part.expression, part.value)])
        if name.endswith(("Tool", "_tool")):
            return self._tool(node, name, given)
        return Unknown(node)

    def _library_call(self, node: ast.Call, path: str, given: Arguments) -> Value:
        name = path.removeprefix("builtins.")
        first = next(iter(given.positional), None)
        if name in ("enumerate", "zip"):
            return self._zipped(node, name, given.positional)
        if name == "dict" and first is None:
            return Mapping(dict(given.keywords.items()))
        if first is None:
            return Sequence() if name in _LISTS else Unknown(node)
        if path in _COPIES:
            return self._clone(node, first.value, given, copy=True)
        if path == "functools.partial":
            rest = Arguments(given.positional[1:], given.keywords, given.rest)
            return Partial(first.value, rest)
        if path == "asyncio.gather":
            return Sequence(given.positional)
        if path in _SAME and len(given.positional) > _SAME[path]:
            return given.positional[_SAME[path]].value
        if name in _LISTS:
            return Sequence([copied(first.expression, first.value)])
        if name == "range" and isinstance(first.value, Const) and len(given.positional) == 1:
            count = first.value.value
            if isinstance(count, int) and 0 < count <= _LONGEST_RANGE:
                return Sequence([Part(node, Const(index)) for index in range(count)])
        return Unknown(node)

    def _zipped(self, node: ast.Call, name: str, given: list[Part]) -> Value:
        known = [self._known(part.value) for part in given]
        columns = [column for column in known if column is not None]
        if not columns or len(columns) < len(known):
            return Unknown(node)
        self.resolver.step(3 * len(columns[0]))
        if name == "enumerate":
            columns = [[Part(node, Const(index)) for index in range(len(columns[0]))], columns[0]]
        rows = zip(*columns, strict=False)
        return Sequence([Part(node, Sequence(list(row))) for row in rows])

    # --- agents and tools ---------------------------------------------------------------------

    def _agent(self, node: ast.Call, kind: str, given: Arguments) -> Agent:
        hint = self._hints.get(id(node), _Hint(self._statement))
        self._made[id(node)] += 1
        if self._made[id(node)] > _MOST_OF_ONE:
            return self.agents[id(node), ()]
        many = self._made[id(node)] == _MOST_OF_ONE
        if many:
            self.unread.append(node)
        key = (id(node), () if many else self._path)
        agent = self.agents[key] = Agent(
            node,
            kind,
            self._scope.name,
            hint.statement,
            hint=hint.name,
            variable=hint.variable,
            in_loop=bool(self._path),
            repeated=many or self._loops > 0,
            fields=given.named(_POSITIONAL),
            rest=given.rest,
        )
        return agent

    def _clone(self, node: ast.Call, base: Value, given: Arguments, *, copy: bool = False) -> Value:
        """Make an agent of `x.clone(...)`, or of `replace(x, ...)` if `x` is known to be one."""
        keywords = given.keywords
        if isinstance(base, Agent):
            if isinstance(node.func, ast.Attribute) and node.func.value is base.call:
                self.agents.pop(
                    (id(base.call), self._path), None
                )  # `Agent(...).clone(...)` is one agent
            for name in LIST_FIELDS:
                if name not in keywords:
                    base.elements(name)
            inherited = Arguments([], base.fields | keywords, given.rest)
            agent = self._agent(node, base.kind, inherited)
            agent.cloned, agent.of = base.cloned, base.of
            return agent
        unknown = isinstance(base, Unknown | Imported) and not copy
        if (unknown and _ONLY_OF_AGENTS & keywords.keys()) or isinstance(base, LAZY):
            agent = self._agent(node, "Agent", Arguments([], keywords, given.rest))
            agent.cloned = base
            return agent
        return Unknown(node)

    def _as_tool(self, node: ast.Call, base: Value, given: Arguments) -> Value:
        assert isinstance(node.func, ast.Attribute)
        made = AgentTool(
            "as_tool",
            "",
            *_lines(node),
            self._scope.name,
            given.text("tool_description", 1) or "",
            agent=base,
            owner=node.func.value,
            tool_name=given.get("tool_name", 0),
        )
        self.tools[id(node), self._path] = made
        return made

    def _tool(self, node: ast.Call, kind: str, given: Arguments) -> Value:
        config = given.get("tool_config")
        parts = config.value.parts if config and isinstance(config.value, Mapping) else {}
        label = parts["server_label"].value if "server_label" in parts else None
        name = given.text("name") or ""
        if isinstance(label, Const):
            name = f"{kind}({label.value})"
        made = Tooling(kind, name, *_lines(node), self._scope.name, kind)
        self.tools[id(node), self._path] = made
        return made

    def _function_tool(
        self, node: ast.Call | FunctionNode, function: Value, given: Arguments
    ) -> Value:
        known = function if isinstance(function, Function) else None
        about = given.text("description_override")
        if about is None and known and not isinstance(known.node, ast.Lambda):
            about = (ast.get_docstring(known.node) or "").split("\n\n")[0]
        made = self.tools[id(node), self._path] = Tooling(
            "function_tool",
            given.text("name_override") or (known.name if known else ""),
            *_lines(node),
            self._scope.name,
            about or "",
            listed=not isinstance(node, ast.Call),
        )
        return made

    @staticmethod
    def looks_like_agent(agent: Agent) -> bool:
        """Tell whether `x.clone(...)` of an unknown object has the arguments of an agent."""
        return bool(_ONLY_OF_AGENTS & agent.fields.keys())

    # --- the end ------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Apply the changes that waited for values, and say of parameters that none is given."""
        for function in self._functions.values():
            if not function.calls:
                for choice in [*function.parameters.values()][bool(function.own) :]:
                    choice.items.append(Unknown(reason="is a parameter"))
        most = self.resolver.steps + _MOST_STEPS_OF_CHANGES
        for amendment in self._amendments:
            if self.resolver.steps > most:
                self.lost.append(amendment)
                continue
            settled = [self._settled(each) for each in self._by_call(amendment)]
            if not any(settled):
                self.lost.append(amendment)
            self.resolver.given = {}

    def _by_call(self, amendment: Amendment) -> Iterator[Amendment]:
        """Yield a change once for each call of its function: the arguments belong together."""
        function, part = amendment.function, amendment.part
        if function is None or len(function.calls) < 2:  # noqa: PLR2004 - one call is the rule
            yield amendment
            return
        for given in function.calls:
            parameters = function.parameters
            self.resolver.given = {id(parameters[name]): given[name] for name in given}
            values = Choice(self.resolver.leaves(part.value))
            value = values.items[0] if len(values.items) == 1 else values
            yield replace(amendment, part=Part(part.expression, value, starred=part.starred))

    def _settled(self, amendment: Amendment) -> bool:
        """Apply a change to everything that it may be of; tell whether there is anything."""
        target, part, kind = amendment.target, amendment.part, amendment.kind
        done = False
        if isinstance(target, Attribute):
            for leaf in self.resolver.leaves(target.base):
                agents = leaf.of.agents if isinstance(leaf, Instance) else [leaf]
                for agent in agents:
                    if isinstance(agent, Agent):
                        self._amended(agent, target.name, amendment)
                        done = True
                if kind == "set" and isinstance(leaf, Instance | Class):
                    of = leaf.of if isinstance(leaf, Instance) else leaf
                    of.add(target.name, part.value)
                    done = True
        for leaf in [] if done or kind == "set" else self.resolver.leaves(target):
            if isinstance(leaf, Sequence):
                leaf.parts.append(part)
            elif isinstance(leaf, Mapping):
                self._put(leaf, Const(amendment.key), part)
            done = done or isinstance(leaf, Sequence | Mapping)
        return done

    @staticmethod
    def _amended(agent: Agent, name: str, amendment: Amendment) -> None:
        part = amendment.part
        if amendment.kind == "extend":
            agent.elements(name).parts.append(part)
        else:
            before = agent.fields.get(name)
            values = [before.value, part.value] if before else [part.value]
            agent.fields[name] = Part(part.expression, _join(values))

    _STATEMENTS: ClassVar[dict[type[ast.AST], Callable[["Reader", Any], int | None]]] = {
        ast.FunctionDef: _define,
        ast.AsyncFunctionDef: _define,
        ast.ClassDef: _class,
        ast.Return: _return,
        ast.Raise: _raise,
        ast.Break: lambda _reader, _node: _OUT,
        ast.Continue: lambda _reader, _node: _NEXT,
        ast.Assign: _assignment,
        ast.AnnAssign: _annotated,
        ast.AugAssign: _augmented,
        ast.For: _for,
        ast.AsyncFor: _for,
        ast.While: _while,
        ast.If: _if,
        ast.With: _with,
        ast.AsyncWith: _with,
        ast.Match: _match,
        ast.Try: _try,
        ast.TryStar: _try,
        ast.Import: _import,
        ast.ImportFrom: _import_from,
        ast.Global: _elsewhere,
        ast.Nonlocal: _elsewhere,
        ast.Expr: _expression,
    }
    _EXPRESSIONS: ClassVar[dict[type[ast.AST], Callable[["Reader", Any], Value]]] = {
        ast.Constant: _constant,
        ast.Name: _lookup,
        ast.Attribute: _get_attribute,
        ast.Subscript: _subscript,
        ast.Call: _call,
        ast.List: _list,
        ast.Tuple: _list,
        ast.Set: _list,
        ast.Dict: _dict,
        ast.NamedExpr: _named,
        ast.Await: _await,
        ast.FormattedValue: _await,
        ast.Yield: _yield,
        ast.IfExp: _if_else,
        ast.BoolOp: _bool_op,
        ast.JoinedStr: _joined,
        ast.BinOp: _binary,
        ast.Lambda: _lambda,
        ast.ListComp: _comprehension,
        ast.SetComp: _comprehension,
        ast.GeneratorExp: _comprehension,
        ast.DictComp: _dict_comprehension,
    }


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    for name in ("body", "orelse", "handlers", "cases", "finalbody"):
        found = getattr(node, name, None)
        if isinstance(found, list):
            yield from found


def _named(target: ast.expr | None, statement: ast.stmt) -> _Hint:
    match target:
        case ast.Name(id=name):
            return _Hint(statement, name, name)
        case ast.Attribute(attr=name):
            return _Hint(statement, name)
        case ast.Subscript(slice=ast.Constant(value=str(name))):
            return _Hint(statement, name)
        case _:
            return _Hint(statement)


def _any(iterable: Value, expression: ast.expr, target: ast.expr) -> Value:
    """Return the value of a loop's target for any iteration."""
    # the parts of a pair belong together, and neither is known
    return Each(iterable) if isinstance(target, ast.Name) else Unknown(expression)


def _join(values: list[Value]) -> Value:
    different = list({id(value): value for value in values}.values())
    return different[0] if len(different) == 1 else Choice(different)


def _callable(value: Value) -> Value | None:
    """Return the first known function or class among the values."""
    values = value.items[:10] if isinstance(value, Choice) else [value]
    known = (Partial, Imported, Function, Class)
    return next((item for item in values if isinstance(item, known)), None)


def _is_super(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"
    )


def _stripped(node: ast.Call, base: Const | Text, name: str) -> Value:
    text = base.value if isinstance(base, Const) else base.text
    if not isinstance(text, str) or name not in ("strip", "lstrip", "rstrip") or node.args:
        return Unknown(node)
    stripped = getattr(text, name)()
    return Const(stripped) if isinstance(base, Const) else Text(stripped)


def _lines(node: ast.Call | FunctionNode) -> tuple[int, int]:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(item.lineno for item in decorators)])
    return first, node.end_lineno or node.lineno


def _is_string(value: Value) -> bool:
    return isinstance(value, Const) and isinstance(value.value, str)


def _compared(left: Value, op: ast.cmpop, right: Value) -> bool | None:
    if isinstance(op, ast.In | ast.NotIn):
        if not isinstance(right, Sequence) or any(part.starred for part in right.parts):
            return None
        equal = [_equal(left, part.value) for part in right.parts]
        found = True if True in equal else None if None in equal else False
        return found if found is None or isinstance(op, ast.In) else not found
    equal_now = _equal(left, right)
    if equal_now is None or not isinstance(op, ast.Is | ast.IsNot | ast.Eq | ast.NotEq):
        return None
    return equal_now if isinstance(op, ast.Is | ast.Eq) else not equal_now


def _equal(left: Value, right: Value) -> bool | None:
    if isinstance(left, Const) and isinstance(right, Const):
        return left.value == right.value
    known = (Agent, Function, Class, Tooling, Const)
    if not isinstance(left, known) or not isinstance(right, known):
        return None
    repeated = isinstance(left, Agent) and left.repeated
    return None if left is right and repeated else left is right
