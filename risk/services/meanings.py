"""What each setting is called and means, in plain words, with its unit and an example: the help of the admin's fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: fields of a profile and of its overrides
SETTINGS: Final[Mapping[str, str]] = {
    "margin_per_trade": "Money of the account put into one trade; times leverage it is the order's worth. 500 with leverage 2 buys for 1,000.",
    "leverage": "How many times the margin an order is worth. 1 is none, 3 makes 1,500 of 500.",
    "qty_max": "The most of the instrument in one order, in its own units, whatever the margin says. 0.5 is half a bitcoin.",
    "risk_pct": "For bots that size by risk: what a stop that is hit may cost, in % of equity. 1 is 1,000 of 100,000.",
    "session_loss_limit": "A symbol's loss in one session that ends its entries until the next; money, written negative. -50 stops at 50 lost.",
    "breaker_losses": "Losing closes within the window that stop a symbol's entries for the cooldown. 4 is four.",
    "breaker_window_s": "How far back losing closes are counted, in seconds. 14400 is four hours.",
    "breaker_cooldown_s": "How long a tripped breaker keeps entries away, in seconds. 3600 is an hour.",
    "price_age_ms_max": "How old a price may be for an entry, in ms since we got it. 2000 is two seconds.",
    "feed_lag_ms_max": "How long a price may have been under way from the venue, in ms. 5000 is five seconds.",
    "price_frozen_s": "How long a price may come without changing at all, in seconds. 60 is a minute.",
    "price_collar_pct": "How far beyond the market an order may trade, in %. 2 lets a buy at 100 pay 102.",
    "entries_in_flight_max": "Entry orders of one bot and symbol that may wait or work at once. 1 is one at a time.",
    "adds_max": "Entries that may be added to an open position. 0 is none.",
    "flip_policy": "What a signal against the open position does: close_only closes it, close_then_open also asks the bot again.",
    "entry_ttl_s": "How long an entry may rest unfilled before it is canceled, in seconds. 300 is five minutes.",
    "order_rate_max": "Entries of one bot in a second. 2 is two.",
    "duplicate_window_s": "A second entry just like the last is refused for so many seconds. 5 is five, 0 is off.",
    "repeated_execution_max": "Entries of one bot in an hour, so that a loop ends. 20 is twenty.",
    "stop_distance_pct_min": "The nearest a stop may lie to the entry, in % of the price. 0.1 is 100 of 100,000.",
    "stop_distance_pct_max": "The farthest a stop may lie from the entry, in % of the price. 20 is a fifth.",
    "order_qty_max": "An order of more is denied, in the instrument's units; qty_max makes it smaller instead. 10 is ten coins or shares.",
    "order_notional_max": "An order worth more is denied, in the account's money. 25000 is 25,000.",
    "order_equity_pct_max": "An order worth more than this share of equity is denied, in %. 25 is 25,000 of 100,000.",
    "trade_risk_pct_max": "An entry whose stop would cost more than this share of equity is denied, in %. 2 is 2,000 of 100,000.",
    "reward_risk_min": "The least that the target must earn for each unit the stop may lose. 1.5 earns 150 for a risk of 100, 0 asks nothing.",
    "is_stop_required": "Whether an entry without a stop is denied. Yes is the safe one; no lets a bot enter bare.",
    "unsupported_protection": "An entry whose stop the venue cannot hold: deny it, emulate the stop from here, or allow it unprotected.",
    "naked_policy": "A position whose stop cannot be placed: close_position closes it at market, keep keeps it and rings.",
    "naked_after_ms": "How long a filled entry may be without a working stop before that counts, in ms. 1000 is a second.",
    "leg_retries": "How often a refused stop or target is tried again. 3 is three times.",
    "exit_wait_ms": "How long an exit may wait before what is still open is protected again, in ms. 2000 is two seconds.",
}
#: fields of an account's limits
LIMITS: Final[Mapping[str, str]] = {
    "daily_loss_pct": "Equity this far below the day's opening halts the account, in %. 3 is 3,000 of 100,000.",
    "drawdown_pct": "Equity this far below its highest halts the account, in %. 10 is 10,000 of 100,000.",
    "resume_at_rollover": "Whether a daily loss ends by itself with the next day. Without it risk clears it.",
    "positions_max": "Symbols that may be open or entered at once. 10 is ten.",
    "gross_exposure_pct": "All positions and working entries together, longs and shorts added up, in % of equity. 200 is twice the equity.",
    "net_exposure_pct": "Longs less shorts, in % of equity. 100 is all of it one way.",
    "leverage_max": "All exposure over equity, in times. 5 is five times.",
    "concentration_pct": "What may be in one symbol, in % of equity. 30 is 30,000 of 100,000.",
    "bot_exposure_pct": "What one bot may have open and ordered, in % of equity. 50 is half.",
    "mark_age_s_max": "How old the mark of an open position may be for new entries anywhere, in seconds. 60 is a minute.",
    "order_rate_max": "Entries of all bots together in a second. 10 is ten.",
    "margin_per_trade_ceiling": "No profile gives more margin to a trade here, in money. 2000 is 2,000.",
    "leverage_ceiling": "No profile gives more leverage here, in times. 3 is three.",
    "order_notional_ceiling": "No profile lets one order be worth more here, in money. 50000 is 50,000.",
    "risk_pct_ceiling": "No profile risks more on a trade here, in % of equity. 2 is two percent.",
}
#: how a row is called
NAMES: Final[Mapping[str, str]] = {
    "code": "Short and lasting: settings, orders and the audit know it by this. demo, or crypto-small.",
    "name": "As people read it. Crypto, small.",
    "asset_class": "Every instrument of this class. CRYPTO_SPOT is coins without leverage.",
    "instrument": "This symbol alone. It comes before its class and the profile.",
}


def called(name: str) -> str:
    """A field as its form calls it, at the beginning of a sentence: Margin per trade."""
    return name.replace("_", " ").capitalize()
