"""Conversation memory: the session's SQLiteSession file and the history it gives the model."""
