"""Synthetic German traffic signs, drawn into archives that read like the official ones."""
