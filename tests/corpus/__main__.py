"""`make corpus`: create, read, draw and check every example module; print what is missed."""

import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import httpx2

from tests.corpus.count import Written, count
from tests.corpus.download import example_modules
from tests.eager import idle_service

_ENOUGH = 0.97


class Corpus:
    """The counts over all modules, and each miss in words."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.misses: list[str] = []

    def miss(self, kind: str, path: str, about: object) -> None:
        """Count a miss, and keep it for the end."""
        self.counts[kind] += 1
        self.misses.append(f"{kind}: {path}: {about}")

    def add(self, client: httpx2.Client, path: str, code: str) -> None:
        """Create a project of a module, and look at all that is shown of it."""
        written = count(code)
        self.counts["modules"] += 1
        self.counts["modules that construct an agent"] += bool(written.agents)
        self.counts["agents written"] += len(written.agents)
        created = client.post("/projects", json={"name": path, "code": code})
        if created.status_code != httpx2.codes.CREATED:
            self.miss("refused", path, created.json().get("detail"))
            return
        project = created.json()
        self.counts["modules with diagnostics"] += bool(project.get("diagnostics"))
        workflow = client.get(f"/projects/{project['id']}/workflow").raise_for_status().json()
        drawn = client.get(f"/projects/{project['id']}/workflow.svg").raise_for_status()
        boxes = [item for item in ET.fromstring(drawn.content).iter() if item.get("data-node")]
        if len(boxes) != len(workflow["nodes"]):
            self.miss("wrong pictures", path, f"{len(boxes)} boxes")
        if written.agents and not workflow["nodes"]:
            self.miss("empty", path, written.agents)
        self._agents(path, written, workflow)
        self._edges(path, written, workflow)
        self.counts["unresolved"] += len(workflow["unresolved"])

    def _agents(self, path: str, written: Written, workflow: dict[str, Any]) -> None:
        left = list(workflow["nodes"])
        for line, name in written.agents:
            held = [node for node in left if node["line"] <= line <= node["end_line"]]
            # of those that hold one another the innermost
            node = min(held, key=lambda item: item["end_line"] - item["line"], default=None)
            if node:
                left.remove(node)
                self.counts["agents found"] += 1
            else:
                self.miss("agents missed", path, f"line {line}, {name}")
        lines = {line for line, _ in written.agents}
        for node in left:
            # a loop over known elements makes several agents in one line
            if not lines & set(range(node["line"], node["end_line"] + 1)):
                self.miss("wrong agents", path, node["node_id"])

    def _edges(self, path: str, written: Written, workflow: dict[str, Any]) -> None:
        names: dict[str, set[str]] = {}
        for node in workflow["nodes"]:
            for name in (node["variable"], node["name"]):
                names.setdefault(name or "", set()).add(node["node_id"])
        for kind, title, pairs in (
            ("handoff", "handoffs", written.handoffs),
            ("tool", "agents as tools", written.uses),
        ):
            edges = {
                (edge["source"], edge["target"])
                for edge in workflow["edges"]
                if edge["kind"] == kind
            }
            for source, target in sorted(pairs):
                if target not in names:
                    continue  # of another module
                self.counts[f"{title} written"] += 1
                found = {(a, b) for a in names.get(source, ()) for b in names[target]} & edges
                if found:
                    self.counts[f"{title} found"] += 1
                    edges -= found
                else:
                    self.miss(f"{title} missed", path, f"{source} -> {target}")
            for edge in sorted(edges):
                self.miss("wrong edges", path, f"{kind} {edge[0]} -> {edge[1]}")

    def reached(self) -> bool:
        """Tell whether the goals are reached."""
        counts = self.counts
        shares = [
            counts[f"{title} found"] >= _ENOUGH * counts[f"{title} written"]
            for title in ("agents", "handoffs", "agents as tools")
        ]
        none = ("refused", "empty", "wrong agents", "wrong edges", "wrong pictures")
        return all(shares) and not any(counts[kind] for kind in none)


def main() -> int:
    """Print the counts; end with 1 where a goal is missed."""
    modules = example_modules()
    corpus = Corpus()
    with tempfile.TemporaryDirectory() as folder, idle_service(Path(folder)) as client:
        for path, code in modules.items():
            if code.strip():
                corpus.add(client, path, code)
    for miss in corpus.misses:
        print(miss)
    for kind in (
        *("modules", "modules that construct an agent", "refused", "empty"),
        *("modules with diagnostics", "agents written", "agents found", "agents missed"),
        *("wrong agents", "handoffs written", "handoffs found", "handoffs missed"),
        *("agents as tools written", "agents as tools found", "agents as tools missed"),
        *("wrong edges", "wrong pictures", "unresolved"),
    ):
        print(f"{kind:32} {corpus.counts[kind]:5}")
    return 0 if corpus.reached() else 1


if __name__ == "__main__":
    sys.exit(main())
