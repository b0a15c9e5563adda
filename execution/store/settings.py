"""The configuration of one account: from rows to the DeskSettings its engine runs on, kept as immutable versions.

A version is one value with a content hash. The same content twice is the same version, so that only a change moves the engine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import date

import msgspec
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from execution.core.messages import BotSpec, DeskSettings
from execution.core.venues import BOOKS_BY, capabilities_of, is_eventually_consistent
from execution.models import Account, Bot
from risk import models as rows
from risk.calendars import sessions_from
from risk.core.hours import ALWAYS, Session
from risk.core.units import Instrument
from risk.models import SettingsVersion
from risk.selectors import instrument_value, limits_value, profile_value


def desk_settings_from_rows(account: Account) -> DeskSettings:
    """The account's whole configuration as the rows say now. `version` is 0: `settings_version_ensure` numbers it."""
    account = Account.objects.select_related("limits").get(pk=account.pk)
    today = timezone.now().date()
    bots = list(account.bots.select_related("profile").prefetch_related("symbols__instrument").order_by("code"))
    profiles = {bot.profile.code: bot.profile for bot in bots}
    instruments = {symbol: instrument_value(row) for symbol, row in sorted(_instruments(account, bots).items())}
    unnumbered = DeskSettings(
        account=account.code,
        environment=account.environment,
        currency=account.currency,
        version=0,
        digest="",
        capabilities=tuple(sorted(capabilities_of(account.broker, account.broker_options))),
        instruments=instruments,
        bots={bot.code: _bot(bot) for bot in bots},
        profiles={code: profile_value(profiles[code]) for code in sorted(profiles)},
        limits=limits_value(account.limits),
        sessions=_sessions(instruments.values(), today),
        timing=settings.TIMING,
        starting_cash=account.starting_cash,
        is_eventually_consistent=is_eventually_consistent(account.broker, account.broker_options),
        books_by=BOOKS_BY[account.broker],
    )
    return msgspec.structs.replace(unnumbered, digest=_digest(unnumbered))


def settings_version_ensure(account: Account, *, by: str, reason: str = "") -> SettingsVersion:
    """The version that says what the rows say: the newest one, or a new one when the content changed.

    Call it inside the transaction of the change. The account's row is locked first, so that of two changes at once the second
    reads what the first wrote.
    """
    with transaction.atomic():
        Account.objects.select_for_update(no_key=True).get(pk=account.pk)
        current = desk_settings_from_rows(account)
        newest = SettingsVersion.objects.filter(account=account.code).order_by("-version").first()
        if newest is not None and newest.digest == current.digest:
            return newest
        numbered = msgspec.structs.replace(current, version=newest.version + 1 if newest else 1)
        return SettingsVersion.objects.create(
            account=account.code,
            version=numbered.version,
            digest=numbered.digest,
            body=msgspec.to_builtins(numbered, str_keys=True),
            by=by,
            reason=reason[:300],
            created_at=timezone.now(),
        )


def settings_refresh(accounts: Iterable[int]) -> None:
    """Number the settings of these accounts anew where the day has changed them: the hours of their markets reach a day further."""
    for account in Account.objects.filter(pk__in=list(accounts)):
        settings_version_ensure(account, by="the calendar", reason="the hours of the days to come")


def settings_version_value(version: SettingsVersion) -> DeskSettings:
    """The DeskSettings of a stored version; an explicit "no limit" is back as NO_LIMIT."""
    return msgspec.convert(version.body, DeskSettings)


def _bot(bot: Bot) -> BotSpec:
    return BotSpec(
        code=bot.code,
        brain=bot.brain,
        params={name: str(bot.params[name]) for name in sorted(bot.params)},
        symbols=tuple(sorted(symbol.instrument.symbol for symbol in bot.symbols.all())),
        profile=bot.profile.code,
        bar_s=bot.bar_s,
        is_enabled=bot.is_enabled,
    )


def _instruments(account: Account, bots: list[Bot]) -> dict[str, rows.Instrument]:
    """What any bot lists, disabled ones included, and what the account still holds: a position needs its spec to be closed."""
    held = account.positions.filter(is_open=True).values("symbol")
    listed = {symbol.instrument.symbol: symbol.instrument for bot in bots for symbol in bot.symbols.all()}
    return listed | {row.symbol: row for row in rows.Instrument.objects.filter(symbol__in=held)}


def _sessions(instruments: Iterable[Instrument], today: date) -> dict[str, tuple[Session, ...]]:
    """The hours of every calendar in use, by name. They change with the day, so the settings of such an account do too."""
    calendars = sorted({instrument.calendar for instrument in instruments} - {ALWAYS})
    return {calendar: sessions_from(calendar, today) for calendar in calendars}


def _digest(value: DeskSettings) -> str:
    return hashlib.blake2b(msgspec.json.encode(value, order="deterministic"), digest_size=32).hexdigest()
