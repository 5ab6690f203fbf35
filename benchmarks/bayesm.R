# Hierarchical Bayesian logit by bayesm (rhierMnlRwMixture), strength = exp(a Normal).
# Usage: Rscript bayesm.R differences.csv draws.csv iterations
# differences.csv: one row for each chooser, chosen minus rejected; draws.csv: mu, sigma, and in the
# first line the seconds it took and the versions.
suppressPackageStartupMessages(library(bayesm))
arguments <- commandArgs(trailingOnly = TRUE)
x <- as.matrix(read.csv(arguments[1], header = FALSE))
# It wants both alternatives chosen at least once: every other situation has them swapped.
swap <- rep_len(c(FALSE, TRUE), ncol(x))
panels <- lapply(seq_len(nrow(x)), function(a) {
  first <- ifelse(swap, 0, x[a, ])
  second <- ifelse(swap, x[a, ], 0)
  list(y = 1L + swap, X = matrix(rbind(first, second), ncol = 1))
})
set.seed(1)
start <- proc.time()[["elapsed"]]
invisible(capture.output(out <- rhierMnlRwMixture(
  Data = list(p = 2, lgtdata = panels),
  # Its own prior is conjugate: mu | Sigma ~ N(0, Sigma / Amu), Sigma ~ inverse Wishart(nu, V).
  Prior = list(ncomp = 1, SignRes = c(1), mubar = matrix(0, 1, 1), Amu = matrix(0.01),
               nu = 3, V = matrix(1.0)),
  Mcmc = list(R = as.integer(arguments[3]), keep = 1, nprint = 0)
)))
seconds <- proc.time()[["elapsed"]] - start
draws <- out$nmix$compdraw
mu <- vapply(draws, function(d) d[[1]]$mu[1], 0)
sigma <- vapply(draws, function(d) 1 / d[[1]]$rooti[1], 0)
file <- file(arguments[2], "w")
writeLines(sprintf("# %f %s %s", seconds, getRversion(), packageVersion("bayesm")), file)
write.table(cbind(mu, sigma), file, sep = ",", row.names = FALSE, col.names = FALSE)
close(file)
