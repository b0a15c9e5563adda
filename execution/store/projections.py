"""Core values as rows. Each published body becomes one row of its table; the engine never reads them back.

Within one commit only the last body of a key is written: what a person sees is the state after the commit, not each step to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
from django.db.backends.utils import CursorWrapper

from execution import models
from execution.core.brackets import BracketState, BracketStatus
from execution.core.controls import AccountState, AlarmState, BotState, DiscrepancyState, SymbolState
from execution.core.messages import AnswerCommand, ClearAlarm, Effect, Publish, RaiseAlarm, SignalRecord
from execution.core.orders import OrderState
from execution.core.positions import AdjustmentState, FillState, PositionState
from execution.core.state import ENTITIES
from execution.store.tables import Table, execute_many, sqlite_time
from risk.core.book import Halt
from risk.models import Halt as HaltRow

Row = tuple[Any, ...]


class Projected(NamedTuple):
    """A kind of entity that is a plain row: its table, and a body as the row's values after the account's id."""

    table: Table
    row: Callable[[Any], Row]


def _columns(names: str) -> tuple[str, ...]:
    return tuple(names.split())


def _order(o: OrderState) -> Row:
    return (
        *(o.cl_ord_id, o.order_id, o.bot, o.symbol, o.side, o.ord_type, o.time_in_force, o.order_class, o.purpose),
        *(o.ord_status, o.is_working, o.order_qty, o.cum_qty, o.leaves_qty, o.avg_px, o.price, o.stop_px, o.fees),
        *(o.reduce_only, o.post_only, o.bracket_id, o.decision_id, o.settings_version, o.ord_rej_reason, o.text or o.why),
        *(o.cancel_asked_by, o.created_at, o.accepted_at, o.pending_since, o.updated_at, o.done_at),
    )


def _fill(f: FillState) -> Row:
    return (
        *(f.cl_ord_id, f.exec_id, f.order_id, f.bot, f.symbol, f.side, f.last_qty, f.last_px, f.fee, f.fee_currency),
        *(f.liquidity, f.realised, f.at, f.transact_at, f.exec_ref_id, f.busted_at),
    )


def _adjustment(a: AdjustmentState) -> Row:
    return (a.adjustment_id, a.kind, a.bot, a.symbol, a.qty, a.amount, a.new_units, a.old_units, a.at, a.transact_at)


def _bracket(b: BracketState) -> Row:
    return (
        *(b.bracket_id, b.bot, b.symbol, b.side, b.status, b.stop_px, b.target_px, b.entry_qty, b.open_qty),
        *(b.stop_ids[-1] if b.stop_ids else "", b.target_ids[-1] if b.target_ids else ""),
        *(b.is_stop_waived, b.is_target_waived, b.is_stop_emulated, b.is_target_emulated),
        *(b.naked_since, b.text, b.status is not BracketStatus.CLOSED),
        *(b.created_at, b.updated_at),
    )


def _position(p: PositionState) -> Row:
    return (
        *(p.symbol, p.bot, p.qty, p.avg_px, p.contract_value, p.is_inverse, p.realised, p.fees, p.unrealised, p.mark, p.marked_at),
        *(p.opened_at, p.updated_at or p.opened_at or p.marked_at, bool(p.qty)),
    )


def _symbol(s: SymbolState) -> Row:
    session, breaker = s.session, s.breaker
    return (
        *(s.symbol, session.realised, session.fees, session.trades, session.is_tripped),
        *(session.session_start_at, session.session_end_at, len(breaker.losses), breaker.tripped_at),
    )


def _discrepancy(d: DiscrepancyState) -> Row:
    return (d.symbol, d.since, d.ours, d.theirs, d.seen_at, d.ended, d.ended_at)


def _account(a: AccountState) -> Row:
    return (
        *(a.seq, a.cash, a.equity, a.day_start_equity, a.peak_equity, a.realised, a.fees, a.day_end_at, a.conditions),
        *(a.links_down, a.reconciled_at, a.reconciled_text, a.settings_digest, a.settings_version, a.settings_applied_at),
    )


#: Publish.kind → its table. Kinds that need more than one row per body (signals, bots, halts, alarms) have their own functions below.
PROJECTED: Final[dict[str, Projected]] = {
    "order": Projected(
        Table(
            models.Order,
            key=("account_id", "cl_ord_id"),
            columns=_columns(
                "order_id bot symbol side ord_type time_in_force order_class purpose ord_status is_working order_qty cum_qty "
                "leaves_qty avg_px price stop_px fees reduce_only post_only bracket_id decision_id settings_version "
                "ord_rej_reason text cancel_asked_by created_at accepted_at pending_since updated_at done_at"
            ),
            once=_columns(
                "bot symbol side ord_type time_in_force order_class purpose reduce_only post_only decision_id settings_version "
                "created_at"
            ),
        ),
        _order,
    ),
    "fill": Projected(
        Table(
            models.Fill,
            key=("account_id", "cl_ord_id", "exec_id"),
            columns=_columns(
                "order_id bot symbol side last_qty last_px fee fee_currency liquidity realised at transact_at exec_ref_id busted_at"
            ),
        ),
        _fill,
    ),
    "adjustment": Projected(
        Table(
            models.Adjustment,
            key=("account_id", "adjustment_id"),
            columns=_columns("kind bot symbol qty amount new_units old_units at transact_at"),
        ),
        _adjustment,
    ),
    "bracket": Projected(
        Table(
            models.Bracket,
            key=("account_id", "bracket_id"),
            columns=_columns(
                "bot symbol side status stop_px target_px entry_qty open_qty stop_id target_id is_stop_waived "
                "is_target_waived is_stop_emulated is_target_emulated naked_since text is_open created_at updated_at"
            ),
            once=_columns("bot symbol side created_at"),
        ),
        _bracket,
    ),
    "position": Projected(
        Table(
            models.Position,
            key=("account_id", "symbol"),
            columns=_columns(
                "bot qty avg_px contract_value is_inverse realised fees unrealised mark marked_at opened_at updated_at is_open"
            ),
        ),
        _position,
    ),
    "symbol": Projected(
        Table(
            models.SymbolState,
            key=("account_id", "symbol"),
            columns=_columns(
                "session_realised session_fees session_trades session_is_tripped session_start_at session_end_at "
                "breaker_losses breaker_tripped_at"
            ),
        ),
        _symbol,
    ),
    "discrepancy": Projected(
        Table(models.Discrepancy, key=("account_id", "symbol", "since"), columns=_columns("ours theirs seen_at ended ended_at")),
        _discrepancy,
    ),
    "account": Projected(
        Table(
            models.AccountState,
            key=("account_id",),
            columns=_columns(
                "seq cash equity day_start_equity peak_equity realised fees day_end_at conditions links_down reconciled_at "
                "reconciled_text settings_digest settings_version settings_applied_at"
            ),
        ),
        _account,
    ),
}

_SIGNALS: Final = Table(
    models.Signal,
    key=("account_id", "decision_id"),
    columns=_columns(
        "at last_at market_at repeats bot symbol signal side order_class ord_type reason text checks order_qty price bid ask "
        "stop_loss take_profit note settings_version cl_ord_id"
    ),
)
_ALARMS: Final = Table(
    models.Alarm,
    key=("account_id", "key"),
    columns=_columns("priority title cause consequence to_do bot symbol raised_at"),
    once=("raised_at",),
    where="WHERE returned_at IS NULL",
)
_HALTS: Final = Table(
    HaltRow,
    key=("halt_id",),
    columns=_columns("scope scope_key mode cause reason by at"),
    once=("scope", "scope_key", "cause", "reason", "by", "at"),
)

DECODERS: Final = {kind: msgspec.msgpack.Decoder(body) for kind, body in ENTITIES.items()}


class Repeat(msgspec.Struct, frozen=True):
    """A denial like the one before it: the row of `decision_id` counts `repeats` now."""

    decision_id: str
    at: datetime
    repeats: int
    bot: str = ""


class _Head(msgspec.Struct):
    """The part of a SignalRecord that the fold looks at."""

    decision_id: str
    at: datetime
    bot: str
    symbol: str
    signal: str
    reason: str | None


_HEAD: Final = msgspec.msgpack.Decoder(_Head)


class SignalFold:
    """Decides whether a signal is a new row or one more of the same: identical denials in a row (bot, symbol, signal, code).

    Lives with the runner, starts from the last row of each bot and symbol, and is thrown away with it. It counts the denials that it
    sees, by reason, into `denials`, which may outlive it.
    """

    def __init__(self, last: Iterable[tuple[str, str, str, str, str, int]] = ()) -> None:
        self._last = {(bot, symbol): ((signal, reason), key, repeats) for bot, symbol, signal, reason, key, repeats in last}
        self.denials = Counter[str]()

    def fold(self, body: bytes) -> Repeat | None:
        """None when the signal of this published body is a row of its own."""
        record = _HEAD.decode(body)
        what = (record.signal, record.reason or "")
        if record.reason is not None:
            self.denials[record.reason] += 1
        last, key, repeats = self._last.get((record.bot, record.symbol), (None, "", 0))
        if record.reason is None or last != what:
            self._last[record.bot, record.symbol] = (what, record.decision_id, 1)
            return None
        self._last[record.bot, record.symbol] = (what, key, repeats + 1)
        return Repeat(key, record.at, repeats + 1, record.bot)


def signals_last(account_id: int) -> list[tuple[str, str, str, str, str, int]]:
    """The newest signal of each bot and symbol of an account, as SignalFold wants them."""
    columns = ("bot", "symbol", "signal", "reason", "decision_id", "repeats")
    bots = models.BotInstrument.objects.filter(account_id=account_id).values_list("bot__code", "instrument__symbol")
    rows = (
        models.Signal.objects.filter(account_id=account_id, bot=bot, symbol=symbol).order_by("-id").values_list(*columns).first()
        for bot, symbol in bots
    )
    return [row for row in rows if row is not None]


class Projection:
    """What one account's part of a commit writes, the last body of each key. Built and written in the journal thread."""

    def __init__(self, account_id: int) -> None:
        self.account_id = account_id
        self._bodies: dict[str, dict[str, bytes]] = {}
        self._signals: dict[str, SignalRecord] = {}
        self._repeats: dict[str, Repeat] = {}
        #: bot → how many of its decisions were denied, and when the last was
        self._denied: dict[str, tuple[int, datetime]] = {}
        self._alarms: dict[str, tuple[RaiseAlarm, datetime] | datetime] = {}
        self._answers: dict[str, tuple[AnswerCommand, int, datetime]] = {}
        self._cleared: list[tuple[Halt, datetime, str]] = []

    def add(self, effects: Iterable[Effect], *, seq: int, at: datetime, by: str = "", fold: Repeat | None = None) -> None:
        """The effects of one event. `by` is who asked, where it was a command; `fold` is the signal's answer from SignalFold."""
        for effect in effects:
            match effect:
                case Publish(kind="signal"):
                    self._signal(effect, fold)
                case Publish(kind="halt_cleared"):
                    halt = DECODERS["halt"].decode(effect.body)
                    self._cleared.append((halt, at, by))
                    # the alarm of a halt that no Desk set (a brain that never returned) stands as long as the halt
                    self._alarms[f"halt:{halt.halt_id}"] = at
                case Publish(kind="alarm" | "alarm_cleared"):
                    self._alarm(effect, at)
                case Publish():
                    self._bodies.setdefault(effect.kind, {})[effect.key] = effect.body
                case RaiseAlarm():
                    self._alarms[effect.key] = (effect, at)
                case ClearAlarm():
                    self._alarms[effect.key] = at
                case AnswerCommand() if effect.command_id.isdecimal():
                    # the engine's own commands have no row
                    self._answers[effect.command_id] = (effect, seq, at)
                case _:
                    pass

    def write(self, cursor: CursorWrapper) -> None:
        # symbols in their order, the account last: the order of market.write, so that neither waits for the other
        for kind, bodies in sorted(self._bodies.items(), key=lambda pair: pair[0] == "account"):
            keys = sorted(bodies) if kind == "symbol" else bodies
            values = [DECODERS[kind].decode(bodies[key]) for key in keys]
            if kind in PROJECTED:
                self._write_rows(cursor, PROJECTED[kind], values)
            elif kind == "bot":
                _write_bots(cursor, self.account_id, values)
            else:
                _HALTS.write(cursor, map(_halt, values))
        _write_cleared(cursor, self._cleared)
        _SIGNALS.write(cursor, ((self.account_id, *_signal(record)) for record in self._signals.values()))
        _write_repeats(cursor, self.account_id, self._repeats.values())
        _write_denied(cursor, self.account_id, self._denied)
        self._write_alarms(cursor)
        _write_answers(cursor, self.account_id, self._answers.values())

    def _signal(self, effect: Publish, fold: Repeat | None) -> None:
        if fold is not None:
            self._repeats[fold.decision_id] = fold
            self._count_denied(fold.bot, fold.at)
            return
        record: SignalRecord = DECODERS["signal"].decode(effect.body)
        self._signals[effect.key] = record
        if record.reason is not None:
            self._count_denied(record.bot, record.at)

    def _count_denied(self, bot: str, at: datetime) -> None:
        """A denied decision changes no Desk, so its count is kept here and nowhere else."""
        count, _ = self._denied.get(bot, (0, at))
        self._denied[bot] = (count + 1, at)

    def _alarm(self, effect: Publish, at: datetime) -> None:
        state: AlarmState = DECODERS["alarm"].decode(effect.body)
        if effect.kind == "alarm_cleared":
            self._alarms[state.key] = at
            return
        fields = {name: getattr(state, name) for name in RaiseAlarm.__struct_fields__}
        self._alarms[state.key] = (RaiseAlarm(**fields), state.raised_at)

    def _write_rows(self, cursor: CursorWrapper, projected: Projected, values: Iterable[Any]) -> None:
        projected.table.write(cursor, ((self.account_id, *projected.row(value)) for value in values))

    def _write_alarms(self, cursor: CursorWrapper) -> None:
        raised = [(key, state) for key, state in self._alarms.items() if isinstance(state, tuple)]
        returned = [(key, state) for key, state in self._alarms.items() if isinstance(state, datetime)]
        rows = (
            (self.account_id, key, a.priority, a.title, a.cause, a.consequence, a.to_do, a.bot, a.symbol, at)
            for key, (a, at) in raised
        )
        _ALARMS.write(cursor, rows)
        for key, at in returned:
            cursor.execute(
                "UPDATE execution_alarm SET returned_at = %s WHERE account_id = %s AND key = %s AND returned_at IS NULL",
                [_time(cursor, at), self.account_id, key],
            )


