"""How often Python looks for reference cycles."""

import gc


def collect_rarely() -> None:
    """Leave what is loaded alone, and look at the rest less often; once a process has started.

    Each look goes through the modules too, hundreds of thousands of objects: an eighth of the time
    of a busy worker. What lives long is still looked at every hundred messages or so: with
    Python's own ratios a worker whose messages are watched grew by a third.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 5, 2)
