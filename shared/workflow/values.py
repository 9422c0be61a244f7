"""The values that expressions of a module may have, as far as its text tells.

A value that depends on code which is read later, or on a call, is a graph: `Resolver` follows it
once the whole module is read.
"""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from shared.workflow.model import Error, invalid

LIST_FIELDS = ("handoffs", "tools", "input_guardrails", "output_guardrails", "mcp_servers")
_MOST_STEPS = 500_000
_MOST_STEPS_OF_ONE = 5_000

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


class Value:
    """Any value; equal only to itself."""

    __slots__ = ()


@dataclass(eq=False, slots=True)
class Const(Value):
    """A literal."""

    value: object


@dataclass(eq=False, slots=True)
class Text(Value):
    """A string with computed parts, which stand in it as their source in braces."""

    text: str


@dataclass(eq=False, slots=True)
class Unknown(Value):
    """A value that only a run knows; `reason` says why, after the words of the source."""

    expression: ast.expr | None = None
    reason: str = "is computed when the program runs"


@dataclass(eq=False, slots=True)
class Imported(Value):
    """A name of another module, by its dotted path."""

    path: str

    @property
    def sdk_name(self) -> str:
        """Return the name in the Agents SDK, "" for a name from elsewhere."""
        return self.path.rpartition(".")[2] if self.path.startswith("agents.") else ""


@dataclass(eq=False, slots=True)
class Part:
    """One element or argument: its expression and its value.

    A `starred` value gives several, of a list the first `count` if that is a number; under a
    `condition` it may give none.
    """

    expression: ast.expr
    value: Value
    starred: bool = False
    condition: ast.expr | None = None
    count: int | None = None


@dataclass(eq=False, slots=True)
class Sequence(Value):
    """A list, a tuple or a set."""

    parts: list[Part] = field(default_factory=list)


def copied(expression: ast.expr, value: Value) -> Part:
    """Return the elements that a list has now, without those that are added later."""
    count = len(value.parts) if isinstance(value, Sequence) else None
    return Part(expression, value, starred=True, count=count)


@dataclass(eq=False, slots=True)
class Mapping(Value):
    """A dictionary; `rest` holds values under keys that are not known."""

    parts: dict[object, Part] = field(default_factory=dict)
    rest: list[Part] = field(default_factory=list)

    def values(self) -> Sequence:
        """Return all values."""
        return Sequence([*self.parts.values(), *self.rest])

    def update(self, other: "Mapping") -> None:
        """Add the elements of another one."""
        self.parts.update(other.parts)
        self.rest.extend(other.rest)


@dataclass(eq=False, slots=True)
class Choice(Value):
    """One of several values; more may be added until the module is read."""

    items: list[Value] = field(default_factory=list)


class Parameter(Choice):
    """A parameter of a function: the default and the arguments of all calls."""

    __slots__ = ()


@dataclass(eq=False, slots=True)
class Attribute(Value):
    """An attribute of a value that is not known yet."""

    base: Value
    name: str


@dataclass(eq=False, slots=True)
class Item(Value):
    """An element, by index or key, of a value that is not known yet."""

    base: Value
    key: Value


@dataclass(eq=False, slots=True)
class Each(Value):
    """Every element of a value, one at a time."""

    base: Value


@dataclass(eq=False, slots=True)
class Values(Value):
    """The values of a dictionary that is not known yet."""

    base: Value


@dataclass(eq=False, slots=True)
class Function(Value):
    """A function of the module; calls add to its parameters, returns to its result.

    `own` is the first argument of a method.
    """

    node: FunctionNode
    name: str
    parameters: dict[str, Parameter]
    names: tuple[str, ...] = ()
    result: Choice = field(default_factory=Choice)
    own: Value | None = None
    calls: list[dict[str, Value]] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Result(Value):
    """The result of one call of a function of the module."""

    function: Function
    given: dict[str, Value]


@dataclass(eq=False, slots=True)
class Class(Value):
    """A class of the module."""

    name: str
    line: int
    bases: list[Value]
    attributes: dict[str, Choice] = field(default_factory=dict)
    methods: dict[str, Function] = field(default_factory=dict)
    fields: list[str] = field(default_factory=list)
    agents: list["Agent"] = field(default_factory=list)

    def add(self, name: str, value: Value) -> None:
        """Note a value that an attribute may have."""
        self.attributes.setdefault(name, Choice()).items.append(value)


