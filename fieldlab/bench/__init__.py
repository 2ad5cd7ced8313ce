"""Measuring fieldlab on the machine it runs on: stages and the whole job, native against reference."""
