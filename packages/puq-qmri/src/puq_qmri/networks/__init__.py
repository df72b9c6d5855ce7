"""Learned reconstruction and its uncertainty."""

from puq_qmri.networks.problem import Problem, build_problem
from puq_qmri.networks.settings import NetworkSettings
from puq_qmri.networks.unrolled import UnrolledNetwork

__all__ = ["NetworkSettings", "Problem", "UnrolledNetwork", "build_problem"]
