"""Runs a recipe's stage `pairs` in blocks of eight notes, for a test to kill: the arguments of `python -m medembed.recipes.stages.pairs`."""

import sys

from medembed.recipes.door import stage_main
from medembed.recipes.stages import pairs

if __name__ == "__main__":
    pairs.NOTES_A_BLOCK = 8
    sys.exit(stage_main("pairs", sys.argv[1:]))
