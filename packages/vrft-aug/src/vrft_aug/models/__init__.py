"""Policies and their processors: a tiny one from a config, real ones from a folder or the hub."""

from vrft_aug.models.environment import known_deprecations, limit_threads, prepare, quiet_progress, telemetry_off, torchvision_state
from vrft_aug.models.loading import load_policy, save_policy
from vrft_aug.models.processor import load_processor
from vrft_aug.models.tiny import build_tiny_model

__all__ = [
    "build_tiny_model",
    "known_deprecations",
    "limit_threads",
    "load_policy",
    "load_processor",
    "prepare",
    "quiet_progress",
    "save_policy",
    "telemetry_off",
    "torchvision_state",
]
