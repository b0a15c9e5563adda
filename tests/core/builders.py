"""Words for the tests of the execution core: an account near 100,000 in order, a bot on BTCUSDT near 100, and a Desk to talk to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from execution.core.brackets import BracketState
from execution.core.desk import Desk
from execution.core.messages import (
    AnswerCommand,
    BotChanged,
    BotSpec,
    Commanded,
    CommandKind,
    CommandSpec,
    CommandStatus,
    Decided,
    Decision,
    DeskSettings,
    Effect,
    Event,
    ExecType,
    LinkChanged,
    LinkKind,
    Mark,
    Marked,
    Publish,
    Reconciled,
    Reported,
    SendCancel,
    SendNewOrder,
    SendReplace,
    SettingsChanged,
    SignalKind,
    SignalRecord,
    Started,
    VenueFill,
    VenueOrder,
    Woke,
)
from execution.core.orders import EXITS, OrderState, OrdStatus, Purpose
from execution.core.sending import replace
from execution.core.state import CORE_VERSION, ENTITIES
from execution.core.turn import Turn
from risk.core.settings import ACCOUNT_PRESET, PRESETS, Profile, UnsupportedProtection
from risk.core.units import NO_LIMIT, ZERO, AssetClass, Instrument, OrdType, Quote, Scope, ScopeKind, Side
from risk.core.verdict import Capability, HintKind, SizeHint

D = Decimal
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
BTC, ETH = "BTCUSDT", "ETHUSDT"
BOT, OTHER = "alpha", "beta"
ACCOUNT = "paper"
INSTRUMENTS = {
    s: Instrument(s, AssetClass.CRYPTO_PERP, D("0.01"), D("0.001"), D(5), "USDT", s.removesuffix("USDT")) for s in (BTC, ETH)
}
CAPABILITIES = (
    Capability.STOP_ORDERS,
    Capability.POST_ONLY,
    Capability.IOC,
    Capability.FOK,
    Capability.REDUCE_ONLY,
    Capability.QUERY_BY_CLIENT_ID,
    Capability.ECHOES_CLIENT_ID,
)
E = TypeVar("E")


def settings(*, version: int = 1, limits: dict[str, Any] | None = None, **changes: Any) -> DeskSettings:
    """The perpetuals preset with `changes` on the profile, wide enough that nothing but the test's own limit is in the way."""
    wide = {
        "qty_max": D(1000),
        "order_equity_pct_max": D(100),
        "trade_risk_pct_max": D(100),
        "adds_max": 5,
        "entries_in_flight_max": 5,
        "duplicate_window_s": D(0),
        "order_rate_max": NO_LIMIT,
        "repeated_execution_max": 100_000,
    }
    base = msgspec.structs.replace(PRESETS[AssetClass.CRYPTO_PERP], **(wide | changes))
    account = msgspec.structs.replace(
        ACCOUNT_PRESET, concentration_pct=D(200), bot_exposure_pct=D(200), **({"order_rate_max": NO_LIMIT} | (limits or {}))
    )
    return DeskSettings(
        account=ACCOUNT,
        environment="PAPER",
        currency="USDT",
        version=version,
        digest=f"v{version}",
        capabilities=CAPABILITIES,
        instruments=INSTRUMENTS,
        bots={
            BOT: BotSpec(code=BOT, brain="ema_cross", symbols=(BTC,), profile="demo"),
            OTHER: BotSpec(code=OTHER, brain="ema_cross", symbols=(ETH,), profile="demo"),
        },
        profiles={"demo": Profile(code="demo", base=base)},
        limits=account,
        starting_cash=D(100_000),
    )


def at_venue(*has: Capability, **changes: Any) -> DeskSettings:
    """Those settings at a venue that has, of STOP_ORDERS, REDUCE_ONLY and REPLACE, only what is named; unsupported stops are emulated."""
    base = [c for c in CAPABILITIES if c not in (Capability.STOP_ORDERS, Capability.REDUCE_ONLY)]
    made = settings(**({"unsupported_protection": UnsupportedProtection.EMULATE} | changes))
    return msgspec.structs.replace(made, capabilities=(*base, *has))


def quote(symbol: str = BTC, *, px: str = "100", at: datetime = NOON) -> Quote:
    return Quote(symbol, D(px) - D("0.01"), D(px), D(px), at, at, at)


def decision(signal: SignalKind, qty: str | None = None, **changes: Any) -> Decision:
    hint = SizeHint(HintKind.QUANTITY, D(qty)) if qty is not None else SizeHint()
    return Decision(signal=signal, hint=hint, **changes)


