"""Where the Agents SDK's traces go."""

from agents import set_trace_processors


def keep_traces_here() -> None:
    """Replace the SDK's own processor, which would post prompts to its maker's server."""
    set_trace_processors([])
