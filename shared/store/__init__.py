"""Every SQL statement of the service; nothing here commits.

Locks are taken in one order everywhere: project, then session (by id), then message (by id).
"""
