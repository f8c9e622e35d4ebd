"""Say in one line what is wrong with the interpreter chosen for the virtual environment.

Runs on any Python 3, so it uses no newer syntax.
"""

import sys

VERSION = "%d.%d" % sys.version_info[:2]  # noqa: UP031

if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    sys.exit(
        "CleanCLIP GUI needs Python 3.11 to 3.13 and this is %s: choose one with "  # noqa: UP031
        "'make PYTHON=python3.12 ...'." % VERSION
    )
try:
    import ensurepip  # noqa: F401
    import venv  # noqa: F401
except ImportError:
    sys.exit(
        "This Python lacks its venv module: run 'apt-get install python%s-venv', "  # noqa: UP031
        "then try again." % VERSION
    )
