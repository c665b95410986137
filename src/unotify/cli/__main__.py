"""``python -m unotify.cli``, for where no ``unotify`` is installed."""

from __future__ import annotations

from unotify.cli import main

if __name__ == "__main__":
    main()
