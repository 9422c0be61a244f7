"""Schemas of the bodies of requests and responses."""
