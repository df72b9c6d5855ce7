"""The only reader of completions: tags, class names, grades, numbers, boxes.

Every function is total: whatever a model writes, it returns a value or None and never raises, in time proportional to the text. None means
that no single answer could be read; ``explain_*`` says why (:class:`Reason`). What counts as an answer is told by the modules:

- :mod:`vrft_aug.parsing.tags`: where thought and answer stand;
- :mod:`vrft_aug.parsing.labels`: one class or several, synonyms, denials, hedges, option letters;
- :mod:`vrft_aug.parsing.grades`, :mod:`vrft_aug.parsing.numbers`, :mod:`vrft_aug.parsing.boxes`.

``read_*`` and ``explain_*`` take completions, ``parse_*`` and ``find_*`` take answers without tags; ``explain_*`` and ``find_*`` give a
:class:`Reading`, the value or the reason, the others the value or None.
"""

from vrft_aug.parsing.boxes import MAX_BOXES, Box, find_boxes, parse_boxes
from vrft_aug.parsing.completions import (
    explain_boxes,
    explain_confidence,
    explain_grade,
    explain_label,
    explain_labels,
    explain_number,
    read_boxes,
    read_confidence,
    read_grade,
    read_label,
    read_labels,
    read_number,
)
from vrft_aug.parsing.grades import find_grade, parse_grade
from vrft_aug.parsing.labels import find_label, find_labels, is_abstention, parse_label, parse_labels
from vrft_aug.parsing.numbers import find_confidence, find_number, parse_number, without_confidence
from vrft_aug.parsing.reading import MAX_ANSWER, Reading, Reason
from vrft_aug.parsing.tags import AnswerForm, answer_text, check_form, completion_text, has_format, think_text, without_thoughts

__all__ = [
    "MAX_ANSWER",
    "MAX_BOXES",
    "AnswerForm",
    "Box",
    "Reading",
    "Reason",
    "answer_text",
    "check_form",
    "completion_text",
    "explain_boxes",
    "explain_confidence",
    "explain_grade",
    "explain_label",
    "explain_labels",
    "explain_number",
    "find_boxes",
    "find_confidence",
    "find_grade",
    "find_label",
    "find_labels",
    "find_number",
    "has_format",
    "is_abstention",
    "parse_boxes",
    "parse_grade",
    "parse_label",
    "parse_labels",
    "parse_number",
    "read_boxes",
    "read_confidence",
    "read_grade",
    "read_label",
    "read_labels",
    "read_number",
    "think_text",
    "without_confidence",
    "without_thoughts",
]
