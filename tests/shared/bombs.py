"""Hostile modules: small ones that cost much, and large ones at the limit of their length."""

SIZE = 100_000


def _each(length: int, text: str) -> str:
    """Repeat a text with a number in it."""
    return "".join(text.replace("#", str(n)) for n in range(length))


# the compiler turns the names of the second alternative round, one by one: cubic in their number
_NAMES = [f"a{n}" for n in range(500)]
_SWAPPED = [_NAMES[n ^ 1] for n in range(500)]

BOMBS = {
    "brackets": "(" * SIZE,
    "signs": "-" * SIZE + "1",
    "attributes": "x" + ".a" * (SIZE // 2),
    "calls": "x" + "()" * (SIZE // 2),
    "sums": "1" + "+1" * (SIZE // 2),
    "lambdas": "lambda:" * (SIZE // 7) + "1",
    "branches": "if a: pass\n" + "elif a: pass\n" * (SIZE // 13),
    "indentation": "\n".join(" " * n + "if 1:" for n in range(600)),
    "one line": "'" + "a" * 1_000_000 + "'",
    "statements": "a=1\n" + "a;" * (SIZE // 2),
    "comparisons": "1" + "<1" * (SIZE // 2),
    "functions": "def f():pass\n" * (SIZE // 13),
    "comprehensions": "[a for a in ()]\n" * (SIZE // 16),
    "f-string": "f'" + "{1}" * (SIZE // 3) + "'",
    "text": f"x: '{'(' * SIZE}'",
    "digits": "9" * SIZE,
    "finally in finally": "def f():\n"
    + "".join(f"{' ' * n}try:\n{' ' * n} pass\n{' ' * n}finally:\n" for n in range(1, 19))
    + " " * 19
    + "pass\n",
    "returns through finally": "def f(a):\n try:\n"
    + "  if a: return\n" * 5_000
    + " finally:\n"
    + "  a\n" * 5_000,
    "names of alternatives in another order": "match x:\n case "
    f"[{', '.join(_NAMES)}] | [{', '.join(_SWAPPED)}]: pass\n",
    "one target after another": "a,=" * 35_000 + "1",
    "undefined names beside a star": "from os import *\n" + _each(8_000, "n#\n"),
    "undefined globals": "def f():\n" + _each(4_000, " global g#\n g#\n"),
    "private names": f"class {'A' * 60_000}:\n" + _each(12_000, " __a#=1\n"),
    "arguments": "f(" + _each(21_000, "a#=1,") + ")",
    "a text that agents share": "from agents import Agent\ntext = '"
    + "x" * 20_000
    + "'\n"
    + _each(250, "a# = Agent(name='a#', instructions=text)\n"),
    "lists that agents share": "from agents import Agent\na = Agent(name='a')\nteam = ["
    + "a, " * 15_000
    + "]\n"
    + _each(1_000, "a# = Agent(name='a#', handoffs=team)\n"),
    "lists of lists": "from agents import Agent\nl0 = []\n"
    + "".join(f"l{n + 1} = l{n} + l{n}\n" for n in range(5_000))
    + "a = Agent(name='a', handoffs=l5000)\n",
    "nested lists": "x = " + "[" * 90 + "]" * 90 + "\n" + "[" * 190 + "]" * 190,
    "decorators": "@a\n" * (SIZE // 9) + "def f(): pass\n",
    "cases": "match x:\n" + _each(3_000, " case #: pass\n"),
    "cases in cases": "".join(
        f"{' ' * 2 * n}match x:\n{' ' * (2 * n + 1)}case _:\n" for n in range(40)
    )
    + " " * 80
    + "pass\n",
    "alternatives in alternatives": "match x:\n case " + "(1|" * 95 + "2" + ")" * 95 + ": pass\n",
    "unicode names": "".join(f"{chr(0x4E00 + n)}é = {n}\n" for n in range(7_500)),
    "accents": "a" + "\u0301\u0327" * 60_000 + " = 1",
    "imports from the sdk": "from agents import (" + _each(6_000, "n#,") + ")",
    "attributes of the sdk": "import agents\n" + _each(4_000, "agents.X#\n"),
    "power": "x = " + "**".join(["9"] * 20_000),
    "constant folding": "x = " + "(" * 20 + "'a' * 4000" + ") * 4000" * 20,
    "conditions": "x = " + "a and " * 8_000 + "a",
    "subscripts": "x = a" + "[0]" * 33_000,
    "handlers": "try: pass\n" + _each(3_000, "except A#: pass\n"),
    "classes of classes": "class A0: pass\n"
    + "".join(f"class A{n + 1}(A{n}): pass\n" for n in range(900)),
    "bases that cross": "class A0: pass\nclass B0: pass\n"
    + "".join(
        f"class A{n + 1}(A{n}, B{n}): pass\nclass B{n + 1}(A{n}, B{n}): pass\n" for n in range(200)
    ),
    "unions that grow": "def f(a):\n x = None\n"
    + _each(700, " if a == #: x = (x, #)\n")
    + " return x\n",
    "loops that grow": "x = None\nwhile x:\n" + _each(2_000, " x = (x, #)\n"),
    "overloads": "from typing import overload\n"
    + _each(900, "@overload\ndef f(a: int) -> str: ...\n")
    + "f(1)\n",
    "generics": "from typing import Generic, TypeVar\nT = TypeVar('T')\n"
    "class A(Generic[T]): pass\nx: " + "A[" * 90 + "int" + "]" * 90,
    "functions in functions": "".join(" " * n + f"def f{n}():\n" for n in range(95))
    + " " * 95
    + "pass\n",
    "scopes in scopes": "x = " + "[" * 50 + "1" + " for a in b]" * 50,
    "carriage returns": "x = 1\r" * 10_000,
    "surrogates": "x = '\ud800'",
    "null": "x = 1\0",
    "tabs": "if 1:\n" + "\t" * 90_000 + "x = 1\n",
}
"""By what they are; each must end as a result or as a refusal."""
