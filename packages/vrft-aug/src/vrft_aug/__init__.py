"""Reinforcement fine-tuning of vision-language models for medical images."""

from vrft_aug.__about__ import __version__

__all__ = ["__version__"]
