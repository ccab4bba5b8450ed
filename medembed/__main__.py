"""`python -m medembed` is `medembed`."""

from medembed.cli import main

if __name__ == "__main__":
    main()
