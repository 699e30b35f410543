"""Exported models and the runtimes that run them."""
