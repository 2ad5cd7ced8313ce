"""The folder of a run: what it is, its checkpoints, and the session that keeps it up to date."""
