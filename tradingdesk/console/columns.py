"""The columns of every table, declared once: the page and the live frame render from the same declaration.

A cell is a function of a row and the Overview it was read with; it returns safe HTML or text. Ids are `<table>-<key>` for a row and
`<table>-<key>-<column>` for a cell, so that a frame can replace one cell.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString, mark_safe

from tradingdesk.console import cells
from tradingdesk.console.cells import Context

Cell = Callable[[Any, Context], SafeString | str]


class Column(NamedTuple):
    """One column. `css` classes: "num" right-aligned figures, "rare" for wide screens only, "minor" for all but narrow ones, "act" buttons.

    On a phone a row is a card: "first" and "name" cells make its first line, one that "grows" takes the room that is left.
    """

    name: str
    title: str
    cell: Cell
    css: str = ""


@dataclass(frozen=True)
class Table:
    """A table's columns, how its rows are keyed, and the class of a whole row."""

    name: str
    columns: tuple[Column, ...]
    key: Callable[[Any], str]
    row_css: Callable[[Any, Context], str] = lambda row, context: ""
    empty: str = "Nothing here."

    def row_id(self, row: Any) -> str:
        return f"{self.name}-{self.key(row)}"

    def cells(self, row: Any, context: Context) -> dict[str, str]:
        """Cell id → its HTML."""
        base = self.row_id(row)
        return {f"{base}-{column.name}": str(conditional_escape(column.cell(row, context))) for column in self.columns}

    def row(self, row: Any, context: Context) -> SafeString:
        """The whole `<tr>`."""
        return self.row_of(self.row_id(row), self.row_css(row, context), self.cells(row, context))

    def row_of(self, row_id: str, css: str, found: dict[str, str]) -> SafeString:
        parts = "".join(
            f'<td id="{cell_id}" class="{column.css}" data-label="{column.title}">{html}</td>'
            for column, (cell_id, html) in zip(self.columns, found.items(), strict=True)
        )
        # every cell went through conditional_escape, ids and classes are made of slugs
        return mark_safe(f'<tr id="{row_id}" class="{css}">{parts}</tr>')  # noqa: S308


def _pk(row: Any) -> str:
    return str(row.pk)


FLEET = Table(
    "bot",
    (
        Column("bot", "Bot", cells.bot_name, "name"),
        Column("state", "State", cells.bot_state, "first"),
        Column("symbol", "Symbol", cells.bot_symbols),
        Column("position", "Position", cells.bot_position, "num"),
        Column("protection", "Protection", cells.bot_protection),
        Column("unrealised", "Unrealised", cells.bot_unrealised, "num"),
        Column("day", "Session PnL", cells.bot_session, "num"),
        Column("price", "Price", cells.bot_price_age, "num rare"),
        Column("working", "Working", cells.bot_working, "num rare"),
        Column("placed", "Placed", cells.bot_placed, "num minor"),
        Column("denied", "Denied", cells.bot_denied, "num minor"),
        Column("signal", "Last signal", cells.bot_last_signal, "num minor"),
        Column("act", "", cells.bot_acts, "act"),
    ),
    key=lambda bot: bot.code,
    empty="No bot yet. Add one in the admin: a brain, an instrument and a risk profile.",
)

SIGNALS = Table(
    "signal",
    (
        Column("at", "UTC", cells.signal_at, "time"),
        Column("bot", "Bot", cells.bot_link, "first grows"),
        Column("symbol", "Symbol", cells.symbol, "first"),
        Column("side", "Side", cells.signal_side, "first"),
        Column("size", "Size", cells.signal_size, "num"),
        Column("verdict", "Verdict", cells.signal_verdict, "first"),
        Column("why", "Why", cells.signal_why, "why"),
    ),
    key=_pk,
    empty="No signal yet. They appear here as soon as a running bot decides something.",
)

ORDERS = Table(
    "order",
    (
        Column("at", "UTC", cells.order_at, "time"),
        Column("bot", "Bot", cells.bot_link, "first grows"),
        Column("symbol", "Symbol", cells.symbol, "first"),
        Column("side", "Side", cells.side, "first"),
        Column("purpose", "For", cells.order_purpose),
        Column("type", "Type", cells.order_type),
        Column("qty", "Quantity", cells.order_qty, "num"),
        Column("filled", "Filled", cells.order_filled, "num"),
        Column("price", "Price", cells.order_price, "num"),
        Column("avg", "Average", cells.order_avg, "num minor"),
        Column("status", "Status", cells.order_status, "first"),
        Column("age", "Age", cells.order_age, "num"),
        Column("act", "", cells.order_acts, "act"),
    ),
    key=_pk,
    empty="No order here. Working orders appear as soon as a bot's signal passes the gates.",
)

BRACKETS = Table(
    "bracket",
    (
        Column("at", "UTC", cells.bracket_at, "time minor"),
        Column("bot", "Bot", cells.bot_link, "first grows"),
        Column("symbol", "Symbol", cells.symbol, "first"),
        Column("side", "Entry", cells.side, "first"),
        Column("open", "Open", cells.bracket_open, "num"),
        Column("state", "State", cells.bracket_state, "first"),
        Column("stop", "Stop", cells.bracket_stop, "num"),
        Column("target", "Target", cells.bracket_target, "num"),
        Column("covered", "Covered", cells.bracket_covered, "num"),
        Column("act", "", cells.bracket_acts, "act"),
    ),
    key=_pk,
    empty="No bracket is open. An entry with a stop or a target gets one when it fills.",
)

POSITIONS = Table(
    "position",
    (
        Column("symbol", "Symbol", cells.position_symbol, "name"),
        Column("account", "Account", cells.account_name, "rare"),
        Column("bot", "Owner", cells.bot_link, "first"),
        Column("qty", "Quantity", cells.position_qty, "num"),
        Column("avg", "Average", cells.position_avg, "num"),
        Column("mark", "Mark", cells.position_mark, "num"),
        Column("unrealised", "Unrealised", cells.position_unrealised, "num"),
        Column("realised", "Realised", cells.position_realised, "num minor"),
        Column("protection", "Protection", cells.position_protection),
        Column("since", "Open for", cells.position_since, "num rare"),
        Column("act", "", cells.position_acts, "act"),
    ),
    key=_pk,
    empty="No open position. When an entry fills, it is listed here with what protects it.",
)


def heads(table: Table) -> SafeString:
    cells_ = "".join(f'<th class="{column.css}" scope="col">{column.title}</th>' for column in table.columns)
    return format_html("<tr>{}</tr>", mark_safe(cells_))  # noqa: S308
