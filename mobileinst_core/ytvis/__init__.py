"""The YouTube-VIS format: files, metric, converters."""
