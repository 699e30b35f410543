"""Helpers that know arrays and files only: reading, drawing and writing of images and videos."""
