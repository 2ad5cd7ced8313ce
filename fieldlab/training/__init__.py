"""Training: the loop, losses, schedules, run folders, checkpoints and metrics."""
