"""The Brain Imaging Data Structure for quantitative MRI: collections in, parameter maps out."""

from medcore.io.bids.checking import bids_faults, describe_bids, licence_of
from medcore.io.bids.collections import KINDS, Collection, find_collections, is_bids, subjects_of
from medcore.io.bids.derivatives import ParameterMap, check_derivative, describe_derivative, source_uris, write_derivative
from medcore.io.bids.names import Name, parse_name
from medcore.io.bids.reading import read_bids, read_collection

__all__ = [
    "KINDS",
    "Collection",
    "Name",
    "ParameterMap",
    "bids_faults",
    "check_derivative",
    "describe_bids",
    "describe_derivative",
    "find_collections",
    "is_bids",
    "licence_of",
    "parse_name",
    "read_bids",
    "read_collection",
    "source_uris",
    "subjects_of",
    "write_derivative",
]
