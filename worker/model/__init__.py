"""The model: its client, its streams, and the record of its calls."""
