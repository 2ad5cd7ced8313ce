"""Calls of fieldlab side by side: in processes of this machine, or as tasks of a ray cluster."""