def _signal(r: SignalRecord) -> Row:
    quote = r.quote
    return (
        *(r.decision_id, r.at, r.at, r.market_at, 1, r.bot, r.symbol, r.signal, r.side or "", r.order_class or "", r.ord_type),
        *(
            r.reason or "",
            r.text,
            r.checks,
            r.order_qty,
            r.price,
            quote.bid if quote else None,
            quote.ask if quote else None,
        ),
        *(r.stop_loss, r.take_profit, r.note, r.settings_version, r.cl_ord_id),
    )


def _halt(h: Halt) -> Row:
    return (h.halt_id, h.scope.kind, h.scope.key, h.mode, h.cause, h.reason, h.by, h.at)


def _time(cursor: CursorWrapper, at: datetime | None) -> Any:
    return sqlite_time(at) if cursor.db.vendor == "sqlite" else at


def _write_bots(cursor: CursorWrapper, account_id: int, bots: Iterable[BotState]) -> None:
    """A bot that was deleted meanwhile simply has no row: the state must not stop the journal.

    Its denials are not here, and the last of them may be its last signal.
    """
    execute_many(
        cursor,
        "INSERT INTO execution_botstate (bot_id, status, stop_mode, placed, denied, last_signal_at, text) "
        "SELECT id, %s, %s, %s, 0, %s, %s FROM execution_bot WHERE code = %s AND account_id = %s "
        "ON CONFLICT (bot_id) DO UPDATE SET status = excluded.status, stop_mode = excluded.stop_mode, placed = excluded.placed, "
        "text = excluded.text, last_signal_at = CASE WHEN execution_botstate.last_signal_at > excluded.last_signal_at "
        "THEN execution_botstate.last_signal_at ELSE COALESCE(excluded.last_signal_at, execution_botstate.last_signal_at) END",
        [
            [
                b.status.value,
                b.stop_mode[:16],
                b.placed,
                _time(cursor, b.last_signal_at),
                b.text[:500],
                b.code,
                account_id,
            ]
            for b in bots
        ],
    )


