"""Each way in which people write agents is read: nodes, edges, tools, and the rest is said."""

import json
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import agents
import pytest

from shared.errors import InvalidWorkflow
from shared.workflow.evaluate import AGENT_CLASSES
from shared.workflow.model import Workflow
from shared.workflow.parse import parse_workflow

HEAD = """\
import asyncio
import agents as sdk
from agents import Agent, FileSearchTool, HostedMCPTool, Runner, WebSearchTool, function_tool
from agents import handoff
from agents.realtime import RealtimeAgent, realtime_handoff
"""


@dataclass(frozen=True)
class Case:
    """A pattern and what is read: `id`, `id in scope`, `a -> b`, `a =tool=> b`, `field: text`."""

    title: str
    code: str
    nodes: str
    edges: str = ""
    tools: str = ""
    unresolved: str = ""


CASES = [
    Case("top level", 'a = Agent(name="A")\n', "a"),
    Case("inside main", 'async def main():\n    a = Agent(name="A")\n', "a in main"),
    Case(
        "the same variable in two functions and at the top level",
        "def main():\n    triage = Agent(name='x')\n"
        "def other():\n    triage = Agent(name='y')\n"
        "triage = Agent(name='z')\n",
        "main_triage in main; other_triage in other; triage",
    ),
    Case(
        "a factory that returns an agent",
        "def make():\n    return Agent(name='Front Desk')\n"
        "a = Agent(name='a', handoffs=[make()])\n",
        "front_desk in make; a",
        "a -> front_desk",
    ),
    Case(
        "a factory's agent through variables, and awaited",
        "async def make():\n    made = Agent(name='m')\n    return made\n"
        "async def main():\n    helper = await make()\n"
        "    a = Agent(name='a', handoffs=[helper])\n    helper.handoffs.append(a)\n",
        "made in make; a in main",
        "made -> a; a -> made",
    ),
    Case(
        "a factory that returns several",
        "def make():\n    x = Agent(name='x')\n    y = Agent(name='y')\n    return x, y\n"
        "first, second = make()\na = Agent(name='a', handoffs=[second])\n",
        "x in make; y in make; a",
        "a -> y",
    ),
    Case(
        "parameters of a function that is called here",
        "def wire(source, target):\n    source.handoffs.append(target)\n"
        "a = Agent(name='a')\nb = Agent(name='b')\nwire(a, target=b)\n",
        "a; b",
        "a -> b",
    ),
    Case(
        "parameters of a function that is not called here",
        "def make(helpers, tool):\n    return Agent(name='a', handoffs=helpers, tools=[tool])\n",
        "a in make",
        tools="a: tool",
        unresolved="handoffs: `helpers` is a parameter",
    ),
    Case(
        "a class: attributes, self, and methods that use them",
        "class Desk:\n    front = Agent(name='front')\n"
        "    def __init__(self):\n        self.billing = Agent(name='billing')\n"
        "        self.triage = Agent(name='t', handoffs=[self.billing, self.front])\n"
        "    def wire(self):\n        self.billing.handoffs.append(self.triage)\n",
        "front in Desk; billing in Desk.__init__; triage in Desk.__init__",
        "billing -> triage; triage -> billing; triage -> front",
    ),
    Case(
        "an object of a class",
        "class Desk:\n    def __init__(self, helper):\n"
        "        self.agent = Agent(name='desk', handoffs=[helper])\n"
        "helper = Agent(name='h')\ndesk = Desk(helper)\n"
        "a = Agent(name='a', handoffs=[desk.agent])\n",
        "agent in Desk.__init__; helper; a",
        "agent -> helper; a -> agent",
    ),
    Case(
        "a dataclass that holds agents",
        "from dataclasses import dataclass\n"
        "@dataclass\nclass Team:\n    lead: Agent\n    aid: Agent\n"
        "team = Team(Agent(name='lead'), aid=Agent(name='aid'))\n"
        "team.lead.handoffs.append(team.aid)\n",
        "lead; aid",
        "lead -> aid",
    ),
    Case(
        "lists, dicts and tuples",
        "both = [Agent(name='one'), Agent(name='two')]\n"
        "named = {'three': Agent(name='3'), 'four': Agent(name='4')}\n"
        "x, y = Agent(name='x'), Agent(name='y')\n"
        "x.handoffs = [both[0], named['four'], *both]\ny.handoffs = list(named.values())\n",
        "one; two; three; four; x; y",
        "x -> one; x -> four; x -> two; y -> three; y -> four",
    ),
    Case(
        "comprehensions and loops over literals",
        "a = Agent(name='a')\nb = Agent(name='b')\nc = Agent(name='c')\nboth = (a, b)\n"
        "c.handoffs = [handoff(each) for each in both]\n"
        "for source, target in [(a, b), (b, c)]:\n    source.handoffs.append(target)\n",
        "a; b; c",
        "a -> b; b -> c; c -> a; c -> b",
    ),
    Case(
        "everybody hands off to everybody else",
        "a = Agent(name='a')\nb = Agent(name='b')\nc = Agent(name='c')\nall_of_us = [a, b, c]\n"
        "for one in all_of_us:\n    one.handoffs = [o for o in all_of_us if o is not one]\n",
        "a; b; c",
        "a -> b; a -> c; b -> a; b -> c; c -> a; c -> b",
    ),
    Case(
        "a loop that skips by a condition that is known",
        "desks = {'a': Agent(name='a'), 'b': Agent(name='b')}\n"
        "for name, desk in desks.items():\n    if name == 'a':\n        continue\n"
        "    desks['a'].handoffs.append(desk)\n",
        "a; b",
        "a -> b",
    ),
    Case(
        "an element that only a run chooses",
        "a = Agent(name='a')\nb = Agent(name='b')\n"
        "c = Agent(name='c', handoffs=[x for x in [a, b] if x.name in open('f').read()])\n",
        "a; b; c",
        "c -> a; c -> b",
        unresolved="handoffs: `x` only where `x.name in open('f').read()`",
    ),
    Case(
        "agents that a loop makes",
        "def make(names):\n    made = []\n    for name in names:\n"
        "        made.append(Agent(name=name))\n    return Agent(name='lead', handoffs=made)\n",
        "agent in make; lead in make",
        "lead -> agent",
        unresolved="name: `name` is computed when the program runs",
    ),
    Case(
        "agents that a loop over literals makes",
        "team = {name: Agent(name=f'{name} Desk') for name in ('north', 'south')}\n"
        "for name in ['a', 'b']:\n    made = Agent(name=name, handoffs=[team['north']])\n"
        "lead = Agent(name='lead', handoffs=list(team.values()), tools=[\n"
        "    desk.as_tool(f'ask_{name}', '') for name, desk in team.items()])\n",
        "north_desk; south_desk; a; b; lead",
        "a -> north_desk; b -> north_desk; lead -> north_desk; lead -> south_desk; "
        "lead =ask_north=> north_desk; lead =ask_south=> south_desk",
        "lead: ask_north, ask_south",
    ),
    Case(
        "a function that is called twice: its arguments belong together",
        "def wire(source, target):\n    source.handoffs.append(target)\n    return target\n"
        "a = Agent(name='a')\nb = Agent(name='b')\nc = Agent(name='c')\n"
        "wire(a, b)\nd = Agent(name='d', handoffs=[wire(b, c)])\n",
        "a; b; c; d",
        "a -> b; b -> c; d -> c",
    ),
    Case(
        "a list that functions fill",
        "desks = []\ndef register(desk):\n    desks.append(desk)\n    return desk\n"
        "a = register(Agent(name='a'))\nb = register(Agent(name='b'))\n"
        "lead = Agent(name='lead', handoffs=desks)\n",
        "a; b; lead",
        "lead -> a; lead -> b",
    ),
    Case(
        "a copy of a list does not get what is added later",
        "a = Agent(name='a')\nb = Agent(name='b')\nbase = [a]\n"
        "x = Agent(name='x', handoffs=[*base])\ny = Agent(name='y', handoffs=base)\n"
        "z = Agent(name='z', handoffs=list(base))\nw = Agent(name='w', handoffs=base[:1])\n"
        "base.append(b)\n",
        "a; b; x; y; z; w",
        "x -> a; y -> a; y -> b; z -> a; w -> a",
    ),
    Case(
        "several that are awaited at once",
        "async def make(name):\n    return Agent(name='one')\n"
        "async def main():\n    both = await asyncio.gather(make('a'), make('b'))\n"
        "    return Agent(name='lead', handoffs=list(both))\n",
        "one in make; lead in main",
        "lead -> one",
    ),
    Case(
        "with, if, try, while and for",
        "with open('f') as f:\n    a = Agent(name='a')\n"
        "if f:\n    b = Agent(name='b')\n"
        "try:\n    c = Agent(name='c')\nexcept OSError:\n    d = Agent(name='d')\n"
        "finally:\n    e = Agent(name='e')\n"
        "while f:\n    g = Agent(name='g')\nfor i in f:\n    h = Agent(name='h')\n"
        "match f:\n    case 1:\n        m = Agent(name='m')\n",
        "a; b; c; d; e; g; h; m",
    ),
    Case(
        "two branches bind one variable",
        "import os\nif os.name == 'nt':\n    helper = Agent(name='one')\n"
        "else:\n    helper = Agent(name='two')\n"
        "a = Agent(name='a', handoffs=[helper])\n",
        "helper; helper_2; a",
        "a -> helper; a -> helper_2",
        unresolved="handoffs: `helper` is one of `helper`, `helper_2`",
    ),
    Case(
        "a branch's own agent",
        "import os\nb = Agent(name='b')\nif os.name == 'nt':\n    a = Agent(name='one')\n"
        "    a.handoffs.append(b)\nelse:\n    a = Agent(name='two')\n",
        "b; a; a_2",
        "a -> b",
    ),
    Case(
        "a variable that is bound again",
        "a = Agent(name='one')\nb = Agent(name='b', handoffs=[a])\n"
        "a = Agent(name='two')\nc = Agent(name='c', handoffs=[a])\n",
        "a; b; a_2; c",
        "b -> a; c -> a_2",
    ),
    Case(
        "inline in handoffs and in arguments",
        "async def main():\n"
        "    await Runner.run(Agent(name='Lead', handoffs=[Agent(name='Aid')]), 'hi')\n",
        "lead in main; aid in main",
        "lead -> aid",
    ),
    Case(
        "clones",
        "a = Agent(name='a', handoffs=[Agent(name='b')])\nc = a.clone(name='c')\n"
        "d = a.clone(handoffs=[c])\n",
        "a; b; c; d",
        "a -> b; c -> b; d -> c",
    ),
    Case(
        "a clone of an agent from elsewhere",
        "from .desks import billing\nb = billing.clone(instructions='Be brief')\n"
        "data = billing.clone()\n",
        "b",
        unresolved="name: it is computed when the program runs",
    ),
    Case(
        "an agent without a name, and one outside a list",
        "a = Agent(name='a')\nb = Agent(handoffs=a)\n",
        "a; b",
        unresolved="name: it is missing; handoffs: `a` stands in no list",
    ),
    Case(
        "a copy by dataclasses",
        "import dataclasses\na = Agent(name='a')\nb = dataclasses.replace(a, name='b')\n",
        "a; b",
    ),
    Case(
        "an agent that is made and cloned at once",
        "def f():\n    return Agent(name='a').clone(model='m')\n",
        "a in f",
    ),
    Case(
        "subclasses and what they hand to their base",
        "class Desk(Agent[str]):\n    def __init__(self, target):\n"
        "        super().__init__(name='desk', handoffs=[target])\n"
        "b = Agent(name='b')\na = Desk(b)\n",
        "b; a:Desk",
        "a -> b",
    ),
    Case(
        "a subclass of a subclass that nothing makes",
        "class Desk(sdk.Agent): ...\nclass Front(Desk): ...\na = Front(name='a')\n",
        "a:Front",
        unresolved="agents: nothing here makes an agent of the class `Desk`",
    ),
    Case(
        "other ways to name the SDK",
        "import agents\nfrom agents import Agent as A\n"
        "def f():\n    from agents import Agent as B\n    return B(name='f')\n"
        "a = A(name='a')\nb = agents.Agent[int]('b')\nc = sdk.agent.Agent(name='c')\n",
        "f in f; a; b; c",
    ),
    Case("a star import", "from agents import *\na = Agent(name='a')\n", "a"),
    Case(
        "an import that may fail",
        "try:\n    from agents import Agent as A\nexcept ImportError:\n    A = None\n"
        "a = A(name='a')\n",
        "a",
    ),
    Case(
        "realtime and sandbox agents",
        "from agents.sandbox import SandboxAgent\n"
        "a = RealtimeAgent(name='a')\nb = RealtimeAgent(name='b', handoffs=[realtime_handoff(a)])\n"
        "a.handoffs.append(realtime_handoff(agent=b, tool_name_override='t'))\n"
        "c = SandboxAgent(name='c')\n",
        "a:RealtimeAgent; b:RealtimeAgent; c:SandboxAgent",
        "a -> b; b -> a",
    ),
    Case(
        "lists in variables, concatenated, starred, extended and replaced",
        "a = Agent(name='a')\nb = Agent(name='b')\nc = Agent(name='c')\n"
        "base = [a]\nmore = base + [b]\n"
        "x = Agent(name='x', handoffs=more)\ny = Agent(name='y', handoffs=[*base, c])\n"
        "z = Agent(name='z')\nz.handoffs += base\nz.handoffs.extend([b, c])\n"
        "w = Agent(name='w', handoffs=[a])\nw.handoffs = [b]\nbase.append(c)\n",
        "a; b; c; x; y; z; w",
        "x -> a; x -> b; y -> a; y -> c; z -> a; z -> b; z -> c; w -> b",
    ),
    Case(
        "keyword arguments in a dict, and a partial",
        "from functools import partial\nb = Agent(name='b')\n"
        "common = {'handoffs': [b], 'model': 'm'}\na = Agent(name='a', **common)\n"
        "make = partial(Agent, handoffs=[b])\nc = make(name='c')\n",
        "b; a; c",
        "a -> b; c -> b",
    ),
    Case(
        "keyword arguments from elsewhere",
        "import json\na = Agent(name='a', **json.load(open('f')))\n",
        "a",
        unresolved="arguments: `**json.load(open('f'))` is computed when the program runs",
    ),
    Case(
        "a global that a function binds",
        "agent = None\ndef start():\n    global agent\n    agent = Agent(name='g')\n"
        "def wire():\n    return Agent(name='w', handoffs=[agent])\n",
        "agent in start; w in wire",
        "w -> agent",
    ),
    Case(
        "agents of other scopes by name",
        "def outer():\n    b = Agent(name='b')\n    def inner():\n"
        "        return Agent(name='c', handoffs=[a, b])\n    return inner()\n"
        "a = Agent(name='a')\n",
        "b in outer; c in outer.inner; a",
        "c -> a; c -> b",
    ),
    Case(
        "handoffs that are no agents",
        "from .desks import billing\nimport os\ndef f(): ...\n"
        "a = Agent(name='a', handoffs=[billing, 'b', f, os.x(), missing])\n",
        "a",
        unresolved="handoffs: `billing` is imported from `.desks`; "
        """handoffs: `'b'` is no agent; handoffs: `f` is no agent; """
        "handoffs: `os.x()` is computed when the program runs; "
        "handoffs: `missing` is not defined",
    ),
    Case(
        "a list that only a run knows",
        "import json\nhelpers = json.load(open('f'))\n"
        "a = Agent(name='a', handoffs=helpers, tools=[*helpers])\n",
        "a",
        unresolved="handoffs: `json.load(open('f'))` is computed when the program runs; "
        "tools: `json.load(open('f'))` is computed when the program runs",
    ),
    Case(
        "agents as tools: inline, by a variable, appended, by position, without a name",
        "b = Agent(name='Bill Desk')\na = Agent(name='a', tools=[b.as_tool('ask', 'Ask.')])\n"
        "t = b.as_tool(tool_name='t', tool_description='T.')\n"
        "c = Agent(name='c', tools=[t])\nc.tools.append(b.as_tool(None, None))\n",
        "b; a; c",
        "a =ask=> b; c =t=> b; c =bill_desk=> b",
        "a: ask; c: t, bill_desk",
    ),
    Case(
        "a tool of an agent from elsewhere",
        "from .desks import billing\na = Agent(name='a', tools=[billing.as_tool('ask', '')])\n",
        "a",
        tools="a: ask",
        unresolved="tools: `billing` is imported from `.desks`",
    ),
    Case(
        "tools by name",
        "@function_tool(name_override='find')\ndef lookup(): ...\n"
        "@sdk.function_tool\nasync def plain(): ...\ndef other(): ...\n"
        "made = function_tool(other, name_override='third')\nsearch = WebSearchTool()\n"
        "from .tools import imported\n"
        "a = Agent(name='a', tools=[lookup, plain, made, function_tool(other), search,\n"
        "    imported])\n",
        "a",
        tools="a: find, plain, third, other, search, imported",
    ),
    Case(
        "several tools of a kind",
        "label = {'server_label': 'wiki'}\n"
        "a = Agent(name='a', tools=[FileSearchTool(['x']), FileSearchTool(['y']),\n"
        "    HostedMCPTool(tool_config={'server_label': 'shop'}),\n"
        "    HostedMCPTool(tool_config=label)])\n",
        "a",
        tools="a: FileSearchTool, FileSearchTool 2, HostedMCPTool(shop), HostedMCPTool(wiki)",
    ),
    Case(
        "a variable outside ASCII, one of a digit's name, a long one and none",
        f"añb = Agent(name='a')\n客服 = Agent(name='Support')\n{'v' * 70} = Agent(name='v')\n"
        "f(Agent(name='3 d'), Agent(name='客服'), Agent(name='HelpDesk'))\n",
        f"anb; support; {'v' * 64}; agent_3_d; agent; help_desk",
    ),
]


