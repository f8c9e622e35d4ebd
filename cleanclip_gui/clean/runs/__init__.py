"""The queue, and the runs of before."""
