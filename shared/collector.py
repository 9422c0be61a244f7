"""How often Python looks for reference cycles."""

import gc
import threading
import time

_BRIEF_S = 1.0
_BRIEF_LOOKS = 600
"""So many brief looks, then a whole one."""


def tune_gc() -> None:
    """Keep the collector from loaded modules, and let it look at other objects in short steps.

    To be called once a process has started. Each look at modules too, hundreds of thousands of
    objects, was an eighth of the time of a busy worker. The thresholds count what is made less what
    is freed: under steady load they are reached when all that lives has been made anew, and a look
    at "the new" takes as long as one at everything, 0.2 to 0.4 s with two thousand waiting clients,
    in which nobody is answered. Each second it takes 10 ms, or 50 on a machine that is busy. A
    whole look takes up to 0.8 s, so it is rare; but what few cycles there are (from errors, from
    Celery's connections) would otherwise stay for ever. The thresholds remain for many at once.
    """
    gc.collect()
    gc.freeze()
    # the second counts looks at the new: fifty of Python's own, beside those of `_look`
    gc.set_threshold(10_000, 50 + _BRIEF_LOOKS, 20)
    threading.Thread(target=_look, name="collector", daemon=True).start()


def _look() -> None:
    while True:
        for _ in range(_BRIEF_LOOKS):
            time.sleep(_BRIEF_S)
            gc.collect(0)
        gc.collect()