def _shown(workflow: Workflow) -> Case:
    nodes = [
        node.node_id
        + (f":{node.kind}" if node.kind != "Agent" else "")
        + (f" in {node.scope}" if node.scope else "")
        for node in workflow.nodes
    ]
    edges = [
        f"{edge.source} -> {edge.target}"
        if edge.kind == "handoff"
        else f"{edge.source} ={edge.tool_name}=> {edge.target}"
        for edge in workflow.edges
    ]
    tools = [f"{node.node_id}: {', '.join(node.tools)}" for node in workflow.nodes if node.tools]
    unresolved = [f"{item.field}: {item.text}" for item in workflow.unresolved]
    return Case("", "", *("; ".join(part) for part in (nodes, edges, tools, unresolved)))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_a_pattern_is_read_as_python_runs_it(case: Case) -> None:
    workflow = parse_workflow(HEAD + case.code)
    shown = _shown(workflow)
    assert shown.nodes == case.nodes
    assert shown.edges == case.edges
    assert shown.tools == case.tools
    assert shown.unresolved == case.unresolved


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_ids_are_unique_identifiers_and_edges_lead_to_nodes(case: Case) -> None:
    workflow = parse_workflow(HEAD + case.code)
    ids = [node.node_id for node in workflow.nodes]
    assert len(set(ids)) == len(ids)
    assert all(name.isascii() and name.isidentifier() and len(name) <= 64 for name in ids)
    assert {end for edge in workflow.edges for end in (edge.source, edge.target)} <= set(ids)
    assert all(item.node_id is None or item.node_id in ids for item in workflow.unresolved)
    assert Workflow.from_json(json.loads(json.dumps(workflow.to_json()))) == workflow


