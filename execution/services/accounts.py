"""Saving accounts and bots, and numbering the settings of every account a change concerns.

An instrument has one enabled bot per account: refused here with a sentence, and by the database's constraint behind it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from django.conf import settings
from django.db import IntegrityError, ProgrammingError, transaction
from django.db.models import Q
from django.utils import timezone

from execution.brains import NoBrain, brain_of, params_validated
from execution.core.controls import BotStatus
from execution.core.messages import DeskSettings
from execution.core.venues import VENUES, live_refusal, venue_options
from execution.models import Account, AccountState, Bot, BotInstrument, Order, Position, SymbolState
from execution.services.acts import engine_runs
from execution.services.hints import hint_accounts_on_commit
from execution.store.settings import settings_version_ensure, settings_version_value
from risk import audit
from risk.core.preview import default_order
from risk.core.settings import effective
from risk.models import AccountLimits, ClassOverride, Instrument, RiskProfile, SettingsVersion, SymbolOverride
from risk.selectors import InForce, Size
from risk.services.saving import Refused, change_record, check, model_problems, object_key, row_compare_and_set, row_stored, told

BAR_S_MAX: Final = 86400


def account_save(*, account: Account, version: int | None, by: str, reason: str = "", origin: str = "") -> Account:
    """Save an account; `version` is the one that was looked at, None for a new one. Raises Refused, Changed."""
    stored = row_stored(account)
    before = None if stored is None else told(stored)
    check(account_problems(account), loosened=[], reason=reason)
    with transaction.atomic():
        _write(account, version)
        settings_numbered([account], by=by, reason=reason)
        change_record(account, before, told(account), by=by, reason=reason, origin=origin)
    return account


def account_delete(*, account: Account, by: str, reason: str, origin: str = "") -> None:
    """Delete an account that never traded. One that did is disabled instead: its history stays."""
    if Order.objects.filter(account=account).exists() or account.bots.exists():
        raise Refused({"": f"{account.name} has bots or a history of orders. Disable it instead."})
    try:
        _delete(account, by=by, reason=reason, origin=origin)
    except ProgrammingError as e:
        # the web's own role of a PostgreSQL may not remove what only engines write
        raise Refused({"": f"This web has no right to delete {account.name} with its journal. Disable it instead."}) from e


def bot_save(
    *,
    bot: Bot,
    instruments: Iterable[Instrument],
    version: int | None,
    by: str,
    reason: str = "",
    origin: str = "",
) -> Bot:
    """Save a bot with the instruments it may trade. Raises Refused, Changed."""
    chosen = sorted(instruments, key=lambda instrument: instrument.symbol)
    stored = row_stored(bot)
    before = None if stored is None else bot_told(stored)
    check(bot_problems(bot, chosen), loosened=[], reason=reason)
    with transaction.atomic():
        _write(bot, version)
        try:
            _instruments_write(bot, chosen)
        except IntegrityError as e:
            raise Refused({"instruments": "Another enabled bot took one of these instruments meanwhile."}) from e
        settings_numbered([bot.account], by=by, reason=reason)
        change_record(bot, before, bot_told(bot), by=by, reason=reason, origin=origin)
    return bot


def bot_delete(*, bot: Bot, by: str, reason: str, origin: str = "") -> None:
    """Delete a bot that is stopped and holds nothing."""
    if problem := _busy(bot):
        raise Refused({"": f"{bot.code} {problem}. Stop and flatten it first."})
    _delete(bot, by=by, reason=reason, origin=origin)


def settings_numbered(accounts: Iterable[Account], *, by: str, reason: str = "") -> None:
    """Number the settings of these accounts where their content changed, and tell their engines."""
    touched = sorted(accounts, key=lambda account: account.pk)
    for account in touched:
        settings_version_ensure(account, by=by, reason=reason)
    hint_accounts_on_commit(touched)


def settings_changed_receive(sender: type[Any], *, row: Any, by: str, reason: str, **_: Any) -> None:
    """Number the settings of every account that reads this row of risk: connected to risk's `settings_changed`."""
    settings_numbered(_reads(row), by=by, reason=reason)


def in_force_receive(sender: type[Any], *, row: Any, **_: Any) -> list[InForce]:
    """Where each account that reads this row stands with its settings: connected to risk's `in_force_asked`."""
    accounts = [row] if isinstance(row, Account) else [row.account] if isinstance(row, Bot) else _reads(row)
    return [settings_in_force_of(account) for account in accounts]


def settings_in_force_of(account: Account) -> InForce:
    newest = SettingsVersion.objects.filter(account=account.code).order_by("-version").first()
    state = AccountState.objects.filter(account=account).first()
    return InForce(
        account=account.name,
        newest=newest.version if newest else 0,
        taken=state.settings_version if state else 0,
        taken_at=state.settings_applied_at if state else None,
        is_enabled=account.is_enabled,
        sizes=_sizes(account, settings_version_value(newest), state) if newest else (),
    )


def _sizes(account: Account, desk: DeskSettings, state: AccountState | None) -> tuple[Size, ...]:
    """A default order of each enabled bot and symbol at the last price; symbols without one are left out."""
    prices = {row.symbol: row.last for row in SymbolState.objects.filter(account=account) if row.last is not None}
    equity = state.equity if state else account.starting_cash
    found = []
    for bot in desk.bots.values():
        for symbol in (symbol for symbol in bot.symbols if bot.is_enabled and symbol in prices):
            instrument, price = desk.instruments[symbol], prices[symbol]
            values = effective(desk.profiles[bot.profile], desk.limits, symbol=symbol, asset_class=instrument.asset_class)
            told = default_order(
                instrument=instrument,
                settings=values,
                limits=desk.limits,
                price=price,
                equity=equity,
                currency=account.currency,
                at=timezone.now(),
            )
            notional = instrument.notional(told.order_qty, price)
            found.append(Size(bot.code, symbol, told.order_qty, price, notional, instrument.currency, told.denial))
    return tuple(found)


