"""Memory that a training process frees stays with it."""

import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.thorough

# its own process: malloc cannot be told otherwise again
PROGRAM = """
import resource, sys
import numpy as np
if sys.argv[1] == "keep":
    from medembed.recipes.training import tuning
    assert tuning.keep_freed_memory()
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(50_000_000, dtype=np.uint8)
before = faults()
for _ in range(20):
    np.ones(50_000_000, dtype=np.uint8)
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")
def test_freed_memory_is_used_again_without_the_system() -> None:
    found = {
        how: int(
            subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, check=True, text=True).stdout
        )
        for how in ("leave", "keep")
    }
    assert found["keep"] < 1_000 < found["leave"]
