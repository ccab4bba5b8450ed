"""From notes to a fine-tuned model: recipes are data, stages are modules, ``pipeline`` runs what is missing.

The commands are ``python -m medembed.recipes.train`` and ``medembed recipes``.
"""
