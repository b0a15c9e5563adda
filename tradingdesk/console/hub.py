"""The hub: the one place of a web process where the desk's changes become frames.

One subscription to the channel layer, one Overview, one rendering thread, one board per topic and audience. The database is the truth:
once a second everything is read again, so that a lost message, or a layer that is away, costs a second and never a cell. A message only
says which rows to read sooner.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import time
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, Final, TypeVar

from channels.exceptions import ChannelFull
from channels.layers import get_channel_layer
from django.contrib.auth import HASH_SESSION_KEY
from django.contrib.sessions.models import Session
from django.db import close_old_connections
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from redis.exceptions import RedisError

from execution import selectors
from execution.selectors import Overview
from tradingdesk.console.access import accounts_of, rights_of
from tradingdesk.console.boards import Audience, Board, Keys, Topic, accounts_by_code, look_patched, touched_read
from tradingdesk.console.views.bots import levels
from tradingdesk.people.models import User

log = logging.getLogger(__name__)

T = TypeVar("T")

GROUP: Final = "console"
#: at most ten table frames a second
FRAME_S: Final = 0.1
#: everything is read again this often
REFRESH_S: Final = 1.0
REJOIN_S: Final = 5.0
CHECK_S: Final = 5.0
#: frames without an acknowledgement before a connection counts as behind, and how long it may stay so
BEHIND_FRAMES: Final = 30
BEHIND_S: Final = 15.0
#: messages a connection may have waiting inside this process
WAITING_MAX: Final = 100
#: a page rendered longer ago than this reloads its live part rather than catching up
CATCH_UP_S: Final = 30.0
#: a board nobody looks at is kept this long, so that moving between pages finds it warm
IDLE_S: Final = 60.0
#: how long a page goes on saying that it is slow after rows moved unheard
SLOW_S: Final = 5.0
#: clocks of two machines, and a transaction between reading and writing
_MARGIN_S: Final = 1.5

SIGNED_OUT: Final = 4401
NO_ACCESS: Final = 4403
TOO_SLOW: Final = 4408

#: kinds whose rows are read by key; the others bring the next whole look forward
_KEYED: Final = {"order", "bracket", "position", "signal"}
_CHARTED: Final = {"order", "bracket", "position", "signal", "fill"}

Send = Callable[[str], Awaitable[None]]
Close = Callable[[int], Awaitable[None]]


class Connection:
    """One browser tab. Frames are numbered; the page acknowledges them."""

    def __init__(self, *, user_id: int, session_key: str, board: Board, send: Send, close: Close) -> None:
        self.user_id = user_id
        self.session_key = session_key
        self.board = board
        self.number = 0
        self.acked = 0
        self.behind_since: float | None = None
        self._send, self._close = send, close
        self._waiting: deque[str] = deque(maxlen=WAITING_MAX)
        self._wake = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._pump())

    @property
    def is_behind(self) -> bool:
        return self.behind_since is not None

    def html(self, fragments: str) -> None:
        """A frame of fragments; none is sent while the page is behind, since it will be told to start over."""
        if not self.is_behind:
            self._put(f"<!--{self._next()}-->{fragments}")

    def json(self, **body: Any) -> None:
        if not self.is_behind:
            self._put(json.dumps({"n": self._next(), **body}))

    def ack(self, number: int) -> None:
        self.acked = max(self.acked, min(number, self.number))

    def judge(self, at: float) -> None:
        """Behind after too many unanswered frames; told to start over once it has caught up; closed when it never does."""
        unanswered = self.number - self.acked
        if not self.is_behind and unanswered > BEHIND_FRAMES:
            self.behind_since = at
        elif self.is_behind and unanswered == 0:
            self.behind_since = None
            self.json(resync=True)
        elif self.behind_since is not None and at - self.behind_since > BEHIND_S:
            self.end(TOO_SLOW)

    def end(self, code: int) -> None:
        self._task.cancel()
        self._ending = asyncio.get_running_loop().create_task(self._closed(code))

    def stop(self) -> None:
        self._task.cancel()

    def _next(self) -> int:
        self.number += 1
        return self.number

    def _put(self, message: str) -> None:
        if len(self._waiting) == WAITING_MAX:
            self.behind_since = self.behind_since or time.time()
        self._waiting.append(message)
        self._wake.set()

    async def _pump(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                await self._send(self._waiting.popleft())

    async def _closed(self, code: int) -> None:
        await self._close(code)


class Hub:
    """See the module. `start()` once, then `join` and `leave`."""

    def __init__(self) -> None:
        self.connections: set[Connection] = set()
        self.boards: dict[tuple[Topic, Audience], Board] = {}
        self._idle_since: dict[tuple[Topic, Audience], float] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hub")
        self._look: Overview | None = None
        self._pending: Keys = {}
        self._bars: list[tuple[int, list[Any]]] = []
        self._quotes: dict[tuple[int, str], list[Any]] = {}
        self._wants_refresh = False
        self._wake = asyncio.Event()
        #: account → seq heard on the layer, and seq in the rows at the last look
        self._heard_seq: dict[int, int] = {}
        self._row_seq: dict[int, int] = {}
        self._slow_until = 0.0
        self._is_layer_up = False
        self._is_once_a_second = False
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(job()) for job in (self._listen, self._flush, self._check)]
        for task in self._tasks:
            task.add_done_callback(_end_process)

    async def stop(self) -> None:
        for task in self._tasks:
            task.remove_done_callback(_end_process)
        # asked again until it ends: the layer's client now and then swallows a cancellation
        while pending := [task for task in self._tasks if not task.done()]:
            for task in pending:
                task.cancel()
            await asyncio.wait(pending, timeout=0.1)
        for connection in self.connections:
            connection.stop()
        await self._in_thread(close_old_connections)
        self._thread.shutdown()

    # --- connections ---------------------------------------------------------------------------------------------------

    async def join(self, *, user: User, session_key: str, topic: str, seen: float, send: Send, close: Close) -> Connection:
        """A page's socket. It gets what changed since the page was rendered, then every change."""
        audience = await self._in_thread(partial(_audience, user.pk))
        key = (Topic.parse(topic), audience)
        is_new = key not in self.boards
        board = self.boards.setdefault(key, Board(*key))
        self._idle_since.pop(key, None)
        if is_new:
            await self._in_thread(partial(self._load, board))
        connection = Connection(user_id=user.pk, session_key=session_key, board=board, send=send, close=close)
        self.connections.add(connection)
        self.catch_up(connection, seen)
        self._wake.set()
        return connection

    def leave(self, connection: Connection) -> None:
        connection.stop()
        self.connections.discard(connection)
        key = (connection.board.topic, connection.board.audience)
        if all((c.board.topic, c.board.audience) != key for c in self.connections):
            self._idle_since[key] = time.time()

    def catch_up(self, connection: Connection, seen: float) -> None:
        """Repeat what changed since `seen`, or tell the page to reload its live part when nobody can know."""
        board = connection.board
        if time.time() - seen > CATCH_UP_S:
            connection.json(resync=True)
            return
        # older than the board: nobody kept what changed before it, so everything is said again, and the page drops what it has
        is_older = seen - _MARGIN_S < board.loaded_at
        if fragments := board.since(0.0 if is_older else seen - _MARGIN_S):
            connection.html("".join(fragments))
        rows = {"rows": board.row_ids()} if is_older else {}
        connection.json(at=_now_ms(), slow=self._is_once_a_second, **rows)

    def _load(self, board: Board) -> None:
        look = self._look or selectors.overview(at=timezone.now())
        self._look = look
        if not self._row_seq:
            self._remember_seq(look)
        board.refresh(look, time.time())

    # --- hearing -------------------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        """Receive forever; a layer that is away is asked again, and the pages meanwhile read rows once a second."""
        while True:
            try:
                await self._subscribed()
            except (RedisError, OSError, TimeoutError, ChannelFull) as e:
                log.warning("channel layer away, reading rows once a second: %s", e or type(e).__name__)
                self._is_layer_up = False
                await asyncio.sleep(1)

    async def _subscribed(self) -> None:
        layer = get_channel_layer()
        if layer is None:
            await asyncio.Event().wait()
        channel = await layer.new_channel()
        joined = 0.0
        while True:
            if time.monotonic() - joined > REJOIN_S:
                # a flushed layer raises nothing and would leave us deaf
                await layer.group_add(GROUP, channel)
                joined, self._is_layer_up = time.monotonic(), True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REJOIN_S):
                    self.heard(await layer.receive(channel))

    def heard(self, message: dict[str, Any]) -> None:
        """One message of an engine: remember what to read again."""
        if message.get("type") != "desk.changed" or self._look is None:
            return
        codes = accounts_by_code(self._look)
        for code, part in message["accounts"].items():
            account = codes.get(code)
            if account is None:
                self._wants_refresh = True
                continue
            self._heard_seq[account.pk] = max(self._heard_seq.get(account.pk, 0), part["seq"])
            for kind, keys in part["keys"].items():
                self._pending.setdefault((account.pk, kind), set()).update(keys)
                self._wants_refresh |= kind not in _KEYED
            self._quotes |= {(account.pk, symbol): quote for symbol, quote in part.get("quotes", {}).items()}
            self._bars += [(account.pk, bar) for bar in part.get("bars", ())]
        self._wake.set()

    # --- telling -------------------------------------------------------------------------------------------------------

    async def _flush(self) -> None:
        """Ten frames a second at most; everything again once a second."""
        refreshed = 0.0
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.01, REFRESH_S - (time.monotonic() - refreshed))):
                    await self._wake.wait()
            self._wake.clear()
            started = time.monotonic()
            is_due = started - refreshed >= REFRESH_S or (self._wants_refresh and started - refreshed >= REFRESH_S / 3)
            if self.boards:
                await self._tell(is_due=is_due)
            if is_due:
                refreshed = started
                self._beat()
            await asyncio.sleep(max(0.0, FRAME_S - (time.monotonic() - started)))

    async def _tell(self, *, is_due: bool) -> None:
        pending, quotes, bars = self._pending, self._quotes, self._bars
        self._pending, self._quotes, self._bars = {}, {}, []
        if is_due:
            self._wants_refresh = False
        work = partial(self._render, pending, quotes, is_due=is_due)
        for key, fragments in (await self._in_thread(work)).items():
            if fragments:
                text = "".join(fragments)
                for connection in self._of(key):
                    connection.html(text)
        self._tell_charts(pending, quotes, bars)

    def _render(
        self, pending: Keys, quotes: dict[tuple[int, str], list[Any]], *, is_due: bool
    ) -> dict[tuple[Topic, Audience], list[str]]:
        """In the thread: read, patch, render. Returns the fragments of each board."""
        at = time.time()
        found: dict[tuple[Topic, Audience], list[str]] = {key: [] for key in self.boards}
        keyed = {key: keys for key, keys in pending.items() if key[1] in _KEYED}
        if is_due or self._look is None:
            self._look = _priced(selectors.overview(at=timezone.now()), quotes)
            for key, board in list(self.boards.items()):
                found[key] = board.refresh(self._look, at)
            self._is_once_a_second = self._missed()
        elif keyed:
            touched = touched_read(keyed)
            self._look = _priced(look_patched(self._look, touched), quotes)
            self._look.at = timezone.now()
            for key, board in list(self.boards.items()):
                found[key] = board.changed(self._look, touched, at)
        return found

    def _missed(self) -> bool:
        """True when rows moved on without a message: the layer is away or the engine cannot reach it."""
        if self._look is None:
            return False
        if any(self._heard_seq.get(pk, seq) < seq for pk, seq in self._row_seq.items()):
            self._slow_until = time.monotonic() + SLOW_S
        self._remember_seq(self._look)
        return not self._is_layer_up or time.monotonic() < self._slow_until

    def _remember_seq(self, look: Overview) -> None:
        """What the rows say now has to be heard by the next look; what is there at the first look counts as heard."""
        for pk, state in look.states.items():
            self._heard_seq[pk] = max(self._heard_seq.get(pk, state.seq), self._row_seq.get(pk, 0))
        self._row_seq = {pk: state.seq for pk, state in look.states.items()}

    def _tell_charts(self, pending: Keys, quotes: dict[tuple[int, str], list[Any]], bars: list[tuple[int, list[Any]]]) -> None:
        look = self._look
        if look is None:
            return
        moved = {account_id for (account_id, kind) in pending if kind in _CHARTED}
        for connection in self.connections:
            if connection.board.topic.name != "one":
                continue
            bot = next((b for b in look.bots if b.code == connection.board.topic.get("bot")), None)
            if bot is None or bot.account_id not in connection.board.audience.accounts:
                continue
            symbols = set(look.symbols_of.get(bot.pk, ()))
            body: dict[str, Any] = {
                "bars": [bar for account_id, bar in bars if account_id == bot.account_id and bar[0] in symbols],
                "quotes": {s: q for (account_id, s), q in quotes.items() if account_id == bot.account_id and s in symbols},
            }
            if bot.account_id in moved:
                body["levels"] = {symbol: levels(look, bot.account_id, symbol) for symbol in symbols}
            if any(body.values()):
                connection.json(chart=body)

    def _beat(self) -> None:
        """Once a second every page hears that the desk is there, and how often it looks."""
        at = time.time()
        for connection in list(self.connections):
            connection.judge(at)
            connection.json(at=_now_ms(), slow=self._is_once_a_second)
        for key, since in list(self._idle_since.items()):
            if at - since > IDLE_S:
                del self._idle_since[key]
                self.boards.pop(key, None)

    def _of(self, key: tuple[Topic, Audience]) -> list[Connection]:
        return [c for c in self.connections if (c.board.topic, c.board.audience) == key]

    # --- who may still look ----------------------------------------------------------------------------------------------

    async def _check(self) -> None:
        """Close the sockets of people who signed out, were disabled, or may see other accounts than when they came."""
        while True:
            await asyncio.sleep(CHECK_S)
            people = {(c.user_id, c.session_key, c.board.audience) for c in self.connections}
            verdicts = await self._in_thread(partial(_verdicts, people)) if people else {}
            for connection in list(self.connections):
                code = verdicts.get((connection.user_id, connection.session_key, connection.board.audience))
                if code:
                    connection.end(code)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, _with_connection(work))


