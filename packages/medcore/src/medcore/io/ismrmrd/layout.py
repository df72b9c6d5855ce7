"""How an ISMRMRD file is laid out in HDF5: the compound type of one readout and the flags in its head.

Source: Inati et al., Magn Reson Med 2017, doi:10.1002/mrm.26089, and the format description at ismrmrd.readthedocs.io.
"""

from __future__ import annotations

import h5py
import numpy as np

COUNTERS = np.dtype(
    [
        *((name, "<u2") for name in ("kspace_encode_step_1", "kspace_encode_step_2", "average", "slice", "contrast", "phase")),
        *((name, "<u2") for name in ("repetition", "set", "segment")),
        ("user", "<u2", (8,)),
    ]
)
HEAD = np.dtype(
    [
        ("version", "<u2"),
        ("flags", "<u8"),
        ("measurement_uid", "<u4"),
        ("scan_counter", "<u4"),
        ("acquisition_time_stamp", "<u4"),
        ("physiology_time_stamp", "<u4", (3,)),
        ("number_of_samples", "<u2"),
        ("available_channels", "<u2"),
        ("active_channels", "<u2"),
        ("channel_mask", "<u8", (16,)),
        ("discard_pre", "<u2"),
        ("discard_post", "<u2"),
        ("center_sample", "<u2"),
        ("encoding_space_ref", "<u2"),
        ("trajectory_dimensions", "<u2"),
        ("sample_time_us", "<f4"),
        ("position", "<f4", (3,)),
        ("read_dir", "<f4", (3,)),
        ("phase_dir", "<f4", (3,)),
        ("slice_dir", "<f4", (3,)),
        ("patient_table_position", "<f4", (3,)),
        ("idx", COUNTERS),
        ("user_int", "<i4", (8,)),
        ("user_float", "<f4", (8,)),
    ]
)
ACQUISITION = np.dtype([("head", HEAD), ("traj", h5py.vlen_dtype(np.float32)), ("data", h5py.vlen_dtype(np.float32))])
COMPLEX = np.dtype([("real", "<f4"), ("imag", "<f4")])

MAX_COUNT = 65535
"""Largest number of samples, channels or encoding steps a head can hold (16 bits)."""

NOISE, CALIBRATION, CALIBRATION_AND_IMAGING, REVERSE = 1 << 18, 1 << 19, 1 << 20, 1 << 21
AUXILIARY = {
    "navigator": 1 << 22,
    "phase-correction": 1 << 23,
    "feedback (HP)": 1 << 25,
    "dummy": 1 << 26,
    "feedback (RT)": 1 << 27,
    "surface-coil correction": 1 << 28,
}
"""Readouts with one of these flags are no image data."""
