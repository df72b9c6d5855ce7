"""Every metric against an independent implementation, published numbers, or its definition computed another way.

The table is checked for completeness: a metric without a row here fails.
"""

from __future__ import annotations

import difflib
import itertools
import json
from collections import Counter

import numpy as np
import pytest
import sacrebleu
import scoringrules
import torch
from faster_coco_eval import COCO, COCOeval_faster
from pycocotools.coco import COCO as PYCOCO
from pycocotools.cocoeval import COCOeval
from scipy import stats
from scipy.ndimage import binary_erosion
from scipy.spatial.distance import cdist
from skimage import metrics as ski
from sklearn import metrics as sk
from sklearn.linear_model import LogisticRegression
from torchmetrics.functional import text as tm_text
from torchmetrics.functional.classification import binary_calibration_error
from torchmetrics.functional.image import structural_similarity_index_measure
from torchmetrics.functional.regression import concordance_corrcoef

from medcore.metrics import get_metric, giou, iou, registered

SEEDS = range(4)


def ours(name, *arguments, **options):
    return get_metric(name).function(*arguments, **options)


def images(rng):
    ref = rng.uniform(0.2, 3, (24, 27))
    return ref, ref + 0.3 * rng.standard_normal(ref.shape)


def predictions(rng):
    mean, sd = rng.standard_normal(60), rng.uniform(0.3, 2, 60)
    return rng.normal(mean, 1.3 * sd), mean, sd


def labels(rng, classes=4, n=80):
    ref = np.r_[np.arange(classes), rng.integers(0, classes, n - classes)]
    return ref, np.where(rng.random(n) < 0.6, ref, rng.integers(0, classes, n))


def scored(rng, n=70):
    truth = np.r_[0, 1, rng.integers(0, 2, n - 2)]
    return truth, np.round(np.clip(0.3 * truth + 0.6 * rng.random(n), 0.02, 0.98), 2)


def several(rng, n=70):
    return np.r_[0, 1, 2, rng.integers(0, 3, n - 3)], rng.dirichlet(np.ones(3), n)


def blobs(rng):
    y, x = np.mgrid[:22, :26]
    cy, cx = rng.uniform(8, 13, 2)
    ref = (y - cy) ** 2 + (x - cx) ** 2 < 30
    return ref, ((y - cy - 2) ** 2 + (x - cx - 1) ** 2 < 25) | (rng.random(ref.shape) < 0.01)


def boxes(rng, images_=6):
    truth, found, sure, kinds = [], [], [], []
    for _ in range(images_):
        corner = rng.integers(0, 60, (3, 2)).astype(float)
        one = np.hstack([corner, corner + rng.integers(15, 40, (3, 2))])
        truth.append(one.tolist())
        found.append(np.vstack([one + rng.uniform(0, 5, (3, 1)), [[1, 1, 30, 30]]]).tolist())
        sure.append(rng.random(4).tolist())
        kinds.append(rng.integers(1, 3, 3).tolist())
    return truth, found, sure, kinds, [[*k, 1] for k in kinds]


WORDS = ["the", "left", "lung", "is", "clear", "no", "sign", "of", "opacity", "here"]


def texts(rng):
    ref = [" ".join(rng.choice(WORDS, rng.integers(6, 14))) for _ in range(8)]
    return ref, [" ".join(w for w in r.split() if rng.random() < 0.85) + " there" for r in ref]


def coco_stats(rng, which):
    truth, found, sure, kinds, guessed = boxes(rng)
    annotations, results = [], []
    for i in range(len(truth)):
        for (x0, y0, x1, y1), kind in zip(truth[i], kinds[i], strict=True):
            box = {
                "image_id": i,
                "category_id": kind,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": (x1 - x0) * (y1 - y0),
                "iscrowd": 0,
            }
            annotations.append({"id": len(annotations) + 1, **box})
        for (x0, y0, x1, y1), kind, score in zip(found[i], guessed[i], sure[i], strict=True):
            results.append({"image_id": i, "category_id": kind, "bbox": [x0, y0, x1 - x0, y1 - y0], "score": score})
    content = {
        "images": [{"id": i} for i in range(len(truth))],
        "categories": [{"id": k, "name": str(k)} for k in (1, 2)],
        "annotations": annotations,
    }
    if which == "pycocotools":
        coco = PYCOCO()
        coco.dataset = json.loads(json.dumps(content))
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    else:
        coco = COCO(content)
        evaluation = COCOeval_faster(coco, coco.loadRes(results), "bbox", print_function=lambda *_: None)
        evaluation.run()
    return (truth, found, sure, kinds, guessed), evaluation.stats


