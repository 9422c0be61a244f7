"""The problems of a module in the words of a workflow: those of the type checker, and our own."""

import ast
import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from shared.workflow.model import Diagnostic
from shared.workflow.parse import Module
from shared.workflow.sdk import PACKAGE, exported_names
from shared.workflow.typecheck import Finding

_LONGEST_MESSAGE = 400
_LONGEST_NAME = 64
_MOST_HINTS = 20
_FOUND = re.compile(r"found `(.*)`\Z", re.DOTALL)
_QUOTED = re.compile(r"`([^`]*)`")
_LINE_END = re.compile(r"\r\n|\r|\n")
_ARGUMENT_RULES = {
    "missing-argument",
    "parameter-already-assigned",
    "positional-only-parameter-as-kwarg",
    "too-many-positional-arguments",
    "unknown-argument",
}
_MAKERS = {"handoff", "realtime_handoff", "function_tool"}
_LISTS = {"handoffs": "an agent", "tools": "a tool"}


@dataclass
class Facts:
    """A module's names, wherever they are bound; of a name that is bound twice the last value."""

    lines: list[str]
    nodes: list[ast.AST]
    imports: dict[str, str] = field(default_factory=dict)
    functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef] = field(default_factory=dict)
    values: dict[str, ast.expr] = field(default_factory=dict)
    arguments: dict[tuple[int, int], tuple[ast.Call, str, ast.expr]] = field(default_factory=dict)
    first_bound: dict[str, int] = field(default_factory=dict)
    amended: dict[int, tuple[str, ast.expr]] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)
    optional_imports: set[int] = field(default_factory=set)
    binds_by_name: bool = False
    hints: int = _MOST_HINTS
    explained: dict[tuple[str, int], bool] = field(default_factory=dict)

    @classmethod
    def of(cls, code: str, tree: ast.Module) -> "Facts":
        """Collect the facts of a module."""
        facts = cls(_LINE_END.split(code), list(ast.walk(tree)))
        for node in facts.nodes:
            facts._add(node)
        return facts

    def _add(self, node: ast.AST) -> None:
        self._add_import(node)
        self._add_value(node)

    def _add_import(self, node: ast.AST) -> None:
        match node:
            case ast.Import(names=names):
                for alias in names:
                    full = alias.name if alias.asname else alias.name.partition(".")[0]
                    self.imports[alias.asname or full] = full
            case ast.ImportFrom(module=source, names=names, level=level):
                full = f"{'.' * level}{source or ''}"
                if names[0].name == "*":
                    self.stars.append(full)
                for alias in names:
                    self.imports[alias.asname or alias.name] = f"{full}.{alias.name}"
            case ast.Try(body=body, handlers=[_, *_]):
                self.optional_imports.update(
                    alias.lineno
                    for item in body
                    if isinstance(item, ast.Import | ast.ImportFrom)
                    for alias in (item, *item.names)
                )

    def _add_value(self, node: ast.AST) -> None:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                self.functions[name] = node
                self._bind(name, node)
            case ast.ClassDef(name=name):
                self._bind(name, node)
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                self.values[name] = value
            case (
                ast.Assign(targets=[ast.Attribute(attr=attr)], value=value)
                | ast.AugAssign(target=ast.Attribute(attr=attr), value=value)
            ):
                self.amended[node.lineno] = attr, value
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                self.values[name] = value
            case ast.Name(id=name, ctx=ast.Store()):
                self._bind(name, node)
            case ast.Call():
                self._add_call(node)

    def _bind(self, name: str, node: ast.stmt | ast.expr) -> None:
        self.first_bound[name] = min(node.lineno, self.first_bound.get(name, node.lineno))

    def _add_call(self, call: ast.Call) -> None:
        for number, value in enumerate(call.args):
            place = (value.lineno, value.col_offset)
            self.arguments[place] = (call, str(number), value)
        for item in call.keywords:
            self.arguments[item.lineno, item.col_offset] = (call, item.arg or "**", item.value)
        if isinstance(call.func, ast.Name) and call.func.id in {"exec", "globals"}:
            self.binds_by_name = True

    def argument(self, finding: Finding) -> tuple[ast.Call, str, ast.expr] | None:
        """Return the call, the argument's name and its value at the place of a problem."""
        # a checker counts characters, Python's parser bytes of UTF-8
        line = self.lines[finding.line - 1] if finding.line <= len(self.lines) else ""
        column = len(line[: finding.column - 1].encode("utf-8", "replace"))
        return self.arguments.get((finding.line, column))

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
        full = ".".join([self.imports.get(expression.id, ""), *reversed(path)])
        package, _, rest = full.partition(".")
        return rest.rpartition(".")[2] if package == PACKAGE else None

    def makes_agent(self, value: ast.expr | None) -> bool:
        """Tell whether the expression makes an agent."""
        return isinstance(value, ast.Call) and (self.sdk_name(value.func) or "").endswith("Agent")

    def is_tool(self, function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
        """Tell whether `function_tool` decorates the function."""
        return any(
            self.sdk_name(item.func if isinstance(item, ast.Call) else item) == "function_tool"
            for item in function.decorator_list
        )


def double_agents(module: Module) -> Iterator[Diagnostic]:
    """Warn of what the SDK allows and people rarely mean."""
    names: dict[tuple[str, str], int] = {}
    variables: dict[tuple[str, str], int] = {}
    for node in module.workflow.nodes:
        line = names.setdefault((node.scope, node.name), node.line)
        if line != node.line:
            text = f'the name "{_cut(node.name)}" is also the name of the agent on line {line}'
            yield Diagnostic(node.line, "double-agent-name", text, "warning")
        variable = node.variable or node.node_id
        line = variables.setdefault((node.scope, variable), node.line)
        if line != node.line:
            text = f"`{_cut(variable)}` is already the agent of line {line}"
            yield Diagnostic(node.line, "double-agent-variable", text, "warning")


def names_of_sdk(facts: Facts) -> Iterator[Diagnostic]:
    """Find names that the SDK does not have, where a type checker believes in any name."""
    for node in facts.nodes:
        match node:
            case ast.ImportFrom(module=str(source), names=names, level=0):
                for alias in names:
                    if alias.name != "*":
                        yield from _name_of_sdk(facts, source, alias.name, alias.lineno)
            case ast.Attribute(value=ast.Name(id=name), attr=attr, lineno=line):
                source = facts.imports.get(name, "")
                if source.isascii():
                    yield from _name_of_sdk(facts, source, attr, line)


def _name_of_sdk(facts: Facts, source: str, name: str, line: int) -> Iterator[Diagnostic]:
    known = exported_names(source) if source.partition(".")[0] == PACKAGE else None
    if known is None or name in known or (name.startswith("__") and name.endswith("__")):
        return
    near = []
    if facts.hints:
        facts.hints -= 1
        near = difflib.get_close_matches(name[:_LONGEST_NAME], known, 1)
    hint = f"; did you mean `{near[0]}`?" if near else ""
    yield Diagnostic(
        line,
        "missing-module-member",
        f"`{source}` has no `{_cut(name)}`{hint}",
        "warning" if line in facts.optional_imports else "error",
    )


def explained(facts: Facts, problems: Iterable[Finding]) -> Iterator[Diagnostic]:
    """Choose of the type checker's problems those of a workflow, and say them in its words.

    What is certain to fail is an error. How a module types its own values is its own business.
    """
    missing = {
        name for item in problems if item.rule == "import-not-found" for name in _quoted(item)
    }
    guess = facts.binds_by_name or not missing.isdisjoint(facts.stars)
    for item in problems:
        match item.rule:
            case "unresolved-reference":
                yield _undefined(facts, item, guess=guess)
            case "import-not-found":
                yield _unresolved_import(facts, item)
            case "missing-module-member":
                optional = item.line in facts.optional_imports
                yield _diagnostic(item, item.message, "warning" if optional else "error")
            case "missing-attribute" if _is_about_agent(item):
                yield _diagnostic(item, item.message)
            case "not-callable" if "`FunctionTool`" in item.message:
                text = "this calls a tool: give the tool itself to the agent, without parentheses"
                yield _diagnostic(item, text)
            case "invalid-argument-type":
                yield from _wrong_argument(facts, item)
            case "invalid-assignment" | "unsupported-operator":
                attr, value = facts.amended.get(item.line, ("", None))
                if attr in _LISTS and value is not None:
                    yield from _wrong_list(facts, item, attr, value)
            case "invalid-await" | "unused-awaitable":
                yield _diagnostic(item, item.message, "warning")
            case rule if rule in _ARGUMENT_RULES:
                known = _is_known_callee(facts, item)
                yield _diagnostic(item, item.message, "error" if known else "warning")


def _diagnostic(
    item: Finding, message: str, severity: Literal["error", "warning"] = "error"
) -> Diagnostic:
    return Diagnostic(item.line, item.rule, _cut(message, _LONGEST_MESSAGE), severity)


def _quoted(item: Finding) -> list[str]:
    return _QUOTED.findall(item.message)


def _undefined(facts: Facts, item: Finding, *, guess: bool) -> Diagnostic:
    name = next(iter(_quoted(item)), "")
    text = f"`{_cut(name)}` is not defined"
    bound = facts.first_bound.get(name, 0)
    if bound > item.line:
        text += f" here, but only on line {bound}"
    return _diagnostic(item, text, "warning" if guess else "error")


def _unresolved_import(facts: Facts, item: Finding) -> Diagnostic:
    name = next(iter(_quoted(item)), "")
    if name.startswith("."):
        return _diagnostic(item, f"`{_cut(name)}` is not here: a workflow is one module", "warning")
    if name.partition(".")[0] == PACKAGE and item.line not in facts.optional_imports:
        return _diagnostic(item, f"the Agents SDK has no module `{_cut(name)}`")
    return _diagnostic(item, f"`{_cut(name)}` is not installed here", "warning")


def _is_about_agent(item: Finding) -> bool:
    kind = next(iter(_quoted(item)), "").partition("[")[0]
    return kind.endswith("Agent") and "|" not in kind


def _is_known_callee(facts: Facts, item: Finding) -> bool:
    """Tell whether the SDK or the module defines the callee: the types of others may be wrong."""
    argument = facts.argument(item)
    if argument is not None and facts.sdk_name(argument[0].func) is not None:
        return True
    owners = {name.partition(".")[0] for name in _quoted(item)[-1:]}
    sdk = exported_names(PACKAGE) or frozenset()
    return any(name in sdk or name in facts.first_bound for name in owners)


def _wrong_argument(facts: Facts, item: Finding) -> Iterator[Diagnostic]:
    argument = facts.argument(item)
    if argument is None or argument[1] == "**":
        return
    call, name, value = argument
    maker = facts.sdk_name(call.func) or ""
    match call.func:
        case ast.Attribute(value=ast.Attribute(attr=attr)) if attr in _LISTS:  # x.tools.append(..)
            elements = value if _method(call) == "extend" else ast.List([value], ast.Load())
            yield from _wrong_list(facts, item, attr, elements)
        case _ if name in _LISTS:
            yield from _wrong_list(facts, item, name, value)
        case _ if maker.endswith("Agent") or maker in _MAKERS:
            yield _diagnostic(item, _wrong(item, name), _certainty(item))
        case _ if maker:
            if not _found(item).startswith(("list[", "dict[")):  # their elements' types are guesses
                yield _diagnostic(item, _wrong(item, name), "warning")


def _wrong_list(facts: Facts, item: Finding, kind: str, value: ast.expr) -> Iterator[Diagnostic]:
    """Name the elements that are wrong; of types alone, a list of agents is none of handoffs."""
    found = list(_wrong_elements(facts, kind, value))
    for line, text in found:
        yield Diagnostic(line, item.rule, _cut(text, _LONGEST_MESSAGE))
    if found or facts.explained.get((kind, id(value))):
        return
    if not _found(item).startswith("list["):
        text = f"`{kind}` must be a list, not `{_cut(_found(item), 80)}`"
        yield _diagnostic(item, text, _certainty(item))
    elif isinstance(value, ast.List):
        yield _diagnostic(item, f"not each element of `{kind}` is {_LISTS[kind]}", "warning")


def _wrong_elements(facts: Facts, kind: str, value: ast.expr) -> Iterator[tuple[int, str]]:
    waiting, seen = [value], set[int]()
    while waiting:
        element = waiting.pop()
        match element:
            case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
                if (kind, id(element)) not in facts.explained:  # agents may share one list
                    texts = [(part.lineno, _wrong_element(facts, kind, part)) for part in parts]
                    yield from ((line, text) for line, text in texts if text)
                    facts.explained[kind, id(element)] = any(text for _, text in texts)
                waiting.extend(part.value for part in parts if isinstance(part, ast.Starred))
            case ast.BinOp(left=left, right=right):
                waiting.extend((left, right))
            case ast.Name(id=name):
                known = facts.values.get(name)
                if isinstance(known, ast.List | ast.BinOp) and id(known) not in seen:
                    seen.add(id(known))
                    waiting.append(known)


def _wrong_element(facts: Facts, kind: str, element: ast.expr) -> str | None:
    """Say why an element is no tool or no agent, if its syntax alone tells."""
    what = _LISTS[kind]
    match element:
        case ast.Constant(value=str(text)):
            return f'"{_cut(text)}" in `{kind}` is a text, not {what}'
        case ast.Constant(value=value):
            return f"`{_cut(str(value))}` in `{kind}` is not {what}"
        case ast.Lambda() if kind == "tools":
            return "a lambda is no tool: write a function with `@function_tool`"
        case ast.Name(id=name):
            function = facts.functions.get(name)
            if kind == "tools" and facts.makes_agent(facts.values.get(name)):
                return f"`{_cut(name)}` is an agent: add its `as_tool(...)`, or hand off to it"
            if kind == "handoffs" and function and facts.is_tool(function):
                return f"`{_cut(name)}` is a tool, not an agent: put it into `tools`"
            if function and not function.decorator_list:
                missing = " without `@function_tool`" if kind == "tools" else f", not {what}"
                return f"`{_cut(name)}` is a function{missing}"
    return None


def _method(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""


def _found(item: Finding) -> str:
    found = _FOUND.search(item.message)
    return found[1] if found else next(iter(_quoted(item)), "")


def _certainty(item: Finding) -> Literal["error", "warning"]:
    # of a union some members may be right, and of a list the checker knows too much
    found = _found(item)
    return "warning" if "|" in found or found.startswith(("list[", "dict[")) else "error"


def _wrong(item: Finding, name: str) -> str:
    which = f"argument {int(name) + 1}" if name.isdigit() else f"`{name}`"
    return f"{which}: {item.message.partition(': ')[2]}"


def _cut(text: str, most: int = _LONGEST_NAME) -> str:
    return text if len(text) <= most else f"{text[:most]}..."
