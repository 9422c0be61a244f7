"""How often Python looks for reference cycles."""

import gc


def collect_rarely() -> None:
    """Leave what is loaded alone, and look at the rest less often; once a process has started.

    Each look goes through the modules too, hundreds of thousands of objects: an eighth of the time
    of a busy worker. What lives longer is looked at still less: with a thousand runs in progress
    that takes 0.2 to 0.8 s, in which nobody is answered. (Nothing that a message knew is left in
    cycles; what little there is comes from Celery's connections.)
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 50, 20)
