"""Logical plan + catalogue + policy -> physical plan: compliance, cardinality, cost, placement, fragments."""
