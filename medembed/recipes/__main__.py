"""``python -m medembed.recipes``."""

import sys

from medembed.recipes.door import main

sys.exit(main())
