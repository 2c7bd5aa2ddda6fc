"""`python -m connector.cli` is the same as `connector`, where the script is not installed."""

from __future__ import annotations

from connector.cli import main

if __name__ == "__main__":
    main()
