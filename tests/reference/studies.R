# The studies' own formulas on stored synthetic draws, and a partially nested design. Run from this
# folder:  Rscript studies.R
source("common.R")
write_answers("studies")
