"""What a certificate proves: the Lagrangian of P at given prices, in plain numpy."""
