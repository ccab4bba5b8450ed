"""Runs a recipe up to its stage `pairs` in blocks of eight notes, for a test to kill: the arguments of `python -m medembed.recipes.train`."""

import sys

from medembed.recipes.stages import pairs
from medembed.recipes.train import main

if __name__ == "__main__":
    pairs.NOTES_A_BLOCK = 8
    sys.exit(main(["--until", "pairs", *sys.argv[1:]]))
