"""Runs a recipe's stage `pairs` in blocks of eight notes, for a test to kill: the arguments of `python -m medembed.recipes.pairs`."""

import sys

from medembed.recipes import pairs
from medembed.recipes.door import stage_main

if __name__ == "__main__":
    pairs.NOTES_A_BLOCK = 8
    sys.exit(stage_main("pairs", sys.argv[1:]))
