"""`python -m tests.services` says whether the servers that tests start are installed."""

import sys

from tests.services.servers import not_installed

if sentences := not_installed():
    sys.exit("\n".join([*sentences, "`make test` runs the tests that need neither."]))
