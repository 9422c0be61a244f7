"""The compose deployment under load for a long time, harmed meanwhile: see `__main__.py`."""
