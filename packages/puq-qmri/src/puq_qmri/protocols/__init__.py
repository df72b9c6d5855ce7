"""Published evaluation protocols, run on a reader's own cases."""

from puq_qmri.protocols.case import PaperCase, read_case
from puq_qmri.protocols.measurement import line_masks, measure
from puq_qmri.protocols.puq_paper import PUBLISHED, MethodResult, run_case
from puq_qmri.protocols.scores import Scores, score

__all__ = ["PUBLISHED", "MethodResult", "PaperCase", "Scores", "line_masks", "measure", "read_case", "run_case", "score"]
