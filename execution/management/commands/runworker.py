"""`manage.py runworker execution`: the engine process. Any other channel name is Channels' own command, unchanged."""

from __future__ import annotations

import sys
from typing import Any

from channels.layers import get_channel_layer
from channels.management.commands import runworker
from django.conf import settings
from django.core.management import CommandError

from execution.engine.worker import EngineWorker
from execution.services import kill_by_file
from execution.store.schema import migrations_require

ROLE = "execution"


class Command(runworker.Command):  # type: ignore[misc]
    help = "Run the engine (channel `execution`): owns accounts by lease, runs desks, brains, feeds and brokers."

    def handle(self, *args: Any, **options: Any) -> None:
        if options["channels"] != [ROLE]:
            super().handle(*args, **options)
            return
        if settings.DEBUG:
            raise CommandError("The engine does not run with TRADINGDESK_DEBUG=1: unset it.")
        migrations_require()
        layer = get_channel_layer(options["layer"])
        if layer is None:
            raise CommandError(f"There is no channel layer called “{options['layer']}”.")
        try:
            EngineWorker(options["channels"], layer, killed=kill_by_file).run()
        except KeyboardInterrupt:
            sys.exit(0)