def coco(name, place, which):
    def case(rng):
        arguments, expected = coco_stats(rng, which)
        return ours(name, *arguments).value, expected[place]

    return case


def image_case(name, referee, **options):
    def case(rng):
        pair = images(rng)
        return ours(name, *pair, **options).value, referee(*pair)

    return case


def label_case(name, referee):
    def case(rng):
        pair = labels(rng)
        return ours(name, *pair).value, referee(*pair)

    return case


def score_case(name, referee, make=scored):
    def case(rng):
        pair = make(rng)
        return ours(name, *pair).value, referee(*pair)

    return case


def text_case(name, referee):
    def case(rng):
        pair = texts(rng)
        return ours(name, *pair).value, referee(*pair)

    return case


def predicted_case(name, referee):
    def case(rng):
        values = predictions(rng)
        return ours(name, *values).value, referee(*values)

    return case


def binary_case(name, referee):
    def case(rng):
        ref, est = labels(rng, classes=2)
        result = ours(name, ref, est)
        hits, n = map(int, result.note.split(" of "))
        interval = stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
        return [result.value, result.low, result.high], [referee(ref, est), interval.low, interval.high]

    return case


def ssim_reference(window):
    return lambda r, e: ski.structural_similarity(r, e, data_range=r.max(), win_size=window)


def gaussian_ski(r, e):
    return ski.structural_similarity(r, e, data_range=r.max(), gaussian_weights=True, sigma=1.5, use_sample_covariance=False)


def gaussian_tm(r, e):
    """Torchmetrics also counts windows over the border, of reflected images; inside it is the same."""
    pair = [torch.from_numpy(a)[None, None] for a in (e, r)]
    _, full = structural_similarity_index_measure(*pair, data_range=float(r.max()), return_full_image=True)
    return float(full[..., 5:-5, 5:-5].mean())


def limits(sign):
    def case(rng):
        """17 pairs of peak flow: Bland and Altman 1986, -2.1 -+ 1.96 * 38.8."""
        large = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
        mini = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]
        return ours("loa_high" if sign > 0 else "loa_low", mini, large).value, pytest.approx(-2.1 + sign * 1.96 * 38.8, abs=0.3)

    return case


def shrout_fleiss(name, value, low, high):
    def case(rng):
        table = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]])
        result = ours(name, table)
        return [result.value, result.low, result.high], pytest.approx([value, low, high], abs=5e-3)

    return case


def paired_t(rng):
    ref, est = (a.ravel() for a in images(rng))
    result, interval = ours("bias", ref, est), stats.ttest_rel(est, ref).confidence_interval(0.95)
    return [result.value, result.low, result.high], [np.mean(est) - np.mean(ref), *interval]


def ratio_t(rng):
    ref, est = (a.ravel() for a in images(rng))
    result, percent = ours("percent_bias", ref, est), 100 * (est / ref - 1)
    return [result.value, result.low, result.high], [percent.mean(), *stats.ttest_1samp(percent, 0).confidence_interval(0.95)]


def within(factor):
    def case(rng):
        a, b = (v.ravel() for v in images(rng))
        sd = factor * np.sqrt(sk.mean_squared_error(a, b) / 2)
        low, high = (sd * np.sqrt(len(a) / stats.chi2.ppf(q, len(a))) for q in (0.975, 0.025))
        result = ours("within_subject_sd" if factor == 1 else "repeatability_coefficient", a, b)
        return [result.value, result.low, result.high], [sd, low, high]

    return case


def simulated(rng):
    """Within RC of each other lie 95 % of new pairs of measurements."""
    subject, error = rng.normal(5, 2, 4000), rng.standard_normal((4, 4000))
    found = ours("repeatability_coefficient", subject + error[0], subject + error[1]).value
    return np.mean(abs(error[2] - error[3]) < found), pytest.approx(0.95, abs=0.015)


