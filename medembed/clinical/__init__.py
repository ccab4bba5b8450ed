"""Clinical text: sections, sentence ends and passages of notes. What it asserts, of whom and when."""
