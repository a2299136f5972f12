"""Backends that plan, and the registry that finds them."""
