"""Masks: from logits to pixels, and their RLE."""
