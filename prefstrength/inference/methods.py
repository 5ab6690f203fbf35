"""The ways to the posterior by name."""

__all__ = ["METHODS"]

METHODS = ("auto", "importance", "nuts", "latent", "laplace", "svi")
