"""`manage.py simulate --seeds 1..1000`: whole engines in virtual time at a hostile venue, audited from the venue's side."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec
from django.core.management import BaseCommand

from execution.simulator.running import Told, seed_run, seeds_run


class Command(BaseCommand):
    help = (
        "Simulate histories from seeds and audit every promise; exit 1 when one is broken. Needs no database and no running desk."
    )
    requires_system_checks = ()
    requires_migrations_checks = False

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--seeds", type=_seeds, default=range(1, 101), metavar="A..B", help="seeds to run, default 1..100")
        parser.add_argument("--steps", type=int, default=300, metavar="N", help="steps of each history, default 300")
        parser.add_argument("--only", type=_numbers, default=(), metavar="N,N", help="of one seed, only these steps")
        parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="processes, default one a core")
        parser.add_argument("--json", action="store_true", help="one JSON object a seed, and nothing else")
        parser.add_argument("--no-shrink", action="store_true", help="do not look for the shortest history of a failing seed")

    def handle(self, *args: Any, seeds: range, steps: int, only: tuple[int, ...], workers: int, **options: Any) -> None:
        shrinks = not options["no_shrink"]
        if only:
            found: Iterable[Told] = [seed_run(seed, steps=steps, only=only) for seed in seeds]
        else:
            found = seeds_run(seeds, steps=steps, workers=min(workers, len(seeds)), shrinks=shrinks)
        broken, totals = 0, Counter[str]()
        for told in found:
            broken += bool(told.promise)
            totals.update(told.counts)
            if options["json"]:
                self.stdout.write(msgspec.json.encode(told).decode())
            elif told.promise:
                self.stdout.write(in_words(told, steps=steps))
        if not options["json"]:
            self.stdout.write(summary(len(seeds), broken, totals, steps=steps))
        if broken:
            sys.exit(1)


def in_words(told: Told, *, steps: int) -> str:
    """A broken promise, the shortest history that breaks it, and how to see it again."""
    again = f"manage.py simulate --seeds {told.seed}..{told.seed} --steps {steps} --only {','.join(map(str, told.only))}"
    return "\n".join([f"Seed {told.seed}: {told.how}", f"  {told.scene}", *(f"  {line}" for line in told.steps), f"  {again}", ""])


def summary(seeds: int, broken: int, totals: Counter[str], *, steps: int) -> str:
    verdict = "every promise held" if not broken else f"{broken} {'seed' if broken == 1 else 'seeds'} broke a promise"
    return (
        f"{seeds} histories of {steps} steps: {verdict}. "
        f"{totals['events']} events, {totals['orders']} orders, {totals['fills']} fills, {totals['engines']} engine processes."
    )


def _seeds(text: str) -> range:
    """ "1..100", or one seed."""
    first, dots, last = text.partition("..")
    try:
        found = range(int(first), int(last if dots else first) + 1)
    except ValueError:
        raise argparse.ArgumentTypeError(f"seeds are two whole numbers like 1..100, was “{text}”") from None
    if not found:
        raise argparse.ArgumentTypeError(f"there is no seed in {text}: the first must not be above the last")
    return found


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"steps are numbers like 3,17,42, was “{text}”") from None
