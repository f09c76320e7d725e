"""Federated machine learning: estimators, the statistics that sites answer, fitted models, metrics."""
