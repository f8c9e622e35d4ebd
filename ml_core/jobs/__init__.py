"""Long runs: a spec on disk, a generator of events, a worker process."""
