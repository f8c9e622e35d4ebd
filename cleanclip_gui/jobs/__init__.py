"""Work beside the window: tasks in threads, and the supervision of a job's child process."""