class Bench:
    """A Desk, a clock that only the test moves, and what came out of the last event."""

    def __init__(self, config: DeskSettings | None = None, *, is_ready: bool = True) -> None:
        self.desk = Desk.new(ACCOUNT)
        self.at = NOON
        self.effects: tuple[Effect, ...] = ()
        self.journal: list[Event] = []
        self.everything: list[Effect] = []
        self._n = 0
        self.take(Started(at=self.at, token=1, core_version=CORE_VERSION, epoch="0001"))
        self.take(SettingsChanged(at=self.at, settings=config or settings()))
        if is_ready:
            self.ready()

    def ready(self) -> None:
        """Links up, venue compared, both bots warm and running."""
        for link in LinkKind:
            self.take(LinkChanged(at=self.at, link=link, is_up=True))
        self.reconcile()
        for bot in (BOT, OTHER):
            self.command(CommandKind.START, Scope(ScopeKind.BOT, bot))
            self.take(BotChanged(at=self.at, bot=bot, is_warm=True))

    # --- events --------------------------------------------------------------------------------------------------------

    def take(self, event: Event) -> tuple[Effect, ...]:
        seq = self.desk.seq
        self.effects = self.desk.handle(event)
        if self.desk.seq != seq:
            self.journal.append(event)
        self.everything += self.effects
        return self.effects

    def later(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)

    def wait(self, seconds: float) -> None:
        """Let time pass, waking every timer that falls due, in order."""
        until = self.at + timedelta(seconds=seconds)
        for _ in range(10_000):
            due = sorted((due_at, name) for name, due_at in self.desk.state.timers.items() if due_at <= until)
            if not due:
                break
            self.at = max(self.at, due[0][0])
            self.wake(due[0][1])
        self.at = until

    def wake(self, timer: str, *, px: str = "100") -> None:
        symbol = self.desk.quoted(timer)
        self.take(Woke(at=self.at, timer=timer, quote=quote(symbol, px=px, at=self.at) if symbol else None))

    def decide(self, what: Decision, *, symbol: str = BTC, bot: str = BOT, px: str = "100") -> SignalRecord:
        """A decision on a fresh quote; returns the signal it left."""
        self._n += 1
        self.take(
            Decided(
                at=self.at,
                bot=bot,
                symbol=symbol,
                decision=what,
                quote=quote(symbol, px=px, at=self.at),
                decision_id=f"{bot}:{symbol}:{self._n}:0",
                market_at=NOON + timedelta(seconds=self._n),
            )
        )
        (signal,) = self.published("signal")
        assert isinstance(signal, SignalRecord)
        return signal

    def buy(self, qty: str = "10", *, symbol: str = BTC, bot: str = BOT, **changes: Any) -> OrderState:
        """An approved entry, with a stop at 98 and a target at 104 unless the test says otherwise."""
        given = {"stop_loss": D(98), "take_profit": D(104)} | changes
        signal = self.decide(decision(SignalKind.BUY, qty, **given), symbol=symbol, bot=bot)
        assert signal.is_approved, signal.text
        return self.desk.state.orders[signal.cl_ord_id]

    def sell(self, qty: str = "10", **changes: Any) -> OrderState:
        signal = self.decide(decision(SignalKind.SELL, qty, **({"stop_loss": D(102), "take_profit": D(96)} | changes)))
        assert signal.is_approved, signal.text
        return self.desk.state.orders[signal.cl_ord_id]

    def report(
        self, order: OrderState | str, exec_type: ExecType, qty: str = "0", px: str = "100", **changes: Any
    ) -> tuple[Effect, ...]:
        cl_ord_id = order if isinstance(order, str) else order.cl_ord_id
        self._n += 1
        fields: dict[str, Any] = {"order_id": f"v{cl_ord_id}", "last_qty": D(qty), "last_px": D(px)}
        if exec_type is ExecType.TRADE:
            fields["exec_id"] = f"x{self._n}"
        return self.take(Reported(at=self.at, cl_ord_id=cl_ord_id, exec_type=exec_type, **(fields | changes)))

    def ack(self, order: OrderState) -> None:
        self.report(order, ExecType.NEW)

    def fill(self, order: OrderState, qty: str | None = None, px: str | None = None, **changes: Any) -> None:
        price = px or str(order.price or order.stop_px or 100)
        self.report(order, ExecType.TRADE, qty or str(order.leaves_qty), price, **changes)

    def command(self, kind: CommandKind, scope: Scope | None = None, **changes: Any) -> AnswerCommand:
        self._n += 1
        spec = CommandSpec(
            command_id=changes.pop("command_id", str(self._n)),
            kind=kind,
            scope=scope or Scope(ScopeKind.ACCOUNT, ACCOUNT),
            by=changes.pop("by", "alice"),
            asked_at=self.at,
            **changes,
        )
        self.take(Commanded(at=self.at, command=spec))
        return self.last(AnswerCommand)

    def replace(self, order: OrderState, **terms: str) -> SendReplace | None:
        """Have the desk itself ask for a replace, as its brackets do; None when it will not."""
        turn = Turn(self.desk.state, self.desk._index, self.at)
        is_sent = replace(turn, order, by="test", **{name: D(value) for name, value in terms.items()})
        self.effects = self.desk._commit(turn, self.journal[-1]) if turn.is_changed else ()
        assert is_sent is bool(self.all(SendReplace))
        return self.last(SendReplace) if is_sent else None

    def mark(self, symbol: str, px: str) -> None:
        self.take(Marked(at=self.at, marks=(Mark(symbol, D(px), self.at),)))

    def reconcile(
        self,
        *,
        positions: dict[str, str] | None = None,
        orders: tuple[VenueOrder, ...] | None = None,
        fills: tuple[VenueFill, ...] = (),
        **changes: Any,
    ) -> tuple[Effect, ...]:
        """The venue agrees with us, unless the test says otherwise."""
        ours = {symbol: position.qty for symbol, position in self.desk.state.positions.items()}
        shown = tuple(self.shown(order) for order in self.working() if order.is_accepted)
        fields: dict[str, Any] = {"asked_seq": self.desk.seq, "asked_at": self.at, "query_id": ""}
        return self.take(
            Reconciled(
                at=self.at,
                orders=shown if orders is None else orders,
                fills=fills,
                positions=ours if positions is None else {s: D(q) for s, q in positions.items()},
                **(fields | changes),
            )
        )

    @staticmethod
    def shown(order: OrderState, **changes: Any) -> VenueOrder:
        """An order as the venue shows it."""
        fields: dict[str, Any] = {
            "cl_ord_id": order.cl_ord_id,
            "order_id": order.order_id or "v1",
            "symbol": order.symbol,
            "side": order.side,
            "order_qty": order.order_qty,
            "cum_qty": order.cum_qty,
            "ord_type": order.ord_type,
            "ord_status": "PARTIALLY_FILLED" if order.cum_qty else "NEW",
        }
        return VenueOrder(**(fields | changes))

    # --- what came of it -----------------------------------------------------------------------------------------------

    def published(self, kind: str) -> list[Any]:
        return [
            msgspec.msgpack.decode(e.body, type=ENTITIES[kind]) for e in self.effects if isinstance(e, Publish) and e.kind == kind
        ]

    def sent(self) -> list[SendNewOrder]:
        return self.all(SendNewOrder)

    def canceled(self) -> list[str]:
        """The ids whose cancel left with the last event."""
        return [e.cl_ord_id for e in self.all(SendCancel)]

    def all(self, kind: type[E]) -> list[E]:
        return [e for e in self.effects if isinstance(e, kind)]

    def last(self, kind: type[E]) -> E:
        return self.all(kind)[-1]

    def working(self, symbol: str | None = None) -> list[OrderState]:
        return [o for o in self.desk.state.orders.values() if o.is_working and symbol in (None, o.symbol)]

    def legs(self, symbol: str = BTC) -> tuple[list[OrderState], list[OrderState]]:
        """The working stops and targets of a symbol."""
        working = self.working(symbol)
        return (
            [o for o in working if o.purpose is Purpose.STOP_LOSS],
            [o for o in working if o.purpose is Purpose.TAKE_PROFIT],
        )

    def exits(self, symbol: str = BTC) -> list[OrderState]:
        """The working exits of a symbol."""
        return [o for o in self.working(symbol) if o.purpose in EXITS]

    def settle_legs(self, symbol: str = BTC) -> None:
        """The venue does what was asked of the legs, until nothing is asked any more."""
        for _ in range(20):
            asked = [o for kind in self.legs(symbol) for o in kind if o.pending or not o.is_accepted]
            if not asked:
                return
            for leg in asked:
                word = {OrdStatus.PENDING_CANCEL: ExecType.CANCELED, OrdStatus.PENDING_REPLACE: ExecType.REPLACED}
                self.report(leg, word.get(leg.ord_status, ExecType.NEW))

    def bracket(self, entry: OrderState) -> BracketState:
        return self.desk.state.brackets[entry.cl_ord_id]

    def qty(self, symbol: str = BTC) -> Decimal:
        position = self.desk.state.positions.get(symbol)
        return position.qty if position is not None else ZERO

    def alarms(self) -> list[str]:
        return sorted(key.partition(":")[0] for key in self.desk.state.alarms)

    def armed(self, qty: str = "10", **changes: Any) -> OrderState:
        """A filled entry with both legs working."""
        entry = self.buy(qty, **changes)
        self.ack(entry)
        self.fill(entry)
        for leg in self.working(entry.symbol):
            self.ack(leg)
        return entry


__all__ = [
    "ACCOUNT",
    "BOT",
    "BTC",
    "ETH",
    "NOON",
    "OTHER",
    "Bench",
    "CommandKind",
    "CommandStatus",
    "D",
    "OrdType",
    "Side",
    "decision",
    "quote",
    "settings",
]
