"""Guidance-free autoregressive image generation: a reproducible benchmark suite."""

__version__ = "0.2.0"
