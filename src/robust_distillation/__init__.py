"""Denoising-autoencoder-based defensive distillation, from raw images to a promoted, attacked student."""

__version__ = "0.1.0"
