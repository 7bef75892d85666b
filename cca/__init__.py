"""Guidance-free autoregressive image generation: a reproducible benchmark suite."""

__version__ = "0.1.0"