def test_the_agent_classes_are_those_of_the_installed_sdk() -> None:
    folder = Path(agents.__file__).parent
    text = "\n".join(path.read_text() for path in folder.rglob("*.py"))
    assert set(re.findall(r"^class ([A-Z]\w*Agent|Agent)\(", text, re.MULTILINE)) == AGENT_CLASSES


def test_a_text_that_many_agents_share_is_cut_so_that_the_answer_stays_small() -> None:
    agents = "".join(f"a{n} = Agent(name='{n}', instructions=text)\n" for n in range(250))
    code = f"{HEAD}text = '{'x' * 28_000}'\n{agents}"
    workflow = parse_workflow(code)
    assert len(workflow.nodes) == 250
    assert all((node.instructions or "").endswith("x...") for node in workflow.nodes)
    assert len(json.dumps(workflow.to_json())) < 400_000


def test_what_is_unresolved_is_bounded_and_says_how_much_is_left_out() -> None:
    calls = "".join(f"f({n}), " for n in range(3_000))
    workflow = parse_workflow(f"{HEAD}def f(n): ...\na = Agent(name='a', handoffs=[{calls}])\n")
    assert workflow.unresolved[-1].text == "... and 2800 more"
    assert len(workflow.unresolved) == 201


def test_a_loop_that_makes_very_many_agents_is_read_in_part_and_says_so() -> None:
    loops = "for i in range(100):\n    for j in range(100):\n        Agent(name=f'{i} {j}')\n"
    workflow = parse_workflow(HEAD + loops)
    assert len(workflow.nodes) == 100
    assert "is in a loop that is too long to be read" in workflow.unresolved[-1].text


