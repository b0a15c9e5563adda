"""`/metrics` for Prometheus: the desk as its rows tell it, whichever web is asked. No money is in it.

Question: who counts? A process could keep its own counters (prometheus_client's multiprocess files, one scrape a machine), or the rows
could be read, in which every engine already writes its vitals each second. Choice: the rows. One scrape shows the whole fleet, a web
that was just started tells the same as one that ran for a week, and the engine's loop writes no second file. What only an engine can
measure (latencies, denials by reason) it counts in memory and writes with its vitals; a series of it begins anew with the engine's
name at each start, as counters may.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from secrets import compare_digest
from typing import Any, Final, NamedTuple

import redis
from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.db import DatabaseError
from django.db.models import Count, Max, Min
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from execution.models import (
    Account,
    Alarm,
    BotState,
    Bracket,
    Command,
    Discrepancy,
    Engine,
    Order,
    PoisonEvent,
    Position,
    SymbolState,
)
from risk.models import Halt
from tradingdesk.health import ENGINE_AGE_MAX

log = logging.getLogger(__name__)

#: an engine that ended longer ago is history
ENGINE_TOLD: Final = timedelta(minutes=15)
QUEUES: Final = ("jobs", "watch")
GAUGE, COUNTER, HISTOGRAM = GaugeMetricFamily, CounterMetricFamily, HistogramMetricFamily


class Family(NamedTuple):
    """A metric as Prometheus knows it; its name carries the unit."""

    kind: type[GaugeMetricFamily | CounterMetricFamily | HistogramMetricFamily]
    told: str
    labels: tuple[str, ...] = ()


_ENGINE, _ACCOUNT = ("engine",), ("account",)
#: everything that is exported, without the prefix; counters end in _total when they are read
FAMILIES: Final = {
    "engine_up": Family(
        GAUGE, "1 while the engine's heartbeat is fresh, 0 when it is silent or stopped.", ("engine", "host", "version")
    ),
    "engine_heartbeat_age_seconds": Family(GAUGE, "Since the engine's last heartbeat.", _ENGINE),
    "engine_accounts": Family(GAUGE, "Accounts the engine runs.", _ENGINE),
    "engine_loop_lag_seconds": Family(GAUGE, "The latest the engine's loop woke in the last second.", _ENGINE),
    "engine_commit_seconds": Family(GAUGE, "Time of a journal commit, at a share of the newest ones.", ("engine", "quantile")),
    "engine_fsync_seconds": Family(GAUGE, "A small write forced to the disk, measured when the engine started.", _ENGINE),
    "engine_journal_backlog": Family(GAUGE, "Events handled and not yet committed.", _ENGINE),
    "engine_requests_waiting": Family(GAUGE, "Requests to venues without an answer.", ("engine", "lane")),
    "engine_messages_dropped": Family(COUNTER, "Messages to consoles that the channel layer did not take.", _ENGINE),
    "engine_memory_bytes": Family(GAUGE, "The most resident memory the engine has had.", _ENGINE),
    "decision_to_venue_seconds": Family(
        HISTOGRAM, "From an event that decided to its order handed to the venue's client.", _ENGINE
    ),
    "command_to_engine_seconds": Family(HISTOGRAM, "From a person's act to the engine that carries it out.", _ENGINE),
    "denials": Family(COUNTER, "Decisions denied, by the gate's reason.", ("engine", "reason")),
    "account_active": Family(GAUGE, "1 while an enabled account is ACTIVE on an engine that holds its lease.", _ACCOUNT),
    "account_lease_left_seconds": Family(GAUGE, "Until the account's lease runs out; negative since it did.", _ACCOUNT),
    "account_claims": Family(COUNTER, "How often an engine took the account.", _ACCOUNT),
    "account_events": Family(COUNTER, "Events that changed the account.", _ACCOUNT),
    "account_reconciled_age_seconds": Family(GAUGE, "Since the account last agreed with its venue.", _ACCOUNT),
    "account_price_age_seconds": Family(GAUGE, "Since the newest price of any symbol of the account.", _ACCOUNT),
    "account_link_down": Family(GAUGE, "1 while a link of the account is down.", ("account", "link")),
    "account_condition": Family(GAUGE, "1 while a condition restricts the account.", ("account", "condition")),
    "orders": Family(GAUGE, "Working orders.", ("account", "status")),
    "positions_open": Family(GAUGE, "Symbols with a position.", _ACCOUNT),
    "bracket_naked_age_seconds": Family(GAUGE, "How long the longest of the positions without a live stop has been so.", _ACCOUNT),
    "discrepancies": Family(GAUGE, "Symbols of which the venue holds another quantity than we.", _ACCOUNT),
    "alarms": Family(GAUGE, "Alarms that stand.", ("account", "priority", "is_acked")),
    "commands_pending": Family(GAUGE, "Acts of people that no engine has carried out.", _ACCOUNT),
    "command_pending_age_seconds": Family(GAUGE, "Since the oldest of them was asked for.", _ACCOUNT),
    "poison_events": Family(GAUGE, "Events that no Desk could handle, kept aside.", _ACCOUNT),
    "bots": Family(GAUGE, "Bots, by what they do.", ("account", "status")),
    "bot_placed": Family(COUNTER, "Orders the bot placed.", ("account", "bot")),
    "bot_denied": Family(COUNTER, "Decisions of the bot that were denied.", ("account", "bot")),
    "halts": Family(GAUGE, "Halts that stand.", ("scope", "mode")),
    "layer_up": Family(GAUGE, "1 while Redis or Valkey answers, 0 when it does not or there is none."),
    "queue_length": Family(GAUGE, "Tasks that wait for a Celery worker.", ("queue",)),
    "watchdog_age_seconds": Family(GAUGE, "Since the watchdog last looked; absent when it never did."),
}
PREFIX: Final = "tradingdesk_"


class Sample(NamedTuple):
    """A number of a family; of a histogram, what `Timings.read` tells."""

    family: str
    value: Any
    labels: tuple[str, ...] = ()


@require_safe
@login_not_required
def metrics(request: HttpRequest) -> HttpResponse:
    """For staff, and for who brings TRADINGDESK_METRICS_TOKEN as a bearer."""
    if not _may_read(request):
        return HttpResponse(status=401, headers={"WWW-Authenticate": "Bearer"})
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Rows(timezone.now()))
    try:
        return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
    except DatabaseError as error:
        log.warning("the database did not answer: %s", error)
        return HttpResponse(status=503)


def _may_read(request: HttpRequest) -> bool:
    kind, _, brought = request.headers.get("Authorization", "").partition(" ")
    if settings.METRICS_TOKEN and kind == "Bearer":
        return compare_digest(brought.strip().encode(), settings.METRICS_TOKEN.encode())
    return request.user.is_authenticated and request.user.is_staff


class Rows(Collector):
    """Every metric as the rows are at a moment."""

    def __init__(self, at: datetime) -> None:
        self._at = at

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        found = defaultdict[str, list[Sample]](list)
        for source in (_engines, _accounts, _orders, _bots, _trouble):
            for sample in source(self._at):
                found[sample.family].append(sample)
        for sample in _layer(self._at):
            found[sample.family].append(sample)
        for name, family in FAMILIES.items():
            yield _metric(name, family, found[name])


def _metric(name: str, family: Family, samples: Iterable[Sample]) -> Metric:
    metric = family.kind(PREFIX + name, family.told, labels=family.labels)
    for sample in samples:
        labels = list(sample.labels)
        if isinstance(metric, HistogramMetricFamily):
            buckets = [(str(bound), count) for bound, count in sample.value["buckets"]]
            metric.add_metric(labels, buckets=buckets, sum_value=sample.value["sum_s"])
        else:
            metric.add_metric(labels, float(sample.value))
    return metric


def _engines(at: datetime) -> Iterator[Sample]:
    for engine in Engine.objects.filter(seen_at__gte=at - ENGINE_TOLD):
        age = at - engine.seen_at
        is_up = engine.stopped_at is None and age < ENGINE_AGE_MAX
        yield Sample("engine_up", is_up, (engine.name, engine.host, engine.version))
        if engine.stopped_at is None:
            yield Sample("engine_heartbeat_age_seconds", age.total_seconds(), (engine.name,))
            yield from _vitals(engine.name, engine.vitals)


def _vitals(engine: str, vitals: dict[str, Any]) -> Iterator[Sample]:
    """What an engine of this or of a neighbouring version wrote: what it did not is left out."""
    for family, key, unit in (
        ("engine_accounts", "accounts", 1),
        ("engine_loop_lag_seconds", "loop_lag_ms_max", 1e-3),
        ("engine_fsync_seconds", "fsync_ms", 1e-3),
        ("engine_journal_backlog", "journal_backlog", 1),
        ("engine_messages_dropped", "messages_dropped", 1),
        ("engine_memory_bytes", "memory_mb", 1 << 20),
    ):
        if vitals.get(key) is not None:
            yield Sample(family, vitals[key] * unit, (engine,))
    for quantile, key in (("0.5", "commit_ms_p50"), ("0.99", "commit_ms_p99")):
        if key in vitals:
            yield Sample("engine_commit_seconds", vitals[key] * 1e-3, (engine, quantile))
    for lane, count in vitals.get("waiting", {}).items():
        yield Sample("engine_requests_waiting", count, (engine, lane))
    for reason, count in vitals.get("denials", {}).items():
        yield Sample("denials", count, (engine, reason))
    for family in ("decision_to_venue_seconds", "command_to_engine_seconds"):
        if family in vitals:
            yield Sample(family, vitals[family], (engine,))


def _accounts(at: datetime) -> Iterator[Sample]:
    prices = dict(SymbolState.objects.values_list("account").annotate(Max("priced_at")))
    for account in Account.objects.filter(is_enabled=True).select_related("lease", "state"):
        code, lease, state = (account.code,), getattr(account, "lease", None), getattr(account, "state", None)
        left_s = (lease.expires_at - at).total_seconds() if lease is not None and lease.expires_at is not None else 0.0
        yield Sample("account_active", left_s > 0 and state is not None and state.phase == "ACTIVE", code)
        yield Sample("account_lease_left_seconds", left_s, code)
        yield Sample("account_claims", lease.token if lease is not None else 0, code)
        if (priced_at := prices.get(account.pk)) is not None:
            yield Sample("account_price_age_seconds", (at - priced_at).total_seconds(), code)
        if state is None:
            continue
        yield Sample("account_events", state.seq, code)
        if state.reconciled_at is not None:
            yield Sample("account_reconciled_age_seconds", (at - state.reconciled_at).total_seconds(), code)
        for link in state.links_down:
            yield Sample("account_link_down", 1, (account.code, link))
        for condition in state.conditions:
            yield Sample("account_condition", 1, (account.code, condition))


def _orders(at: datetime) -> Iterator[Sample]:
    working = Order.objects.filter(is_working=True).values_list("account__code", "ord_status").annotate(Count("pk"))
    for code, status, count in working.order_by():
        yield Sample("orders", count, (code, status))
    yield from _counted("positions_open", Position.objects.filter(is_open=True))
    naked = Bracket.objects.filter(is_open=True, naked_since__isnull=False).values_list("account__code")
    for code, since in naked.annotate(Min("naked_since")).order_by():
        yield Sample("bracket_naked_age_seconds", (at - since).total_seconds(), (code,))


def _bots(at: datetime) -> Iterator[Sample]:
    counts = defaultdict[tuple[str, str], int](int)
    for state in BotState.objects.filter(bot__is_enabled=True).select_related("bot__account"):
        bot = (state.bot.account.code, state.bot.code)
        counts[state.bot.account.code, state.status] += 1
        yield Sample("bot_placed", state.placed, bot)
        yield Sample("bot_denied", state.denied, bot)
    for labels, count in counts.items():
        yield Sample("bots", count, labels)


def _trouble(at: datetime) -> Iterator[Sample]:
    yield from _counted("discrepancies", Discrepancy.objects.filter(ended_at=None))
    yield from _counted("poison_events", PoisonEvent.objects.all())
    standing = defaultdict[tuple[str, str, str], int](int)
    for code, priority, acked_at in Alarm.objects.filter(returned_at=None).values_list("account__code", "priority", "acked_at"):
        standing[code, str(priority), "no" if acked_at is None else "yes"] += 1
    for labels, count in standing.items():
        yield Sample("alarms", count, labels)
    pending = Command.objects.filter(status="PENDING", account__is_enabled=True).values_list("account__code")
    for code, count, oldest in pending.annotate(Count("pk"), Min("created_at")).order_by():
        yield Sample("commands_pending", count, (code,))
        yield Sample("command_pending_age_seconds", (at - oldest).total_seconds(), (code,))
    for scope, mode, count in Halt.objects.filter(cleared_at=None).values_list("scope", "mode").annotate(Count("pk")).order_by():
        yield Sample("halts", count, (scope, mode))


def _counted(family: str, rows: Any) -> Iterator[Sample]:
    """How many rows of each enabled account; 0 where there is none, so that an alert sees the end."""
    counts = dict(rows.values_list("account__code").annotate(Count("pk")).order_by())
    for code in Account.objects.filter(is_enabled=True).values_list("code", flat=True):
        yield Sample(family, counts.get(code, 0), (code,))


def _layer(at: datetime) -> Iterator[Sample]:
    """What Redis or Valkey tells. Its absence is a number, not an error: nothing waits for it."""
    if not settings.REDIS_URL:
        yield Sample("layer_up", 0)
        return
    try:
        with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=0.5, socket_connect_timeout=0.5) as client:
            lengths = [client.llen(queue) for queue in QUEUES]
            watched = client.get(settings.WATCHED_KEY)
    except redis.RedisError:
        yield Sample("layer_up", 0)
        return
    yield Sample("layer_up", 1)
    yield from (Sample("queue_length", length, (queue,)) for queue, length in zip(QUEUES, lengths, strict=True))
    if watched is not None:
        yield Sample("watchdog_age_seconds", at.timestamp() - float(watched))
