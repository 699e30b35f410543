"""Annotation formats and data set registrations."""
