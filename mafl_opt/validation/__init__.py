"""The validator: plans executed in virtual time on real data with PyTorch."""
