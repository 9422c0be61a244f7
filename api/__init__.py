"""The HTTP side: it accepts, waits and answers, and knows no agent."""
