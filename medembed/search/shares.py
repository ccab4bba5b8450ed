"""What one order of rows counts beside another. Nothing is imported for them: help names them too."""

# What one point of BM25 counts at most, in standard deviations of the query's dense scores. Chosen on six unlike sets (docs/experiments.md)
HYBRID_WEIGHT = 0.2
# share of a hybrid first stage's scores beside MaxSim: between .2 and .5 the mean of three sets hardly moves (docs/experiments.md)
FIRST_SHARE = 0.3
