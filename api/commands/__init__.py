"""Commands of `python -m api` besides the server."""
