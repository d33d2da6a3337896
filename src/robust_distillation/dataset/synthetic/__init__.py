"""Synthetic German traffic signs, drawn into archives that read like the official ones."""

from robust_distillation.dataset.synthetic.archives import draw_archives

__all__ = ["draw_archives"]