def surface_distances(ref, est):
    points = [np.argwhere(m & ~binary_erosion(m)) * (2.0, 3.0) for m in (ref, est)]
    table = cdist(*points)
    return table.min(axis=1), table.min(axis=0)


def hausdorff(rng):
    ref, est = blobs(rng)
    forth, back = surface_distances(ref, est)
    found = ours("hausdorff95", ref, est, spacing=(2.0, 3.0)).value
    return found, max(np.percentile(forth, 95), np.percentile(back, 95))


def surface_mean(rng):
    ref, est = blobs(rng)
    forth, back = surface_distances(ref, est)
    return ours("average_surface_distance", ref, est, spacing=(2.0, 3.0)).value, np.mean(np.r_[forth, back])


def mask_case(name, referee):
    def case(rng):
        ref, est = blobs(rng)
        return ours(name, ref, est).value, referee(ref.ravel(), est.ravel())

    return case


def covered(rng):
    ref, mean, sd = predictions(rng)
    result = ours("coverage", ref, mean - sd, mean + sd)
    inside = int(np.sum(abs(ref - mean) <= sd))
    expected = stats.binomtest(inside, 60).proportion_ci(0.95, method="wilson")
    return [result.value, result.low, result.high], [inside / 60, expected.low, expected.high]


def interval(rng):
    ref, mean, sd = predictions(rng)
    low, high = mean - sd, mean + 1.5 * sd
    return ours("interval_score", ref, low, high, level=0.8).value, np.mean(scoringrules.interval_score(ref, low, high, 0.2))


def width(rng):
    _, mean, sd = predictions(rng)
    return ours("mean_width", mean - sd, mean + sd).value, np.mean(scoringrules.interval_score(mean, mean - sd, mean + sd, 0.2))


def central_levels(ref, mean, sd):
    return np.mean([abs(np.mean(abs(ref - mean) <= stats.norm.interval(q / 100)[1] * sd) - q / 100) for q in range(1, 100)])


def quantile_levels(ref, mean, sd):
    return np.mean([abs(np.mean(ref <= stats.norm.ppf(q / 100, mean, sd)) - q / 100) for q in range(1, 100)])


def ence_by_loops(ref, mean, sd):
    order, gaps = sorted(range(len(sd)), key=lambda i: sd[i]), []
    for k in range(10):
        part = order[6 * k : 6 * k + 6]
        predicted = np.sqrt(sum(sd[i] ** 2 for i in part) / 6)
        gaps.append(abs(predicted - np.sqrt(sum((ref[i] - mean[i]) ** 2 for i in part) / 6)) / predicted)
    return sum(gaps) / 10


def ause_by_sorting(ref, mean, sd):
    error, gaps = (ref - mean) ** 2, []
    for k in range(100):
        left = round(len(error) * (1 - k / 100))
        by_sd, by_error = error[np.argsort(sd)][:left], np.sort(error)[:left]
        gaps.append((np.sqrt(by_sd.mean()) - np.sqrt(by_error.mean())) / np.sqrt(error.mean()))
    return np.mean(gaps)


def ece_by_loops(correct, confidence, edges):
    total = 0.0
    for low, high in itertools.pairwise(edges):
        inside = [i for i in range(len(correct)) if low < confidence[i] <= high]
        total += abs(sum(confidence[i] - correct[i] for i in inside))
    return total / len(correct)


def ece_tm(correct, confidence):
    """Torchmetrics' confidence of the binary task is max(p, 1 - p); ours is given, here above one half."""
    sure = torch.from_numpy(np.where(confidence < 0.5, 1 - confidence, confidence)).double()
    return float(binary_calibration_error(sure, torch.from_numpy(np.asarray(correct)), n_bins=15, norm="l1"))


def ece_case(rng):
    correct, confidence = scored(rng)
    confidence = (
        np.maximum(confidence, 1 - confidence) + 1e-4
    )  # off the edges of the bins, which torchmetrics counts to the upper one
    return ours("ece", correct, confidence).value, pytest.approx(ece_tm(correct, confidence), abs=1e-6)


