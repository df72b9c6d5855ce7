"""Named, versioned metrics that refuse NaN and say why a number does not exist.

>>> import numpy as np
>>> from medcore.metrics import nrmse
>>> nrmse(np.array([1.0, 2.0]), np.array([1.0, 1.0])).value
0.4472135954999579
>>> print(nrmse(np.zeros(2), np.ones(2)))
undefined (the reference is zero everywhere)
"""

from medcore.metrics.base import Metric, MetricResult, get_metric, registered
from medcore.metrics.bootstrap import cluster_interval
from medcore.metrics.calibration import (
    ause,
    calibration_curve,
    ence,
    error_spearman,
    quantile_calibration_error,
    regression_calibration_error,
    sparsification,
)
from medcore.metrics.coco import ap50, ap75, mean_average_precision
from medcore.metrics.corpus_text import bleu, chrf
from medcore.metrics.detection import Matches, giou, iou, match_boxes, mean_giou, mean_iou
from medcore.metrics.image import nmse, nrmse, psnr
from medcore.metrics.intervals import coverage, interval_score, mean_width
from medcore.metrics.labels import (
    accuracy,
    balanced_accuracy,
    cohen_kappa,
    confusion_matrix,
    f1,
    grade_mae,
    matthews,
    quadratic_weighted_kappa,
)
from medcore.metrics.maps import (
    LimitsOfAgreement,
    bias,
    ccc,
    limits_of_agreement,
    loa_high,
    loa_low,
    mae,
    median_relative_error,
    percent_bias,
    rmse,
)
from medcore.metrics.masks import average_surface_distance, dice, hausdorff95, jaccard
from medcore.metrics.paired import Comparison, compare_methods, holm, paired_comparison, sign_flip_test
from medcore.metrics.probabilities import auroc, average_precision, brier, calibration_slope, ece, ece_mass, log_loss, per_class
from medcore.metrics.proportions import multilabel_f1, npv, ppv, sensitivity, specificity
from medcore.metrics.repeatability import (
    coefficient_of_variation,
    icc,
    icc_2_1,
    icc_3_1,
    repeatability_coefficient,
    within_subject_cov,
    within_subject_sd,
)
from medcore.metrics.resampling import Bound
from medcore.metrics.ssim import ssim, ssim_gauss, ssim_w11
from medcore.metrics.text import copy_rate, edit_ratio, longest_common_run, rouge_l, token_f1
from medcore.metrics.uncertainty import crps_gaussian, gaussian_nll, sharpness, z_score_rms, z_scores

__all__ = [
    "Bound",
    "Comparison",
    "LimitsOfAgreement",
    "Matches",
    "Metric",
    "MetricResult",
    "accuracy",
    "ap50",
    "ap75",
    "auroc",
    "ause",
    "average_precision",
    "average_surface_distance",
    "balanced_accuracy",
    "bias",
    "bleu",
    "brier",
    "calibration_curve",
    "calibration_slope",
    "ccc",
    "chrf",
    "cluster_interval",
    "coefficient_of_variation",
    "cohen_kappa",
    "compare_methods",
    "confusion_matrix",
    "copy_rate",
    "coverage",
    "crps_gaussian",
    "dice",
    "ece",
    "ece_mass",
    "edit_ratio",
    "ence",
    "error_spearman",
    "f1",
    "gaussian_nll",
    "get_metric",
    "giou",
    "grade_mae",
    "hausdorff95",
    "holm",
    "icc",
    "icc_2_1",
    "icc_3_1",
    "interval_score",
    "iou",
    "jaccard",
    "limits_of_agreement",
    "loa_high",
    "loa_low",
    "log_loss",
    "longest_common_run",
    "mae",
    "match_boxes",
    "matthews",
    "mean_average_precision",
    "mean_giou",
    "mean_iou",
    "mean_width",
    "median_relative_error",
    "multilabel_f1",
    "nmse",
    "npv",
    "nrmse",
    "paired_comparison",
    "per_class",
    "percent_bias",
    "ppv",
    "psnr",
    "quadratic_weighted_kappa",
    "quantile_calibration_error",
    "registered",
    "regression_calibration_error",
    "repeatability_coefficient",
    "rmse",
    "rouge_l",
    "sensitivity",
    "sharpness",
    "sign_flip_test",
    "sparsification",
    "specificity",
    "ssim",
    "ssim_gauss",
    "ssim_w11",
    "token_f1",
    "within_subject_cov",
    "within_subject_sd",
    "z_score_rms",
    "z_scores",
]
