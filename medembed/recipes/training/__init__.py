"""Training on sentence-transformers: model, data, losses and trainer."""
