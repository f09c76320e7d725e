"""Physical plan -> results: scheduling, transfers, cancellation, run records."""
