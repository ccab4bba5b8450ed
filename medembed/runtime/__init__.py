"""A model running: tokenizer, batches, engines, and the threads that run them."""