def test_values_that_refer_to_very_many_others_are_said_to_be_unresolved() -> None:
    lines = "".join(" p = p.x if p else p.y\n" for _ in range(20))
    code = f"{HEAD}def f(p):\n{lines} return Agent(name='a', handoffs=[p])\nf(f)\n"
    [item] = parse_workflow(code).unresolved
    assert item.text == "`p` refers to too many others to be read"


GROWING = {
    "names that refer to one another": ("a{n} = [*a{m}, *a{m}]\n", "A(handoffs=a{n})\n"),
    "rebinding in branches": ("if a: a = A()\n", "A(handoffs=[a])\n"),
    "attributes of what a parameter may be": ("a{n} = f(a{m}).x\n", "A(handoffs=a{n})\n"),
    "factories that call one another": ("def g{n}(): return g{m}()\n", "A(handoffs=[g{n}()])\n"),
    "loops over a list": ("for a in [1, 2, 3, 4, 5]: b = a\n", "A()\n"),
    "tools of one kind": ("", "A(tools=[{many}])\n"),
    "clones": ("a{n} = A(name='a')\n", "a{n}.clone()\n"),
    "texts that double": ("s = s + s\n", "A(instructions=s)\n"),
}


@pytest.mark.parametrize("pattern", GROWING)
def test_reading_costs_in_proportion_to_the_size(pattern: str) -> None:
    each, last = GROWING[pattern]

    def seconds(size: int) -> float:
        head = "from agents import Agent as A, WebSearchTool as W\na = a0 = s = 'x'\n"
        head += "def f(x): return x\ndef g0(): ...\n"
        lines = [each.format(n=n + 1, m=n) for n in range(size)]
        end = last.format(n=size, many="W(), " * size)
        code = head + "".join(lines) + end
        began = time.process_time()
        with suppress(InvalidWorkflow):
            parse_workflow(code)
        return time.process_time() - began

    bound = 8 * 4 * min(seconds(200) for _ in range(3)) + 0.2
    assert any(seconds(1_600) < bound for _ in range(2))
