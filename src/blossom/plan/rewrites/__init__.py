"""Rewrites of a plan, one a file; none changes a result."""
