# The printed data sets that are stored here. Run from this folder:  Rscript external.R
source("common.R")
write_answers("external")
