"""What code may cost to check: of a few hostile lines, compilers make gigabytes.

The limits are far above what a workflow has; what they stop was measured on 200,000 characters.
"""

import ast
import difflib
from collections.abc import Iterable, Sequence

from typing_extensions import override

from shared.workflow.model import Error, invalid

_MOST_BRACES = 10_000
_MOST_SCOPES = 2_000
_MOST_WEIGHT = 150_000
_MOST_STEPS = 1_000_000
_SCOPES = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Lambda,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
)


def bound_text(code: str) -> None:
    """Refuse what takes long to parse: Python 3.11 reads an f-string anew for each of its parts."""
    if code.count("{") > _MOST_BRACES:
        raise invalid([Error(1, f"the module has more than {_MOST_BRACES} braces")])


def bound_tree(tree: ast.Module) -> None:
    """Refuse what takes long to compile.

    Each function is compared with all others (5 s for 15,000), and a `finally` is compiled anew for
    each way out of its `try`: 18 of them, each in the last one, are 900 characters and 700 MB.
    """
    scale = _Scale()
    weight = scale.weigh(tree, 0)
    if scale.scopes > _MOST_SCOPES:
        raise invalid([Error(1, f"the module has more than {_MOST_SCOPES} functions and the like")])
    if weight > _MOST_WEIGHT:
        raise invalid([Error(1, "the module is too large, or its `finally` blocks are too many")])


class _Scale:
    """Counts what the compiler makes of a module, and the module's scopes, in one pass."""

    def __init__(self) -> None:
        self.scopes = 0

    def weigh(self, node: ast.AST, leaving: int) -> int:
        """Return the weight of a node; `leaving` is what each way out copies."""
        if isinstance(node, _SCOPES):
            self.scopes += 1
            leaving = 0
        if isinstance(node, ast.Return | ast.Break | ast.Continue):
            return 1 + leaving + self._sum(ast.iter_child_nodes(node), 0)
        if isinstance(node, ast.Try | ast.TryStar):
            last = self._sum(node.finalbody, leaving)
            parts = [*node.body, *node.handlers, *node.orelse]
            return 1 + 2 * last + self._sum(parts, leaving + last)
        return 1 + self._sum(ast.iter_child_nodes(node), leaving)

    def _sum(self, nodes: Iterable[ast.AST], leaving: int) -> int:
        weight = 0
        for node in nodes:
            weight += self.weigh(node, leaving)
        return weight


def can_compare(old: Sequence[str], new: Sequence[str]) -> bool:
    """Tell whether difflib compares two texts soon: of lines that recur it may take hours."""
    try:
        _Counting(old, new).get_matching_blocks()
    except _TooLongError:
        return False
    return True


class _TooLongError(Exception):
    """The comparison takes too many steps."""


class _Counting(difflib.SequenceMatcher[str]):
    """Compares, and counts the steps beforehand."""

    def __init__(self, old: Sequence[str], new: Sequence[str]) -> None:
        super().__init__(None, old, new)
        self._old = old
        self._places: dict[str, list[int]] = self.b2j  # type: ignore[attr-defined]
        self._steps = 0

    @override
    def find_longest_match(
        self, alo: int = 0, ahi: int | None = None, blo: int = 0, bhi: int | None = None
    ) -> difflib.Match:
        for line in self._old[alo:ahi]:
            self._steps += 1 + len(self._places.get(line, ()))
        if self._steps > _MOST_STEPS:
            raise _TooLongError
        return super().find_longest_match(alo, ahi, blo, bhi)
