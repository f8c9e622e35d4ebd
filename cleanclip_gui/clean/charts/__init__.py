"""Charts of a cleaning run, and the trade-off of several."""
