# Type 3 tables of fixed parts that are hard to get right: transformed covariates, terms without
# their margins, no intercept. Run from this folder:  Rscript type3.R
source("common.R")
write_answers("type3")
