"""A page is one Overview, the rights of who looks, and what the page adds. The hub renders its live parts from the same pieces."""

from __future__ import annotations

import json
import re
import sys
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.safestring import SafeString

from execution import selectors
from execution.models import Position
from execution.selectors import ACTS_RECENT, Overview
from execution.services import kill_file_stands, kill_file_told
from risk.core.units import ZERO
from tradingdesk.console import access, strip
from tradingdesk.console.access import Rights
from tradingdesk.console.cells import Context, notional
from tradingdesk.console.columns import FLEET, Table
from tradingdesk.console.figures import span

#: pieces of the strip: element id → partial; every page has them
STRIP_PIECES: Final = {
    "strip-env": "console/strip.html#environments",
    "strip-states": "console/strip.html#states",
    "strip-lamps": "console/strip.html#lamps",
    "strip-alarms": "console/strip.html#alarms",
    "banner": "console/strip.html#banner",
    "count-orders": "console/strip.html#count-orders",
    "count-brackets": "console/strip.html#count-brackets",
    "count-positions": "console/strip.html#count-positions",
    "answer-title": "console/strip.html#answer-title",
    "kill-counts": "console/strip.html#kill-counts",
}
_DIGITS: Final = re.compile(r"(\d+)")
#: pieces of the Desk page
DESK_PIECES: Final = {
    "answer": "console/desk.html#answer",
    "cards": "console/desk.html#cards",
    "alarms": "console/desk.html#alarms",
    "fleet-told": "console/desk.html#fleet-told",
}


def look_of(request: HttpRequest) -> Overview:
    """The Overview of the accounts this person may see, as of now."""
    return selectors.overview(accounts=access.accounts_of(access.user_of(request)), at=timezone.now())


def page(request: HttpRequest, template: str, *, look: Overview, topic: str = "", **extra: Any) -> HttpResponse:
    """A whole page, or only its drawer when htmx asks for one."""
    rights = access.rights_of(access.user_of(request))
    context = {
        **strip_context(look),
        "rights": rights,
        "key": uuid.uuid4().hex,
        "socket": socket_address(topic, look.at),
        "path": request.path,
        "next": request.get_full_path(),
        **extra,
    }
    return render(request, template, context)


def socket_address(topic: str, at: datetime) -> str:
    """Where the page's socket connects: its topic, and the instant it was rendered at, so that the hub sends what changed since."""
    return f"/live/?{urlencode({'topic': topic, 'seen': int(at.timestamp() * 1000)})}"


def strip_context(look: Overview) -> dict[str, Any]:
    """What the strip, the banner and the kill dialog say."""
    found = strip.troubles(look)
    new = sum(1 for alarm in look.alarms if alarm.acked_at is None)
    return {
        "look": look,
        "now": look.at,
        "environments": strip.environments(look),
        "is_replay": any(account.feed.lower().startswith("replay:") for account in look.accounts),
        "is_synthetic": any(state.feed_is_synthetic for state in look.states.values()),
        "states": strip.states(look),
        "unprotected": len(look.uncovered),
        "alarms_new": new,
        "lamps": strip.lamps(look),
        "kills": strip.kill_lines(look),
        "kill_file": kill_file_told() if kill_file_stands() else "",
        "troubles": found,
        "answer_title": strip.title(look, found),
        "summary": strip.summary(look),
        "counts": {
            "orders": len(look.orders),
            "brackets": len(look.brackets),
            "positions": len(look.positions),
            "bots": len(look.bots),
        },
        "kill_scopes": kill_scopes(look),
        "kill_counts": json.dumps({**kill_counts(look), "recent": acts_recent(look)[:5]}),
        "environment": kill_environments(look).get("FIRM:", "PAPER"),
        "kill_line": f"{sys.executable} {settings.BASE_DIR / 'manage.py'}",
    }


def desk_context(look: Overview) -> dict[str, Any]:
    """What the Desk page adds to the strip."""
    return {
        "cards": [
            (
                account,
                look.states.get(account.pk),
                strip.account_state(look, account),
                look.meters(account),
                open_pnl(look, account.pk),
            )
            for account in look.accounts
        ],
        "died": died(look),
        "fleet_order": fleet_sorted(look),
        "fleet_told": fleet_told(look),
        "paused": sum(1 for bot in look.bots if look.effective(bot).name == "PAUSED"),
        "grace_s": settings.TIMING.engine_loss_grace_ms // 1000,
    }


def open_pnl(look: Overview, account_id: int) -> Decimal:
    return sum((p.unrealised for p in look.positions if p.account_id == account_id), ZERO)


