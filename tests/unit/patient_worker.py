"""The worker, which waits for a cancelled step however long that takes on a busy machine."""

from __future__ import annotations

import sys

from ml_core.jobs import worker

if __name__ == "__main__":
    worker.CANCEL_GRACE_SECONDS = 120.0
    sys.exit(worker.main())
