"""Boards: the live parts of a page, rendered once for everyone who may see the same.

A board belongs to a topic (what a page shows) and an audience (accounts and rights). It keeps the latest HTML of every cell with the
time it changed, gives the fragments of what changed, and can repeat everything that changed since a page was rendered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

from execution import selectors
from execution.core.orders import OrdStatus
from execution.models import Account, Bracket, Order, Position, Signal
from execution.selectors import Overview
from tradingdesk.console.access import Rights
from tradingdesk.console.cells import Context
from tradingdesk.console.columns import BRACKETS, FLEET, ORDERS, POSITIONS, SIGNALS, Table
from tradingdesk.console.page import DESK_PIECES, STRIP_PIECES, desk_context, fleet_sorted, pieces, strip_context

#: rows a list shows, as its page does
LIST_ROWS: Final = 200
DESK_SIGNALS: Final = 12
BOT_SIGNALS: Final = 20
BOT_ORDERS: Final = 50
#: how long a removed row is remembered for pages that were rendered before it went
REMEMBER_S: Final = 60.0
#: the cells of a bot that its own page shows
_BOT_CELLS: Final = frozenset({"state", "position", "protection", "unrealised", "day", "placed", "denied", "signal", "act"})
#: an age is counted by the page itself: its words are no change
_AGE_WORDS: Final = re.compile(r"(<time data-age=[^>]*>)[^<]*")


class Topic(NamedTuple):
    """What a page shows: a name and its filters. "order?state=working" is the list of working orders."""

    name: str
    filters: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, text: str) -> Topic:
        """Any text gives a topic; a name nobody knows shows the strip only."""
        name, _, query = text[:300].partition("?")
        return cls(name, tuple(sorted(parse_qsl(query))))

    def get(self, name: str, default: str = "") -> str:
        return dict(self.filters).get(name, default)


class Audience(NamedTuple):
    """Who may see the same: accounts and rights."""

    accounts: frozenset[int]
    rights: Rights


@dataclass
class Touched:
    """Rows that changed since the last frame, read again."""

    orders: list[Order] = field(default_factory=list)
    brackets: list[Bracket] = field(default_factory=list)
    positions: list[Position] = field(default_factory=list)
    signals: list[Signal] = field(default_factory=list)
    #: (account, symbol) of everything above, and of prices
    symbols: set[tuple[int, str]] = field(default_factory=set)


Keys = dict[tuple[int, str], set[str]]


def touched_read(keys: Keys) -> Touched:
    """The changed rows, by key, in one query a kind."""
    accounts = {account_id for account_id, _ in keys}

    def wanted(kind: str) -> set[str]:
        return set().union(*(found for (_, k), found in keys.items() if k == kind))

    found = Touched()
    if ids := wanted("order"):
        found.orders = list(Order.objects.filter(account__in=accounts, cl_ord_id__in=ids).order_by("id"))
    if ids := wanted("bracket"):
        found.brackets = list(Bracket.objects.filter(account__in=accounts, bracket_id__in=ids).order_by("id"))
    if ids := wanted("position"):
        found.positions = list(Position.objects.filter(account__in=accounts, symbol__in=ids))
    if ids := wanted("signal"):
        found.signals = list(Signal.objects.filter(account__in=accounts, decision_id__in=ids).order_by("id"))
    rows: list[Order | Bracket | Position] = [*found.orders, *found.brackets, *found.positions]
    found.symbols = {(row.account_id, row.symbol) for row in rows}
    return found


def look_patched(look: Overview, touched: Touched) -> Overview:
    """The same look with the changed rows in it; a new value, so that what was derived is derived again."""
    return replace(
        look,
        orders=_patched(look.orders, touched.orders, is_in=lambda row: row.is_working),
        brackets=_patched(look.brackets, touched.brackets, is_in=lambda row: row.is_open),
        positions=_patched(look.positions, touched.positions, is_in=lambda row: row.is_open),
    )


def _patched(rows: list[Any], changed: list[Any], *, is_in: Callable[[Any], bool]) -> list[Any]:
    if not changed:
        return rows
    by_pk = {row.pk: row for row in rows}
    for row in changed:
        if is_in(row):
            by_pk[row.pk] = row
        else:
            by_pk.pop(row.pk, None)
    return list(by_pk.values())


# --- where a table's rows come from ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """A table on a page: all its rows now, those among the touched that may belong to it, and which do."""

    table: Table
    every: Callable[[Overview], Iterable[Any]]
    touched: Callable[[Overview, Touched], Iterable[Any]]
    belongs: Callable[[Any], bool]
    only: frozenset[str] | None = None
    #: all that a row's cells are made of, so that an unchanged row is not rendered each second; None where more than the row counts
    version: Callable[[Any], object] = lambda row: None


def sources_of(topic: Topic, accounts: Sequence[int]) -> list[Source]:
    match topic.name:
        case "desk":
            return [_fleet(), _signals(accounts, DESK_SIGNALS)]
        case "bot":
            return [_fleet()]
        case "signal":
            return [_signals(accounts, LIST_ROWS, **_only(topic, ("verdict", "bot", "symbol", "reason")))]
        case "order":
            return [_orders(accounts, LIST_ROWS, **{"state": "working", **_only(topic, ("state", "bot", "symbol"))})]
        case "bracket":
            return [_brackets(accounts, **{"state": "open", **_only(topic, ("state", "bot", "symbol"))})]
        case "position":
            return [_positions()]
        case "one":
            code = topic.get("bot")
            return [
                replace(_fleet(code), only=_BOT_CELLS),
                _orders(accounts, BOT_ORDERS, bot=code),
                _brackets(accounts, bot=code),
                _signals(accounts, BOT_SIGNALS, bot=code),
            ]
    return []


def _only(topic: Topic, names: Sequence[str]) -> dict[str, str]:
    return {name: value for name, value in topic.filters if name in names and value}


def _fleet(code: str = "") -> Source:
    def every(look: Overview) -> Iterable[Any]:
        return [bot for bot in fleet_sorted(look) if not code or bot.code == code]

    def touched(look: Overview, changed: Touched) -> Iterable[Any]:
        return [
            b for b in every(look) if any((b.account_id, symbol) in changed.symbols for symbol in look.symbols_of.get(b.pk, ()))
        ]

    return Source(FLEET, every, touched, belongs=lambda row: True)


def _matches(row: Any, *, bot: str, symbol: str) -> bool:
    return (not bot or row.bot == bot) and (not symbol or row.symbol == symbol)


def _orders(accounts: Sequence[int], limit: int, *, state: str = "working", bot: str = "", symbol: str = "") -> Source:
    def belongs(row: Order) -> bool:
        return (state == "all" or row.is_working == (state == "working")) and _matches(row, bot=bot, symbol=symbol)

    def every(look: Overview) -> Iterable[Any]:
        if state == "working":
            return [row for row in reversed(look.orders) if belongs(row)][:limit]
        return selectors.orders_listed(accounts, state=state, bot=bot, symbol=symbol)[:limit]

    return Source(ORDERS, every, lambda look, changed: changed.orders, belongs, version=_order_version)


def _order_version(row: Order) -> object:
    """An order that waits for an answer may become stuck by time alone."""
    if row.ord_status not in (OrdStatus.NEW, OrdStatus.PARTIALLY_FILLED) and row.is_working:
        return None
    return (row.ord_status, row.is_working, row.order_qty, row.cum_qty, row.avg_px, row.price, row.stop_px, row.text)


def _brackets(accounts: Sequence[int], *, state: str = "open", bot: str = "", symbol: str = "") -> Source:
    def belongs(row: Bracket) -> bool:
        return (state == "all" or row.is_open == (state == "open")) and _matches(row, bot=bot, symbol=symbol)

    def every(look: Overview) -> Iterable[Any]:
        if state == "open":
            return [row for row in reversed(look.brackets) if belongs(row)][:LIST_ROWS]
        return selectors.brackets_listed(accounts, state=state, bot=bot, symbol=symbol)[:LIST_ROWS]

    def touched(look: Overview, changed: Touched) -> Iterable[Any]:
        mine = {row.pk for row in changed.brackets}
        near = [row for row in look.brackets if (row.account_id, row.symbol) in changed.symbols and row.pk not in mine]
        return [*changed.brackets, *near]

    return Source(BRACKETS, every, touched, belongs)


def _positions() -> Source:
    def touched(look: Overview, changed: Touched) -> Iterable[Any]:
        mine = {row.pk for row in changed.positions}
        near = [row for row in look.positions if (row.account_id, row.symbol) in changed.symbols and row.pk not in mine]
        return [*changed.positions, *near]

    return Source(POSITIONS, lambda look: look.positions, touched, belongs=lambda row: row.is_open)


def _signals(
    accounts: Sequence[int], limit: int, *, verdict: str = "", bot: str = "", symbol: str = "", reason: str = ""
) -> Source:
    def belongs(row: Signal) -> bool:
        is_verdict = not verdict or bool(row.reason) == (verdict == "denied")
        return is_verdict and (not reason or row.reason == reason) and _matches(row, bot=bot, symbol=symbol)

    def every(look: Overview) -> Iterable[Any]:
        return selectors.signals_listed(accounts, verdict=verdict, bot=bot, symbol=symbol, reason=reason)[:limit]

    return Source(
        SIGNALS, every, lambda look, changed: changed.signals, belongs, version=lambda row: (row.repeats, row.last_at, row.text)
    )


# --- a board -----------------------------------------------------------------------------------------------------------


class Board:
    """The latest HTML of one topic for one audience. Used by the hub's one rendering thread only."""

    def __init__(self, topic: Topic, audience: Audience) -> None:
        self.topic = topic
        self.audience = audience
        self.sources = sources_of(topic, sorted(audience.accounts))
        #: element id → (when it changed, its HTML, that HTML without the words of ages)
        self._cells: dict[str, tuple[float, str, str]] = {}
        #: table → row id → (when it appeared, its whole HTML then)
        self._rows: dict[str, dict[str, tuple[float, str]]] = {source.table.name: {} for source in self.sources}
        self._gone: dict[str, float] = {}
        self._versions: dict[str, object] = {}
        self.loaded_at = 0.0

    def refresh(self, master: Overview, at: float) -> list[str]:
        """Everything again, from a whole look; the fragments of what differs."""
        look = self._narrowed(master)
        fragments = self.pieces(look, at)
        for source in self.sources:
            context = Context(look, self.audience.rights)
            rows = list(source.every(look))
            fragments += self._upserted(source, (row for row in reversed(rows) if self._is_new(source, row)), context, at)
            fragments += self._removed(source, {source.table.row_id(row) for row in rows}, at)
        self.loaded_at = self.loaded_at or at
        self._forget(at)
        return fragments

    def pieces(self, look: Overview, at: float) -> list[str]:
        context = {**strip_context(look), "rights": self.audience.rights}
        templates = dict(STRIP_PIECES)
        if self.topic.name == "desk":
            context |= desk_context(look)
            templates |= DESK_PIECES
        return self._changed(pieces(templates, context), at)

    def changed(self, master: Overview, touched: Touched, at: float) -> list[str]:
        """The fragments of the touched rows only."""
        look = self._narrowed(master)
        context = Context(look, self.audience.rights)
        fragments: list[str] = []
        for source in self.sources:
            rows = [row for row in source.touched(look, touched) if row.account_id in self.audience.accounts]
            fragments += self._upserted(source, (row for row in rows if source.belongs(row)), context, at)
            for row in rows:
                row_id = source.table.row_id(row)
                if not source.belongs(row) and row_id in self._rows[source.table.name]:
                    fragments.append(self._drop(source.table.name, row_id, at))
        return fragments

    def since(self, seen: float) -> list[str]:
        """Everything that changed after `seen`: for a page rendered then."""
        found = [_delete(row_id) for row_id, at in self._gone.items() if at >= seen]
        for source in self.sources:
            if source.only is None:
                rows = self._rows[source.table.name].values()
                found += [_insert(source.table.name, html) for at, html in rows if at >= seen]
        return found + [_cell(element, html) for element, (at, html, _) in self._cells.items() if at >= seen]

    def row_ids(self) -> dict[str, list[str]]:
        """Table → its rows now, for a page that was rendered before anybody kept this board."""
        return {source.table.name: list(self._rows[source.table.name]) for source in self.sources if source.only is None}

    def _narrowed(self, master: Overview) -> Overview:
        return master.of_accounts(self.audience.accounts)

    def _upserted(self, source: Source, rows: Iterable[Any], context: Context, at: float) -> list[str]:
        fragments: list[str] = []
        known = self._rows[source.table.name]
        for row in rows:
            row_id = source.table.row_id(row)
            self._versions[row_id] = source.version(row)
            cells = source.table.cells(row, context)
            if source.only is not None:
                cells = {element: cell for element, cell in cells.items() if element.rpartition("-")[2] in source.only}
            if row_id not in known:
                html = source.table.row_of(row_id, "", cells) if source.only is None else ""
                known[row_id] = (at, html)
                self._gone.pop(row_id, None)
                self._cells |= {element: (0.0, cell, stable(cell)) for element, cell in cells.items()}
                if source.only is None:
                    fragments.append(_insert(source.table.name, html))
            fragments += self._changed(cells, at)
        return fragments

    def _changed(self, cells: dict[str, str], at: float) -> list[str]:
        fragments: list[str] = []
        for element, html in cells.items():
            bare = stable(html)
            old = self._cells.get(element)
            if old is None or old[2] != bare:
                self._cells[element] = (at, html, bare)
                fragments.append(_cell(element, html))
        return fragments

    def _is_new(self, source: Source, row: Any) -> bool:
        """False for a row that was rendered from these very values."""
        version = source.version(row)
        return version is None or self._versions.get(source.table.row_id(row)) != version

    def _removed(self, source: Source, present: set[str], at: float) -> list[str]:
        name = source.table.name
        return [self._drop(name, row_id, at) for row_id in list(self._rows[name]) if row_id not in present]

    def _drop(self, table: str, row_id: str, at: float) -> str:
        del self._rows[table][row_id]
        self._versions.pop(row_id, None)
        self._gone[row_id] = at
        prefix = f"{row_id}-"
        for element in [e for e in self._cells if e.startswith(prefix)]:
            del self._cells[element]
        return _delete(row_id)

    def _forget(self, at: float) -> None:
        self._gone = {row_id: gone for row_id, gone in self._gone.items() if at - gone < REMEMBER_S}


def stable(html: str) -> str:
    """The HTML without the words of ages, which the page counts itself."""
    return _AGE_WORDS.sub(r"\1", html) if "data-age" in html else html


def _cell(element: str, html: str) -> str:
    return f'<div id="{element}" hx-swap-oob="innerHTML">{html}</div>'


def _insert(table: str, row: str) -> str:
    return f'<table hx-swap-oob="afterbegin:#{table}-rows">{row}</table>'


def _delete(row_id: str) -> str:
    return f'<div hx-swap-oob="delete:#{row_id}"></div>'


def accounts_by_code(look: Overview) -> dict[str, Account]:
    return {account.code: account for account in look.accounts}
