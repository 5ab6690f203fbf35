"""From a likelihood and priors to posterior draws: one file for each way."""
