"""Estimation of the figures of the convergence bound on real data and models."""
