"""A project's code: reading, checking and comparing it, without executing it."""
