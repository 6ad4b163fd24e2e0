"""What one look at every row and every token of the prepared data counted: what the rules on data judge."""

from trimtab.checks.audit.counting import FEW_TARGETS, Audit, Found, Pairs, audit
from trimtab.checks.audit.likeness import Likeness

__all__ = ["FEW_TARGETS", "Audit", "Found", "Likeness", "Pairs", "audit"]
