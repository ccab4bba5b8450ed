"""Clinical text: what it asserts, of whom and when."""
