"""`manage.py seed`: make the demo on an empty desk, and choose what feeds it."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from execution.models import Account
from execution.services import settings_numbered
from risk.services import Refused
from tradingdesk.management.demo import BY, demo_feed_use, demo_made, demo_seed


class Command(BaseCommand):
    help = "Make the demo desk where no account exists yet; with --feed choose what feeds it. Safe to repeat."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--feed", metavar="synthetic[:SEED] | replay:PATH[@SPEED]", help="default: synthetic")

    def handle(self, *args: Any, feed: str | None, **options: Any) -> None:
        try:
            is_new = demo_seed()
            demo_feed_use(feed)
        except (ValueError, Refused) as e:
            raise CommandError(str(e)) from e
        # waits and capabilities come from the code, not from rows: a new version of either is a new version of the settings
        settings_numbered(Account.objects.all(), by=BY)
        if is_new:
            self.stdout.write(demo_made())
