"""``python -m neurocompile``."""

from neurocompile.cli import main

if __name__ == "__main__":
    main()
