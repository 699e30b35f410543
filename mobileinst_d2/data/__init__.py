"""Data sets, loaders and mappers."""