@dataclass(eq=False, slots=True)
class Instance(Value):
    """An object of a class of the module."""

    of: Class


@dataclass(eq=False, slots=True)
class Arguments:
    """The arguments of a call; `rest` are the `**x` that are not known."""

    positional: list[Part] = field(default_factory=list)
    keywords: dict[str, Part] = field(default_factory=dict)
    rest: list[Part] = field(default_factory=list)

    def get(self, name: str, position: int | None = None) -> Part | None:
        """Return the argument of that name or position."""
        if name in self.keywords or position is None or position >= len(self.positional):
            return self.keywords.get(name)
        return self.positional[position]

    def text(self, name: str, position: int | None = None) -> str | None:
        """Return the argument if it is a string literal."""
        part = self.get(name, position)
        value = part.value if part else None
        known = isinstance(value, Const) and isinstance(value.value, str)
        return str(value.value) if isinstance(value, Const) and known else None

    def named(self, names: Iterable[str]) -> dict[str, Part]:
        """Return all arguments by name, where the positional ones have these names."""
        return dict(zip(names, self.positional, strict=False)) | self.keywords


@dataclass(eq=False, slots=True)
class Partial(Value):
    """`functools.partial(function, ...)`."""

    function: Value
    given: Arguments


@dataclass(eq=False)
class Agent(Value):
    """The agent that one expression makes.

    Of a loop over known elements each iteration makes one; `repeated` stands for any number.
    """

    call: ast.Call
    kind: str
    scope: str
    statement: ast.stmt
    hint: str = ""
    variable: str | None = None
    cloned: Value | None = None
    of: Class | None = None
    in_loop: bool = False
    replaced: bool = False
    repeated: bool = False
    fields: dict[str, Part] = field(default_factory=dict)
    rest: list[Part] = field(default_factory=list)

    def elements(self, name: str) -> Sequence:
        """Return the list that the agent holds in that field, made where it has none."""
        part = self.fields.get(name)
        if part is None or not isinstance(part.value, Sequence):
            parts = [] if part is None else [Part(part.expression, part.value, starred=True)]
            self.fields[name] = part = Part(self.call, Sequence(parts))
        assert isinstance(part.value, Sequence)
        return part.value


@dataclass(eq=False, slots=True)
class HandsOff(Value):
    """`handoff(agent, ...)`."""

    target: Part


@dataclass(eq=False)
class Tooling(Value):
    """A tool: a function, or an object of one of the SDK's classes."""

    kind: str
    name: str
    line: int
    end_line: int
    scope: str
    description: str = ""
    listed: bool = False


@dataclass(eq=False)
class AgentTool(Tooling):
    """`agent.as_tool(...)`."""

    agent: Value = field(default_factory=Unknown)
    owner: ast.expr = field(default_factory=lambda: ast.Constant(None))
    tool_name: Part | None = None


LAZY = (Choice, Attribute, Item, Each, Values, Result)


class _EntangledError(Exception):
    """The search for the values of one expression takes too many steps."""


