"""Attacks on the rewards of a recipe, to see whether anything pays better than it should."""

from vrft_aug.audit.attacks import ATTACKS, Attempt, attempts
from vrft_aug.audit.judging import AuditSettings, StageAudit, audit_recipe, audit_rows, audit_stage

__all__ = ["ATTACKS", "Attempt", "AuditSettings", "StageAudit", "attempts", "audit_recipe", "audit_rows", "audit_stage"]
