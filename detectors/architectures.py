"""The catalogue of network shapes."""

# 31 signals x 8 surprise features in order of surprise, plus 8 pooled means, to one logit
ANOMALY = (256, 128, 64, 32, 1)
