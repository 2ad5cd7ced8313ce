"""Measuring fieldlab on the machine it runs on: every stage and the whole job, native kernels against the references."""
