"""`manage.py status`: what runs, what is open, what protects it, and what halts it."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from django.utils import timezone

from execution.core.orders import Purpose
from execution.management.acting import known_require, no_database
from execution.models import Account, Engine
from execution.selectors import Overview, Resting, accounts_resting, overview
from execution.services import engine_runs, kill_file_stands, kill_file_told
from risk.core.units import Scope, ScopeKind
from risk.models import Halt


class Command(BaseCommand):
    help = "Show accounts, bots, positions with their protection, halts and engines."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--account", metavar="CODE", help="only this account")

    def handle(self, *args: Any, **options: Any) -> None:
        at = timezone.now()
        try:
            code = options["account"]
            if code:
                known_require(Scope(ScopeKind.ACCOUNT, code))
            desk = overview(accounts=Account.objects.filter(code=code) if code else None, at=at)
            resting = [] if code else accounts_resting(Account.objects.all())
        except DatabaseError as e:
            raise CommandError(no_database(e)) from e
        self.stdout.write("\n".join(_all(desk, resting, at)))


def _all(desk: Overview, resting: Sequence[Resting], at: datetime) -> Iterator[str]:
    yield f"{at:%Y-%m-%d %H:%M:%S} UTC"
    if kill_file_stands():
        yield kill_file_told()
    yield from _section("Halts", ("scope", "mode", "cause", "by", "since", "reason"), _halts(desk, at), "none")
    yield from _section("Accounts", ("account", "env", "phase", "equity", "working", "engine"), _accounts(desk, at), "none")
    yield from _section("Bots", ("bot", "account", "state", "by", "symbols", "placed", "denied"), _bots(desk), "none")
    if resting:
        yield from _section("At rest: no engine runs these", ("account", "env", "equity", "open", "why"), _resting(resting), "none")
    columns = ("symbol", "account", "bot", "qty", "avg", "unrealised", "protection")
    yield from _section("Positions", columns, _positions(desk), "flat")
    yield from _section("Alarms", ("priority", "what", "cause"), _alarms(desk), "none")
    yield from _section("Engines", ("engine", "pid", "seen", "state"), _engines(desk, at), "no engine runs: nothing can trade")


def _halts(desk: Overview, at: datetime) -> Iterable[Sequence[Any]]:
    for halt in desk.halts:
        yield _where(halt), halt.mode, halt.cause.lower(), halt.by, _age(at - halt.at), halt.reason


def _accounts(desk: Overview, at: datetime) -> Iterable[Sequence[Any]]:
    for account in desk.accounts:
        state = desk.states.get(account.pk)
        entries = sum(1 for o in desk.orders if o.account_id == account.pk and o.purpose == Purpose.ENTRY)
        legs = sum(1 for o in desk.orders if o.account_id == account.pk) - entries
        engine = account.lease.engine if engine_runs(account, at) else "none"
        phase, equity = (state.phase, f"{state.equity:f} {account.currency}") if state else ("STOPPED", "–")
        yield account.code, account.environment, phase, equity, f"{entries} entries, {legs} others", engine


def _resting(resting: Sequence[Resting]) -> Iterable[Sequence[Any]]:
    for rest in resting:
        account = rest.account
        held = ", ".join(f"{position.symbol} {position.qty:f}" for position in rest.positions) or "flat"
        yield account.code, account.environment, f"{rest.equity:f} {account.currency}", held, rest.why


def _bots(desk: Overview) -> Iterable[Sequence[Any]]:
    for bot in desk.bots:
        effective = desk.effective(bot)
        state = getattr(bot, "state", None)
        counts = (state.placed, state.denied) if state else (0, 0)
        symbols = ", ".join(desk.symbols_of.get(bot.pk, ()))
        yield bot.code, desk.accounts_by_id[bot.account_id].code, effective.name, effective.level or "–", symbols, *counts


def _positions(desk: Overview) -> Iterable[Sequence[Any]]:
    for position in desk.positions:
        found = desk.protection_of(position)
        stop = (
            f"stop {found.stop.stop_px:f} for {found.covered_qty:f} of {found.qty:f}" if found.stop and found.stop.stop_px else ""
        )
        protection = "stop watched here, not at the venue" if found.is_watched else stop or "UNPROTECTED"
        account = desk.accounts_by_id[position.account_id].code
        average = f"{position.avg_px:.8g}" if position.avg_px is not None else "–"
        yield position.symbol, account, position.bot, f"{position.qty:f}", average, f"{position.unrealised:.2f}", protection


def _alarms(desk: Overview) -> Iterable[Sequence[Any]]:
    for alarm in sorted(desk.alarms, key=lambda alarm: alarm.priority):
        yield alarm.priority, alarm.title, alarm.cause


def _engines(desk: Overview, at: datetime) -> Iterable[Sequence[Any]]:
    for engine in desk.engines:
        if state := _engine_state(desk, engine, at):
            yield engine.name, engine.pid, _age(at - engine.seen_at), state


def _engine_state(desk: Overview, engine: Engine, at: datetime) -> str:
    """Empty for one that nobody waits for: it stopped as it should, or another has taken over what it ran."""
    if engine.stopped_at is not None:
        return ""
    if at - engine.seen_at < timedelta(seconds=5):
        return "runs"
    return "SILENT" if any(account.lease.engine == engine.name for account in desk.accounts if hasattr(account, "lease")) else ""


def _where(halt: Halt) -> str:
    return f"{halt.scope.lower()} {halt.scope_key}".strip()


def _age(span: timedelta) -> str:
    """Never below zero: an account that plays a tape may be ahead of us."""
    seconds = max(0, int(span.total_seconds()))
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"


def _section(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], empty: str) -> Iterator[str]:
    table = [[str(cell) for cell in row] for row in rows]
    yield ""
    if not table:
        yield f"{title}: {empty}"
        return
    yield title
    widths = [max(len(row[i]) for row in [columns, *table]) for i in range(len(columns))]
    for row in [columns, *table]:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
