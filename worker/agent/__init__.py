"""VibeCoder: the agent, its instructions and the tools that edit the workflow."""
