"""Rewards: what a completion earns."""

from vrft_aug.rewards.accuracy import Accuracy
from vrft_aug.rewards.base import REGISTRY, Reward
from vrft_aug.rewards.box_iou import BoxIou
from vrft_aug.rewards.building import build_reward, parse_spec
from vrft_aug.rewards.calibration import Calibration
from vrft_aug.rewards.formats import Format
from vrft_aug.rewards.guard import GuardedReward, guard
from vrft_aug.rewards.length import Length
from vrft_aug.rewards.multi_grade_fuzzy import MultiGradeFuzzy
from vrft_aug.rewards.recitation import Recitation
from vrft_aug.rewards.settings import RewardSettings
from vrft_aug.rewards.tightening import Tightening, TightenSettings

__all__ = [
    "REGISTRY",
    "Accuracy",
    "BoxIou",
    "Calibration",
    "Format",
    "GuardedReward",
    "Length",
    "MultiGradeFuzzy",
    "Recitation",
    "Reward",
    "RewardSettings",
    "TightenSettings",
    "Tightening",
    "build_reward",
    "guard",
    "parse_spec",
]
