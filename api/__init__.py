"""The HTTP side: the API process accepts messages, waits for their end and answers."""
