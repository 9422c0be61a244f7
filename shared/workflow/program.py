"""A project's code as a program that a person can start."""

from shared.workflow.parse import parse_workflow

_PROGRAM = """

if __name__ == "__main__":  # talk to it: pip install openai-agents, set OPENAI_API_KEY
    import asyncio

    from agents import run_demo_loop

    asyncio.run(run_demo_loop({start}))
"""


def as_program(code: str) -> str:
    """Return the module with an end that lets a person talk to its first agent, if it has one.

    The first is one that nobody hands off to.
    """
    workflow = parse_workflow(code)
    targets = {edge.target for edge in workflow.edges}
    starts = [node for node in workflow.nodes if node.node_id not in targets] or workflow.nodes
    if not starts or "__main__" in code:
        return code
    return code.rstrip("\n") + "\n" + _PROGRAM.format(start=starts[0].node_id)