def ece_mass_case(rng):
    confidence = np.sort(rng.permutation(np.arange(1, 61)) / 61)
    correct = rng.integers(0, 2, 60)
    edges = [0, *confidence[3::4]]
    return ours("ece_mass", correct, confidence).value, ece_by_loops(correct, confidence, edges)


def slope(truth, p):
    model = LogisticRegression(C=np.inf, tol=1e-12, max_iter=1000, solver="newton-cholesky").fit(
        np.log(p / (1 - p))[:, None], truth
    )
    return pytest.approx(model.coef_[0, 0], rel=1e-6)


def one_hot(truth):
    return np.eye(3, dtype=int)[truth]


def findings(rng):
    pair = rng.integers(0, 2, (40, 3)), rng.integers(0, 2, (40, 3))
    return ours("multilabel_f1", *pair).value, sk.f1_score(*pair, average="macro")


def best_pairing(overlap, nothing):
    def case(rng):
        truth, found, *_ = boxes(rng, 3)
        expected = []
        for t, f in zip(truth, found, strict=True):
            table = overlap(t, f)
            best = max(sum(table[i, j] for i, j in enumerate(order)) for order in itertools.permutations(range(len(f)), len(t)))
            expected.append((best + nothing * (len(f) - len(t))) / len(f))
        return ours("mean_iou" if nothing == 0 else "mean_giou", truth, found).value, np.mean(expected)

    return case


def common_length(a, b):
    row = [0] * (len(b) + 1)
    for x in a:
        previous = 0
        for j, y in enumerate(b, 1):
            previous, row[j] = row[j], previous + 1 if x == y else max(row[j], row[j - 1])
    return row[-1]


def over_pairs(score):
    return lambda ref, est: np.mean([score(r, e) for r, e in zip(ref, est, strict=True)])


def edit_tm(ref, est):
    single = [float(tm_text.edit_distance([e], [r], reduction="sum")) / max(len(r), len(e)) for r, e in zip(ref, est, strict=True)]
    return pytest.approx(1 - np.mean(single), rel=1e-6)


def run_of(r, e):
    return difflib.SequenceMatcher(None, r.split(), e.split(), autojunk=False).find_longest_match().size


def copied(ref, est):
    runs = [[tuple(t.split()[i : i + 4]) for i in range(len(t.split()) - 3)] for t in est]
    hits = [" ".join(run) in r for r, some in zip(ref, runs, strict=True) for run in some]
    return np.mean(hits)


def bleu_tm(ref, est):
    """Torchmetrics has no exponential smoothing: equal where no count of n-grams is zero."""
    return pytest.approx(float(tm_text.sacre_bleu_score(est, [[r] for r in ref], tokenize="13a")), rel=1e-5)


def chrf_tm(ref, est):
    return pytest.approx(float(tm_text.chrf_score(est, [[r] for r in ref], n_word_order=0)), rel=1e-5)


def lin(r, e):
    """Torchmetrics takes moments with 1/(n - 1), which changes the third digit here."""
    return pytest.approx(float(concordance_corrcoef(torch.from_numpy(e.ravel()), torch.from_numpy(r.ravel()))), abs=3e-3)


def lin_by_pearson(r, e):
    a, b = r.ravel(), e.ravel()
    scale = a.std() / b.std()
    shift = (a.mean() - b.mean()) ** 2 / (a.std() * b.std())
    return stats.pearsonr(a, b).statistic * 2 / (scale + 1 / scale + shift)


