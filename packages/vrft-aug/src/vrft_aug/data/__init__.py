"""Rows for training and evaluation from data sets on disk or drawn on the spot.

No subject and no image (pixel for pixel) is both in the training and in the held-out part: subjects are split as a whole, and a training
image that is also held out is removed and counted. Pixels are kept as PNG in memory and decoded row by row.

============== ====================================================================================================
column         content
============== ====================================================================================================
``sample_id``  identifier in its data set
``subject``    patient, eye or file group, for clustered intervals; the sample where it is not known
``prompt``     list of ``{"role", "content"}`` messages
``image``      PIL image
``task``       ``classification``, ``grading`` or ``localisation``
``label``      name of the class, or None
``classes``    names of all classes or grades, or None
``grade``      ordinal grade from 0, or None
``num_grades`` number of grades, or None
``boxes``      list of ``[x0, y0, x1, y1]`` in pixels of the image, or None where boxes are not known
``image_size`` ``[width, height]`` in pixels
``box_frame``  ``[width, height]`` of the image in the units in which boxes are asked for
``knowledge``  the text injected into the prompt, or None
============== ====================================================================================================
"""

from vrft_aug.data.parts import Parts, load_parts, load_rows, load_stages
from vrft_aug.data.prepared import PreparedFolder
from vrft_aug.data.reading import open_parts, open_whole
from vrft_aug.data.settings import DRAWN, DataSettings, Kind, Part, Stage

__all__ = [
    "DRAWN",
    "DataSettings",
    "Kind",
    "Part",
    "Parts",
    "PreparedFolder",
    "Stage",
    "load_parts",
    "load_rows",
    "load_stages",
    "open_parts",
    "open_whole",
]
