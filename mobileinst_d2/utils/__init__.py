"""Helpers that data, models and evaluation share: names of classes, config keys, resizing."""
