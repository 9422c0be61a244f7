"""The worker: claims messages and answers them with the Agents SDK."""