def _with_connection(work: Callable[[], T]) -> Callable[[], T]:
    def run() -> T:
        close_old_connections()
        try:
            return work()
        finally:
            close_old_connections()

    return run


def _audience(user_id: int) -> Audience:
    return _audience_of(User.objects.get(pk=user_id))


def _verdicts(people: set[tuple[int, str, Audience]]) -> dict[tuple[int, str, Audience], int]:
    """Who has to go, and with which code. A session that was signed in with another password than today's is over too."""
    keys = [session_key for _, session_key, _ in people]
    alive = Session.objects.filter(session_key__in=keys, expire_date__gt=timezone.now())
    passwords = {session.session_key: str(session.get_decoded().get(HASH_SESSION_KEY, "")) for session in alive}
    users = {u.pk: u for u in User.objects.filter(pk__in=[pk for pk, _, _ in people], is_active=True).prefetch_related("groups")}
    found: dict[tuple[int, str, Audience], int] = {}
    for person in people:
        user_id, session_key, audience = person
        user = users.get(user_id)
        if user is None or not constant_time_compare(passwords.get(session_key, ""), user.get_session_auth_hash()):
            found[person] = SIGNED_OUT
        elif _audience_of(user) != audience:
            found[person] = NO_ACCESS
    return found


def _audience_of(user: User) -> Audience:
    return Audience(frozenset(accounts_of(user).values_list("pk", flat=True)), rights_of(user))


def _priced(look: Overview, quotes: dict[tuple[int, str], list[Any]]) -> Overview:
    """The newest quotes over the rows: [bid, ask, last, received in ms]."""
    for key, (bid, ask, last, received_ms) in quotes.items():
        if state := look.prices.get(key):
            state.bid, state.ask, state.last = Decimal(str(bid)), Decimal(str(ask)), Decimal(str(last))
            state.priced_at = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=received_ms)
    return look


def _now_ms() -> int:
    return int(time.time() * 1000)


def _end_process(task: asyncio.Task[None]) -> None:
    """A hub that fails ends its process: the supervisor starts a fresh one, and the pages reconnect."""
    if task.cancelled() or (error := task.exception()) is None:
        return
    log.critical("the hub failed, this process ends", exc_info=error)
    signal.raise_signal(signal.SIGTERM)


_hubs: dict[asyncio.AbstractEventLoop, Hub] = {}


def hub() -> Hub:
    """The hub of this process; started at the first connection."""
    loop = asyncio.get_running_loop()
    if loop not in _hubs:
        _hubs.clear()
        _hubs[loop] = Hub()
        _hubs[loop].start()
    return _hubs[loop]
