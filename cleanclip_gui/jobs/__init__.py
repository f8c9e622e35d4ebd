"""The inference thread, and the threads that supervise a job's child process."""
