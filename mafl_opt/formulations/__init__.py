"""The radio and energy model, the convergence bound, and problem P in its forms."""
