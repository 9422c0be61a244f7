"""Pictures: the workflow, and the waterfall of a message."""
