"""The report of a run: one page and the same facts as JSON, made from the run's folder without a model."""

from vrft_aug.report.curves import reward_panels, warm_start_panels
from vrft_aug.report.examples import sample_groups
from vrft_aug.report.figures import examples_figure, pick, reliability_figure
from vrft_aug.report.origins import knowledge_origins
from vrft_aug.report.page import write_report
from vrft_aug.report.reading import AUDIT, RunFacts, edge_rounds, read_run
from vrft_aug.report.rewards import write_audit
from vrft_aug.report.words import LABELS, change, interval, label

__all__ = [
    "AUDIT",
    "LABELS",
    "RunFacts",
    "change",
    "edge_rounds",
    "examples_figure",
    "interval",
    "knowledge_origins",
    "label",
    "pick",
    "read_run",
    "reliability_figure",
    "reward_panels",
    "sample_groups",
    "warm_start_panels",
    "write_audit",
    "write_report",
]