class Resolver:
    """Follows values to those that they may stand for, in a bounded number of steps."""

    def __init__(self) -> None:
        self.steps = 0
        self._last_step = 0
        self._open: set[int] = set()
        self.given: dict[int, Value] = {}
        """What parameters stand for while the changes of one call are applied, by their ids."""

    def leaves(self, value: Value) -> list[Value]:
        """Return the values that this one may stand for, each once."""
        if not isinstance(value, LAZY):
            return [value]
        if self._last_step:  # within another search
            return self._leaves(value)
        self._last_step = self.steps + _MOST_STEPS_OF_ONE
        try:
            return self._leaves(value)
        except _EntangledError:
            return [Unknown(reason="refers to too many others to be read")]
        finally:
            self._last_step = 0

    def _leaves(self, value: Value) -> list[Value]:
        found: list[Value] = []
        seen: set[int] = set()
        waiting: list[Value] = [value]
        while waiting:
            item = waiting.pop()
            if id(item) in seen:
                continue
            seen.add(id(item))
            self.step()
            if isinstance(item, LAZY):
                waiting.extend(self._follow(item)[::-1])
            else:
                found.append(item)
        return found

    def elements(self, part: Part) -> Iterator[Part]:
        """Yield the elements of a list, those of starred lists in their place.

        What is no list is yielded as a starred part.
        """
        seen: set[tuple[int, int | None]] = set()
        waiting = [Part(part.expression, part.value, starred=True)]
        while waiting:
            item = waiting.pop()
            self.step()
            if not item.starred:
                yield item
                continue
            for leaf in reversed(self.leaves(item.value) or [Unknown()]):
                if not isinstance(leaf, Sequence):
                    yield Part(item.expression, leaf, starred=True)
                elif (id(leaf), item.count) not in seen:
                    seen.add((id(leaf), item.count))
                    waiting.extend(reversed(leaf.parts[: item.count]))

    def attribute(self, value: Value, name: str) -> list[Value]:
        """Return the values that an attribute of a value, which is not lazy, may have."""
        match value:
            case Agent(fields=fields, of=of):
                found = [fields[name].value] if name in fields else []
                return found or (self.member(of, name) if of else []) or [Unknown()]
            case Instance(of=of):
                own = [agent.fields[name].value for agent in of.agents if name in agent.fields]
                return own or self.member(of, name) or [Unknown()]
            case Class():
                return self.member(value, name) or [Unknown()]
            case Imported(path=path):
                return [Imported(f"{path}.{name}")]
            case _:
                return [Unknown()]

    def member(self, of: Class, name: str) -> list[Value]:
        """Return the attribute or the method that a class has itself or from its bases."""
        waiting: list[Value] = [of]
        seen: set[int] = set()
        while waiting:
            item = waiting.pop()
            self.step()
            if not isinstance(item, Class) or id(item) in seen:
                continue
            seen.add(id(item))
            if name in item.attributes:
                return [item.attributes[name]]
            if name in item.methods:
                return [item.methods[name]]
            waiting.extend(reversed(item.bases))
        return []

    def items(self, value: Value, key: Value) -> list[Value]:
        """Return the elements of a value, which is not lazy, under a key."""
        return [item for leaf in self.leaves(key) for item in self._item(value, leaf)]

    def _item(self, value: Value, key: Value) -> list[Value]:
        self.step()
        index = key.value if isinstance(key, Const) else None
        match value:
            case Mapping(parts=parts) if index in parts:
                return [parts[index].value]
            case Sequence(parts=parts) if isinstance(index, int) and -len(parts) <= index < len(
                parts
            ):
                self.step(len(parts))
                starred = any(part.starred for part in parts)
                return [Unknown()] if starred else [parts[index].value]
            case _:
                return [Unknown()]

    def step(self, steps: int = 1) -> None:
        """Count steps; raise InvalidWorkflow when there are too many."""
        self.steps += steps
        if self._last_step and self.steps > self._last_step:
            raise _EntangledError
        if self.steps > _MOST_STEPS:
            raise invalid([Error(1, "there are too many lists and calls that refer to others")])

    def _follow(self, item: Value) -> list[Value]:
        if id(item) in self._open:  # a value that depends on itself
            return []
        self._open.add(id(item))
        try:
            match item:
                case Choice(items=items):
                    return [self.given[id(item)]] if id(item) in self.given else items
                case Result(function=function, given=given):
                    return _results(function, given)
                case Attribute(base=base, name=name):
                    return [v for leaf in self.leaves(base) for v in self.attribute(leaf, name)]
                case Item(base=base, key=key):
                    return [v for leaf in self.leaves(base) for v in self.items(leaf, key)]
                case Each(base=base):
                    return [v for leaf in self.leaves(base) for v in _each(leaf)]
                case Values(base=base):
                    leaves = self.leaves(base)
                    return [m.values() if isinstance(m, Mapping) else Unknown() for m in leaves]
                case _:
                    return []
        finally:
            self._open.discard(id(item))


def _results(function: Function, given: dict[str, Value]) -> list[Value]:
    """Return the results of a call: a parameter that is returned is the argument."""
    names = {id(choice): name for name, choice in function.parameters.items()}
    return [given.get(names.get(id(item), ""), item) for item in function.result.items]


def _each(value: Value) -> list[Value]:
    match value:
        case Sequence(parts=parts):
            return [Each(part.value) if part.starred else part.value for part in parts]
        case Mapping(parts=parts):
            return [Const(key) for key in parts]
        case _:
            return [Unknown()]
