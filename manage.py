#!/usr/bin/env python
"""tradingdesk's command line."""

from __future__ import annotations

import os
import sys


def main() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 -- the sentence is for those who have an older one
        sys.exit("tradingdesk needs Python 3.11 or newer; this is {}.{}.".format(*sys.version_info[:2]))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tradingdesk.settings")
    try:
        from django.core.management import execute_from_command_line
    except ModuleNotFoundError:
        sys.exit(f"Django is not installed for {sys.executable}: run `make setup`, then .venv/bin/python manage.py.")
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
