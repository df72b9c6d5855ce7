"""Rewards: what a completion earns."""

from vrft_aug.rewards.settings import RewardSettings

__all__ = ["RewardSettings"]
