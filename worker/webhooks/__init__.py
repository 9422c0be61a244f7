"""Webhooks: the dispatcher of the outbox, and the client that posts a delivery."""
