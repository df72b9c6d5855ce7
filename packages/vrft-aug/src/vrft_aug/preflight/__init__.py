"""Before a run: whether the policy has what reinforcement learning needs, and the reward tells right from wrong."""

from vrft_aug.evaluation import pass_at_k
from vrft_aug.preflight.judging import Thresholds, Verdict, judge_figures
from vrft_aug.preflight.measuring import PreflightSettings, preflight
from vrft_aug.preflight.report import as_facts, lines
from vrft_aug.preflight.statistics import Figures, RewardFigures, separation

__all__ = [
    "Figures",
    "PreflightSettings",
    "RewardFigures",
    "Thresholds",
    "Verdict",
    "as_facts",
    "judge_figures",
    "lines",
    "pass_at_k",
    "preflight",
    "separation",
]
