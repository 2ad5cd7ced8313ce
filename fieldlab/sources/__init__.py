"""Scenes by path or name, whoever provides them."""
