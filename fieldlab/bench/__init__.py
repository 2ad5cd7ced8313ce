"""Measuring: how fast this machine is, how good runs are, and how representations compare."""
