"""Judging a policy on held-out images: answers, the task's metrics with intervals over subjects, scores, samples and probes.

Every prediction is kept. What is measured and which probe means what is told in the documentation, ``vrft-aug/evaluation``.
"""

from vrft_aug.evaluation.generation import Sample, generate, sample
from vrft_aug.evaluation.judging import answer_form, is_right, judge
from vrft_aug.evaluation.likelihood import class_answers, log_likelihoods, probabilities
from vrft_aug.evaluation.measures import box_f1, measure, pass_at_k, reliability, votes
from vrft_aug.evaluation.policy import compare, evaluate_policy
from vrft_aug.evaluation.probes import PROBES, Shown, asked_form, exchange, in_form, shown, without_knowledge
from vrft_aug.evaluation.results import (
    EVALUATION,
    MEASURES,
    PREDICTIONS,
    EvaluationResult,
    Prediction,
    ProbeResult,
    read_evaluation,
    scores,
    subjects,
    write_evaluation,
)

__all__ = [
    "EVALUATION",
    "MEASURES",
    "PREDICTIONS",
    "PROBES",
    "EvaluationResult",
    "Prediction",
    "ProbeResult",
    "Sample",
    "Shown",
    "answer_form",
    "asked_form",
    "box_f1",
    "class_answers",
    "compare",
    "evaluate_policy",
    "exchange",
    "generate",
    "in_form",
    "is_right",
    "judge",
    "log_likelihoods",
    "measure",
    "pass_at_k",
    "probabilities",
    "read_evaluation",
    "reliability",
    "sample",
    "scores",
    "shown",
    "subjects",
    "votes",
    "without_knowledge",
    "write_evaluation",
]