def account_problems(account: Account) -> dict[str, str]:
    found = model_problems(account)
    if account.broker not in VENUES:
        found["broker"] = f"There is no venue “{account.broker}”: known are {', '.join(sorted(VENUES))}."
    elif problem := _options_problem(account):
        found["broker_options"] = problem
    if "starting_cash" not in found and not (account.starting_cash.is_finite() and account.starting_cash > 0):
        found["starting_cash"] = f"Starting cash must be above 0, was {account.starting_cash}."
    if not _feed_is_known(account.feed):
        found["feed"] = "Feed is synthetic, synthetic:SEED or replay:PATH@SPEED."
    if account.environment == Account.Environment.LIVE and not {"broker", "broker_options"} & found.keys():
        problem = live_refusal(account.broker, account.broker_options, is_allowed=settings.ALLOW_LIVE)
        found |= {"environment": problem} if problem else {}
    return found


def bot_problems(bot: Bot, instruments: Iterable[Instrument]) -> dict[str, str]:
    chosen = list(instruments)
    found = model_problems(bot, exclude=frozenset({"params"}))
    found |= _brain_problems(bot)
    if not 1 <= (bot.bar_s or 0) <= BAR_S_MAX:
        found["bar_s"] = f"Bar s must be 1 to {BAR_S_MAX} seconds, was {bot.bar_s}."
    if not chosen:
        found["instruments"] = "A bot needs at least one instrument."
    elif bot.is_enabled and (problem := _owned_problem(bot, chosen)):
        found["instruments"] = problem
    return found


def bot_told(bot: Bot) -> dict[str, Any]:
    return told(bot) | {"instruments": sorted(bot.symbols.values_list("instrument__symbol", flat=True))}


def _options_problem(account: Account) -> str:
    try:
        venue_options(account.broker, account.broker_options)
    except ValueError as e:
        return str(e)
    return ""


def _brain_problems(bot: Bot) -> dict[str, str]:
    """A bot whose brain is gone may be disabled, and nothing else."""
    try:
        brain_of(bot.brain)
    except NoBrain as e:
        return {"brain": str(e)} if bot.is_enabled else {}
    try:
        bot.params = {name: str(value) for name, value in params_validated(bot.brain, bot.params).items()}
    except ValueError as e:
        return {"params": str(e)}
    return {}


def _owned_problem(bot: Bot, instruments: Iterable[Instrument]) -> str:
    taken = (
        BotInstrument.objects.filter(account_id=bot.account_id, instrument__in=list(instruments), is_owner=True)
        .exclude(bot_id=bot.pk)
        .select_related("bot", "instrument")
        .first()
    )
    if taken is None:
        return ""
    return f"{taken.instrument.symbol} belongs to {taken.bot.code} on this account: one enabled bot per instrument. Disable that first."


def _feed_is_known(feed: str) -> bool:
    kind, _, rest = feed.partition(":")
    return (kind == "synthetic" and (not rest or rest.isdigit())) or (kind == "replay" and bool(rest))


def _write(row: Any, version: int | None) -> None:
    if row.pk is None:
        row.save(force_insert=True)
    else:
        row_compare_and_set(row, version)


def _instruments_write(bot: Bot, chosen: Iterable[Instrument]) -> None:
    with transaction.atomic():
        bot.symbols.exclude(instrument__in=list(chosen)).delete()
        for instrument in chosen:
            BotInstrument.objects.update_or_create(
                bot=bot, instrument=instrument, defaults={"account": bot.account, "is_owner": bot.is_enabled}
            )


def _busy(bot: Bot) -> str:
    state = getattr(bot, "state", None)
    if state is not None and state.status != BotStatus.STOPPED and engine_runs(bot.account, timezone.now()):
        return f"is {state.status.lower()}"
    if Position.objects.filter(account=bot.account, bot=bot.code, is_open=True).exists():
        return "holds a position"
    if Order.objects.filter(account=bot.account, bot=bot.code, is_working=True).exists():
        return "has working orders"
    return ""


def _delete(row: Account | Bot, *, by: str, reason: str, origin: str) -> None:
    key, model, before = object_key(row), row._meta.label, bot_told(row) if isinstance(row, Bot) else told(row)
    accounts = [row.account] if isinstance(row, Bot) else []
    with transaction.atomic():
        row.delete()
        settings_numbered(accounts, by=by, reason=reason)
        audit.record(by=by, action="delete", model=model, key=key, before=before, after=None, reason=reason, origin=origin)


def _reads(row: Any) -> Iterable[Account]:
    match row:
        case ClassOverride() | SymbolOverride():
            found = Q(bots__profile=row.profile_id)
        case AccountLimits(pk=int()):
            found = Q(limits=row.pk)
        case RiskProfile(pk=int()):
            found = Q(bots__profile=row.pk)
        case Instrument(pk=int()):
            found = Q(bots__symbols__instrument=row.pk) | Q(positions__symbol=row.symbol, positions__is_open=True)
        case _:
            return []
    return Account.objects.filter(found).distinct()
