# The golden cases: a crossover of 26 subjects, balanced and with rows lost, with and without the
# subject-by-period variance. Run from this folder:  Rscript golden.R
source("common.R")
write_answers("golden")
