"""Named, versioned metrics that refuse NaN and say why a number does not exist.

>>> import numpy as np
>>> from medcore.metrics import nrmse
>>> nrmse(np.array([1.0, 2.0]), np.array([1.0, 1.0])).value
0.4472135954999579
>>> print(nrmse(np.zeros(2), np.ones(2)))
undefined (the reference is zero everywhere)
"""

from medcore.metrics.base import Metric, MetricResult, get_metric, registered
from medcore.metrics.bootstrap import Comparison, cluster_interval, compare_methods, holm, sign_flip_test
from medcore.metrics.classification import (
    accuracy,
    auroc,
    balanced_accuracy,
    brier,
    confusion_matrix,
    ece,
    ece_mass,
    f1,
    grade_mae,
    quadratic_weighted_kappa,
)
from medcore.metrics.detection import Matches, giou, iou, match_boxes, mean_average_precision, mean_iou
from medcore.metrics.image import nrmse, psnr, ssim, ssim_w11
from medcore.metrics.maps import (
    LimitsOfAgreement,
    bias,
    ccc,
    coefficient_of_variation,
    icc,
    icc_2_1,
    icc_3_1,
    limits_of_agreement,
    loa_high,
    loa_low,
    median_relative_error,
    within_subject_cov,
)
from medcore.metrics.text import bleu, chrf, copy_rate, edit_ratio, longest_common_run, rouge_l, token_f1
from medcore.metrics.uncertainty import (
    ause,
    calibration_curve,
    coverage,
    crps_gaussian,
    gaussian_nll,
    interval_score,
    regression_calibration_error,
    sharpness,
    sparsification,
    z_score_rms,
    z_scores,
)

__all__ = [
    "Comparison",
    "LimitsOfAgreement",
    "Matches",
    "Metric",
    "MetricResult",
    "accuracy",
    "auroc",
    "ause",
    "balanced_accuracy",
    "bias",
    "bleu",
    "brier",
    "calibration_curve",
    "ccc",
    "chrf",
    "cluster_interval",
    "coefficient_of_variation",
    "compare_methods",
    "confusion_matrix",
    "copy_rate",
    "coverage",
    "crps_gaussian",
    "ece",
    "ece_mass",
    "edit_ratio",
    "f1",
    "gaussian_nll",
    "get_metric",
    "giou",
    "grade_mae",
    "holm",
    "icc",
    "icc_2_1",
    "icc_3_1",
    "interval_score",
    "iou",
    "limits_of_agreement",
    "loa_high",
    "loa_low",
    "longest_common_run",
    "match_boxes",
    "mean_average_precision",
    "mean_iou",
    "median_relative_error",
    "nrmse",
    "psnr",
    "quadratic_weighted_kappa",
    "registered",
    "regression_calibration_error",
    "rouge_l",
    "sharpness",
    "sign_flip_test",
    "sparsification",
    "ssim",
    "ssim_w11",
    "token_f1",
    "within_subject_cov",
    "z_score_rms",
    "z_scores",
]