def _write_cleared(cursor: CursorWrapper, cleared: Iterable[tuple[Halt, datetime, str]]) -> None:
    for halt, at, by in cleared:
        _HALTS.write(cursor, [_halt(halt)])
        cursor.execute(
            "UPDATE risk_halt SET cleared_at = %s, cleared_by = CASE WHEN cleared_by = '' THEN %s ELSE cleared_by END "
            "WHERE halt_id = %s AND cleared_at IS NULL",
            [_time(cursor, at), by[:150], halt.halt_id],
        )


def _write_repeats(cursor: CursorWrapper, account_id: int, repeats: Iterable[Repeat]) -> None:
    rows = [[r.repeats, _time(cursor, r.at), account_id, r.decision_id] for r in repeats]
    if rows:
        execute_many(
            cursor, "UPDATE execution_signal SET repeats = %s, last_at = %s WHERE account_id = %s AND decision_id = %s", rows
        )


def _write_denied(cursor: CursorWrapper, account_id: int, denied: Mapping[str, tuple[int, datetime]]) -> None:
    rows = [[count, _time(cursor, at), bot, account_id] for bot, (count, at) in denied.items()]
    if rows:
        execute_many(
            cursor,
            "UPDATE execution_botstate SET denied = denied + %s, last_signal_at = %s "
            "WHERE bot_id = (SELECT id FROM execution_bot WHERE code = %s AND account_id = %s)",
            rows,
        )


def _write_answers(cursor: CursorWrapper, account_id: int, answers: Iterable[tuple[AnswerCommand, int, datetime]]) -> None:
    for answer, seq, at in answers:
        cursor.execute(
            "UPDATE execution_command SET status = %s, applied_seq = COALESCE(applied_seq, %s), text = %s, steps = %s, "
            "answered_at = %s WHERE id = %s AND account_id = %s",
            [
                *(answer.status.value, seq, answer.text[:500], msgspec.json.encode(answer.steps).decode(), _time(cursor, at)),
                *(int(answer.command_id), account_id),
            ],
        )