def fleet_sorted(look: Overview) -> list[Any]:
    """Bots, the abnormal ones on top; bot-2 before bot-10."""
    return sorted(look.bots, key=lambda bot: (look.effective(bot).is_normal, _numbered(bot.code)))


def _numbered(code: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (0, part) for part in _DIGITS.split(code)]


def fleet_told(look: Overview) -> str:
    """8 bots · 5 running, 1 reduce only, 1 halted, 1 stopped."""
    words = {"ACTIVE": "running"}
    parts = [f"{n} {words.get(word, word.lower())}" for word, n, _ in strip.states(look) if n]
    return f"{len(look.bots)} bot{'' if len(look.bots) == 1 else 's'}" + (f" · {', '.join(parts)}" if parts else "")


def died(look: Overview) -> dict[str, Any]:
    """ "If this machine died now": what would go on without us."""
    covered = [p for p in look.positions if look.protection_of(p).is_full]
    watched = [b for b in look.brackets if b.open_qty and (b.is_stop_emulated or b.is_target_emulated)]
    return {
        "stops": len(covered),
        "positions": len(look.positions),
        "naked": look.uncovered,
        "watched": watched,
        "entries": len(look.entries),
    }


# --- kill --------------------------------------------------------------------------------------------------------------


def kill_scopes(look: Overview) -> dict[str, list[str]]:
    """What can be killed besides the firm."""
    symbols = sorted({row.instrument.symbol for row in look.owned} | {p.symbol for p in look.positions})
    return {"ACCOUNT": [a.code for a in look.accounts], "BOT": [b.code for b in look.bots], "INSTRUMENT": symbols}


def kill_counts(look: Overview) -> dict[str, dict[str, Any]]:
    """Scope → what a kill there would meet: entries, legs, positions and their worth. One pass: each row counts in its four scopes."""
    codes = {a.pk: a.code for a in look.accounts}
    found: dict[str, dict[str, Any]] = {
        name: {"entries": 0, "legs": 0, "positions": 0, "about": ZERO, "environment": environment}
        for name, environment in kill_environments(look).items()
    }
    for kind, rows in (("entries", look.entries), ("legs", look.legs), ("positions", look.positions)):
        for row in rows:
            for name in ("FIRM:", f"ACCOUNT:{codes[row.account_id]}", f"BOT:{row.bot}", f"INSTRUMENT:{row.symbol}"):
                if name in found:
                    found[name][kind] += 1
                    found[name]["about"] += notional(row) if isinstance(row, Position) else ZERO
    return {name: {**counts, "about": f"{counts['about']:,.0f}"} for name, counts in found.items()}


def kill_environments(look: Overview) -> dict[str, str]:
    """Scope → the environments a kill there reaches, in the words of the button: "LIVE", "PAPER", "LIVE and PAPER"."""
    reached: dict[str, set[str]] = defaultdict(set)
    for account in look.accounts:
        reached["FIRM:"].add(account.environment)
        reached[f"ACCOUNT:{account.code}"].add(account.environment)
    for bot in look.bots:
        reached[f"BOT:{bot.code}"].add(look.accounts_by_id[bot.account_id].environment)
    held = [(row.account_id, row.instrument.symbol) for row in look.owned] + [(p.account_id, p.symbol) for p in look.positions]
    for account_id, symbol in held:
        reached[f"INSTRUMENT:{symbol}"].add(look.accounts_by_id[account_id].environment)
    return {name: " and ".join(sorted(found)) for name, found in reached.items()}


def acts_recent(look: Overview) -> list[str]:
    """What others did in the last minute, for who is about to kill: "paul: pause bot ema-btc, 4 s ago"."""
    acts = {c.act_id: c.act for c in look.commands if look.at - c.created_at < ACTS_RECENT}
    return [
        f"{act.by}: {act.kind.replace('_', ' ').lower()} {strip.scope_words(act.scope, act.scope_key)}, {span(look.at - act.at)} ago"
        for act in reversed(acts.values())
    ]


# --- live parts --------------------------------------------------------------------------------------------------------


def pieces(templates: Mapping[str, str], context: dict[str, Any]) -> dict[str, str]:
    """Element id → the HTML inside it."""
    return {element: render_to_string(template, context).strip() for element, template in templates.items()}


def rows_html(table: Table, rows: Iterable[Any], look: Overview, rights: Rights) -> list[SafeString]:
    context = Context(look, rights)
    return [table.row(row, context) for row in rows]


def fleet_html(look: Overview, rights: Rights) -> list[SafeString]:
    return rows_html(FLEET, fleet_sorted(look), look, rights)
