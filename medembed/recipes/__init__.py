"""From notes to a fine-tuned model: recipes are data, stages are modules, ``pipeline`` runs what is missing.

The door is ``python -m medembed.recipes``; every stage has its own, for instance ``python -m medembed.recipes.stages.pairs``.
"""
