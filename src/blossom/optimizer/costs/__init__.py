"""What work and moves cost: facts by platform kind, corrected by what was measured on each platform of each site."""

from blossom.optimizer.costs.model import CostModel, Pricing, Workload
from blossom.optimizer.costs.pricing import Prior
from blossom.optimizer.costs.prior import HUB
from blossom.optimizer.costs.terms import Work

__all__ = ["HUB", "CostModel", "Pricing", "Prior", "Work", "Workload"]
