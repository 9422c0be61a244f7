"""How fast the service is, beside the same agent without a queue: `python -m tests.benchmarks`."""
