"""Masks: from logits to pixels, and their run-length codes."""
