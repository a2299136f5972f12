"""Scenarios, plans, the checker, statuses, errors and files: what everything else stands on."""