TABLE = {
    "nrmse": [("scikit-image", image_case("nrmse", lambda r, e: ski.normalized_root_mse(r, e, normalization="euclidean")))],
    "nmse": [("fastMRI's formula", image_case("nmse", lambda r, e: np.linalg.norm(r - e) ** 2 / np.linalg.norm(r) ** 2))],
    "psnr": [("scikit-image", image_case("psnr", lambda r, e: ski.peak_signal_noise_ratio(r, e, data_range=r.max())))],
    "ssim": [("scikit-image", image_case("ssim", ssim_reference(7)))],
    "ssim_w11": [("scikit-image", image_case("ssim_w11", ssim_reference(11)))],
    "ssim_gauss": [
        ("scikit-image", image_case("ssim_gauss", gaussian_ski)),
        ("torchmetrics", image_case("ssim_gauss", gaussian_tm)),
    ],
    "bias": [("scipy", paired_t)],
    "loa_low": [("Bland and Altman 1986", limits(-1))],
    "loa_high": [("Bland and Altman 1986", limits(1))],
    "mae": [("scikit-learn", image_case("mae", sk.mean_absolute_error))],
    "rmse": [("scikit-learn", image_case("rmse", lambda r, e: sk.root_mean_squared_error(r.ravel(), e.ravel())))],
    "percent_bias": [("scipy", ratio_t)],
    "median_relative_error": [
        (
            "scikit-learn",
            image_case("median_relative_error", lambda r, e: sk.median_absolute_error(np.ones(r.size), (e / r).ravel())),
        )
    ],
    "ccc": [("scipy", image_case("ccc", lin_by_pearson)), ("torchmetrics", image_case("ccc", lin))],
    "cov": [("scipy", lambda rng: (ours("cov", (v := rng.normal(5, 1, 30))).value, stats.variation(v, ddof=1)))],
    "within_subject_cov": [
        (
            "numpy",
            image_case(
                "within_subject_cov", lambda r, e: np.sqrt(np.mean((np.std([r, e], axis=0, ddof=1) / np.mean([r, e], axis=0)) ** 2))
            ),
        )
    ],
    "within_subject_sd": [("scikit-learn, scipy", within(1))],
    "repeatability_coefficient": [("scikit-learn, scipy", within(stats.norm.ppf(0.975) * np.sqrt(2))), ("simulation", simulated)],
    "icc_2_1": [("Shrout and Fleiss 1979", shrout_fleiss("icc_2_1", 0.29, 0.019, 0.761))],
    "icc_3_1": [("Shrout and Fleiss 1979", shrout_fleiss("icc_3_1", 0.715, 0.342, 0.946))],
    "dice": [("scikit-learn", mask_case("dice", sk.f1_score))],
    "jaccard": [("scikit-learn", mask_case("jaccard", sk.jaccard_score))],
    "hausdorff95": [("scipy", hausdorff)],
    "average_surface_distance": [("scipy", surface_mean)],
    "coverage": [("scipy", covered)],
    "mean_width": [("scoringrules", width)],
    "interval_score": [("scoringrules", interval)],
    "gaussian_nll": [
        ("scipy", predicted_case("gaussian_nll", lambda r, m, s: -np.mean(stats.norm.logpdf(r, m, s)))),
        ("scoringrules", predicted_case("gaussian_nll", lambda r, m, s: np.mean(scoringrules.logs_normal(r, m, s)))),
    ],
    "crps_gaussian": [
        ("scoringrules", predicted_case("crps_gaussian", lambda r, m, s: np.mean(scoringrules.crps_normal(r, m, s))))
    ],
    "sharpness": [
        ("numpy", lambda rng: (ours("sharpness", (s := rng.uniform(0.1, 2, 50))).value, np.linalg.norm(s) / np.sqrt(50)))
    ],
    "z_score_rms": [("numpy", predicted_case("z_score_rms", lambda r, m, s: np.linalg.norm((r - m) / s) / np.sqrt(len(r))))],
    "regression_calibration_error": [("scipy", predicted_case("regression_calibration_error", central_levels))],
    "quantile_calibration_error": [("scipy", predicted_case("quantile_calibration_error", quantile_levels))],
    "ence": [("loops", predicted_case("ence", ence_by_loops))],
    "ause": [("sorting", predicted_case("ause", ause_by_sorting))],
    "error_spearman": [
        ("scipy", predicted_case("error_spearman", lambda r, m, s: stats.spearmanr(s, abs(r - m)).statistic)),
    ],
    "accuracy": [("scikit-learn", label_case("accuracy", sk.accuracy_score))],
    "balanced_accuracy": [("scikit-learn", label_case("balanced_accuracy", sk.balanced_accuracy_score))],
    "f1": [("scikit-learn", label_case("f1", lambda r, e: sk.f1_score(r, e, average="macro")))],
    "matthews": [("scikit-learn", label_case("matthews", sk.matthews_corrcoef))],
    "cohen_kappa": [("scikit-learn", label_case("cohen_kappa", sk.cohen_kappa_score))],
    "quadratic_weighted_kappa": [
        ("scikit-learn", label_case("quadratic_weighted_kappa", lambda r, e: sk.cohen_kappa_score(r, e, weights="quadratic")))
    ],
    "grade_mae": [("scikit-learn", label_case("grade_mae", sk.mean_absolute_error))],
    "sensitivity": [("scikit-learn", binary_case("sensitivity", sk.recall_score))],
    "specificity": [("scikit-learn", binary_case("specificity", lambda r, e: sk.recall_score(r, e, pos_label=0)))],
    "ppv": [("scikit-learn", binary_case("ppv", sk.precision_score))],
    "npv": [("scikit-learn", binary_case("npv", lambda r, e: sk.precision_score(r, e, pos_label=0)))],
    "multilabel_f1": [("scikit-learn", findings)],
    "auroc": [
        ("scikit-learn", score_case("auroc", sk.roc_auc_score)),
        ("scikit-learn", score_case("auroc", lambda t, s: sk.roc_auc_score(t, s, multi_class="ovr"), several)),
    ],
    "average_precision": [
        ("scikit-learn", score_case("average_precision", sk.average_precision_score)),
        ("scikit-learn", score_case("average_precision", lambda t, s: sk.average_precision_score(one_hot(t), s), several)),
    ],
    "brier": [
        ("scikit-learn", score_case("brier", sk.brier_score_loss)),
        ("scikit-learn", score_case("brier", lambda t, s: sk.brier_score_loss(t, s, labels=[0, 1, 2]), several)),
    ],
    "log_loss": [
        ("scikit-learn", score_case("log_loss", sk.log_loss)),
        ("scikit-learn", score_case("log_loss", sk.log_loss, several)),
    ],
    "ece": [("torchmetrics", ece_case)],
    "ece_mass": [("loops", ece_mass_case)],
    "calibration_slope": [("scikit-learn", score_case("calibration_slope", slope))],
    "mean_iou": [("enumeration", best_pairing(iou, 0))],
    "mean_giou": [("enumeration", best_pairing(giou, -1))],
    "mean_average_precision": [(w, coco("mean_average_precision", 0, w)) for w in ("pycocotools", "faster-coco-eval")],
    "ap50": [(w, coco("ap50", 1, w)) for w in ("pycocotools", "faster-coco-eval")],
    "ap75": [(w, coco("ap75", 2, w)) for w in ("pycocotools", "faster-coco-eval")],
    "bleu": [
        ("sacrebleu", text_case("bleu", lambda r, e: sacrebleu.corpus_bleu(e, [r]).score / 100)),
        ("torchmetrics", text_case("bleu", bleu_tm)),
    ],
    "chrf": [
        ("sacrebleu", text_case("chrf", lambda r, e: sacrebleu.corpus_chrf(e, [r]).score / 100)),
        ("torchmetrics", text_case("chrf", chrf_tm)),
    ],
    "rouge_l": [
        (
            "dynamic programming",
            text_case(
                "rouge_l", over_pairs(lambda r, e: 2 * common_length(r.split(), e.split()) / (len(r.split()) + len(e.split())))
            ),
        )
    ],
    "token_f1": [
        (
            "counting",
            text_case(
                "token_f1",
                over_pairs(lambda r, e: 2 * (Counter(r.split()) & Counter(e.split())).total() / (len(r.split()) + len(e.split()))),
            ),
        )
    ],
    "edit_ratio": [("torchmetrics", text_case("edit_ratio", edit_tm))],
    "longest_common_run": [("difflib", text_case("longest_common_run", over_pairs(run_of)))],
    "copy_rate": [("counting", text_case("copy_rate", copied))],
}


def test_every_metric_has_a_referee():
    assert set(TABLE) == set(registered())
    for name, entry in registered().items():
        assert entry.referee, name
        assert TABLE[name], name


@pytest.mark.parametrize(("name", "referee", "case"), [(n, who, case) for n, rows in TABLE.items() for who, case in rows])
@pytest.mark.parametrize("seed", SEEDS)
def test_metric_against_its_referee(name, referee, case, seed, capsys):
    found, expected = case(np.random.default_rng(seed))
    capsys.readouterr()  # pycocotools prints its own table
    assert found == (pytest.approx(expected, rel=1e-7, abs=1e-9) if not hasattr(expected, "expected") else expected), referee
