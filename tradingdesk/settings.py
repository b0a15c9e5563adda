"""The one settings file. Every environment variable is read here and nowhere else. Importing it writes nothing."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from execution.core.messages import Timing

BASE_DIR = Path(__file__).resolve().parent.parent
#: everything written at run time lives here
VAR_DIR = Path(os.environ.get("TRADINGDESK_VAR", BASE_DIR / "var")).absolute()

#: what `desk` writes about its running processes; without REDIS_URL the others find the private Valkey in it
DESK_FILE = VAR_DIR / "desk.json"
#: while this file is there nothing trades; what needs neither database nor Redis
KILL_FILE = VAR_DIR / "KILL"

DEBUG = os.environ.get("TRADINGDESK_DEBUG") == "1"
IS_TEST = "pytest" in sys.modules


def _secret(name: str, file: Path) -> str:
    """A secret from the environment, else the file `desk` made; empty when neither is there (Django then refuses to sign)."""
    if value := os.environ.get(name):
        return value
    try:
        return file.read_text().strip()
    except OSError:
        return ""


def _address(name: str) -> str:
    """An address from the environment. The process ends where its parts cannot be told apart, and does not show it: a password is in it."""
    address = os.environ.get(name, "")
    try:
        _ = urlsplit(address).port
    except ValueError:
        raise SystemExit(
            f"{name} is no address: in a user's name and password write / # ? : @ % as %2F %23 %3F %3A %40 %25, and the port as a number."
        ) from None
    return address


SECRET_KEY = _secret("SECRET_KEY", VAR_DIR / "secret_key") or ("only-for-tests" if IS_TEST else "")
#: who brings it may read /metrics; empty for nobody but staff
METRICS_TOKEN = os.environ.get("TRADINGDESK_METRICS_TOKEN", "")
ALLOW_LIVE = os.environ.get("TRADINGDESK_ALLOW_LIVE") == "1"

# --- where the desk is reached -----------------------------------------------------------------------------------------

GIVEN_DESK_URL = _address("DESK_URL").rstrip("/")
DESK_URL = GIVEN_DESK_URL or "http://127.0.0.1:8000"
_desk = urlsplit(DESK_URL)
_LOOPBACK = ["127.0.0.1", "localhost", "[::1]"]
_hosts = _LOOPBACK if _desk.hostname in {"127.0.0.1", "localhost", "::1"} else [_desk.hostname or ""]
ALLOWED_HOSTS = _hosts + (["testserver"] if IS_TEST else [])
#: where a page of ours may come from: forms and sockets from elsewhere are refused
CSRF_TRUSTED_ORIGINS = [f"{_desk.scheme}://{host}" + (f":{_desk.port}" if _desk.port else "") for host in _hosts]
if _desk.scheme == "https":
    SECURE_SSL_REDIRECT = True
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_HSTS_SECONDS = 31536000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
SESSION_COOKIE_NAME = "tradingdesk_session"
CSRF_COOKIE_NAME = "tradingdesk_csrf"
SESSION_COOKIE_AGE = 12 * 3600
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"

# --- what runs ---------------------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "execution",
    "risk",
    "tradingdesk",
    "tradingdesk.people",
    "channels",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "servestatic.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django_htmx",
    "template_partials",
    "allauth",
    "allauth.account",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "tradingdesk.console.middleware.content_security_policy",
    "servestatic.middleware.ServeStaticMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "tradingdesk.console.middleware.htmx_sign_in",
    "tradingdesk.console.middleware.sign_in_leads_back",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "tradingdesk.console.middleware.null_characters_refused",
    "allauth.account.middleware.AccountMiddleware",
]

ROOT_URLCONF = "tradingdesk.urls"
ASGI_APPLICATION = "tradingdesk.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
            "libraries": {"figures": "tradingdesk.console.figures"},
        },
    },
]

# --- database ----------------------------------------------------------------------------------------------------------


def _database(url: str) -> dict[str, Any]:
    """DATABASE_URL (postgresql://user:password@host:port/name, or sqlite:///path) as Django's dictionary."""
    parts = urlsplit(url)
    if parts.scheme.startswith("postgres"):
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": unquote(parts.path.lstrip("/")),
            "USER": unquote(parts.username or ""),
            "PASSWORD": unquote(parts.password or ""),
            "HOST": unquote(parts.hostname or ""),
            "PORT": str(parts.port or ""),
            "CONN_MAX_AGE": 0,
            "OPTIONS": {"pool": {"min_size": 1, "max_size": 10, "timeout": 2}},
        }
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": Path(parts.path) if parts.path else VAR_DIR / "desk.sqlite3",
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 5,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
        },
        # a file, since threads of the tests write to it; of this process alone, so that two runs never meet
        "TEST": {"NAME": str(Path(tempfile.gettempdir()) / f"tradingdesk-test-{os.getpid()}.sqlite3")},
    }


DATABASES = {"default": _database(_address("DATABASE_URL"))}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SESSION_ENGINE = "django.contrib.sessions.backends.db"

# --- Redis or Valkey ---------------------------------------------------------------------------------------------------


GIVEN_REDIS_URL = _address("REDIS_URL")


def _redis_url() -> str:
    """REDIS_URL, else the private Valkey that the running `desk` wrote down; empty for none."""
    if GIVEN_REDIS_URL:
        return GIVEN_REDIS_URL
    try:
        socket = json.loads(DESK_FILE.read_text())["valkey_socket"]
    except (OSError, ValueError, KeyError):
        return ""
    return f"unix://{socket}" if socket else ""


REDIS_URL = _redis_url()
if REDIS_URL:
    CHANNEL_LAYERS: dict[str, Any] = {
        "default": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            # redis-py ends idle consumers after 5 s unless told otherwise (channels_redis#422)
            "CONFIG": {"hosts": [{"address": REDIS_URL, "socket_timeout": 30}], "capacity": 2000},
        }
    }
else:
    CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"capacity": 2000}}}

CELERY_BROKER_URL = REDIS_URL.replace("unix://", "redis+socket://", 1) or "memory://"
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "jobs"
CELERY_TASK_ROUTES = {"execution.watch": {"queue": "watch"}}
CELERY_BEAT_SCHEDULE = {
    "watch": {"task": "execution.watch", "schedule": 1.0, "options": {"queue": "watch", "expires": 1}},
    "sessions": {"task": "execution.sessions_clear", "schedule": 3600.0, "options": {"expires": 600}},
    "retention": {"task": "execution.retention", "schedule": 900.0, "options": {"expires": 600}},
}
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_SERIALIZER = "json"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# said, so that it does not warn: what it would cancel are tasks acknowledged late, and there are none
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = True
CELERY_TIMEZONE = "UTC"
#: where in Redis the watchdog says when it last looked, as seconds since 1970
WATCHED_KEY = "tradingdesk:watched"

# --- people ------------------------------------------------------------------------------------------------------------

AUTH_USER_MODEL = "people.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_ADAPTER = "tradingdesk.people.adapter.ClosedAdapter"
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
if IS_TEST:  # a test makes people by the hundred; what Argon2 costs is its purpose
    PASSWORD_HASHERS.insert(0, "django.contrib.auth.hashers.MD5PasswordHasher")
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

# --- language, time, files ---------------------------------------------------------------------------------------------

LANGUAGE_CODE = "en-us"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "/static/"
STATIC_ROOT = None if IS_TEST else VAR_DIR / "static"
SERVESTATIC_USE_FINDERS = SERVESTATIC_AUTOREFRESH = DEBUG or IS_TEST
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG or IS_TEST
        else "servestatic.storage.CompressedManifestStaticFilesStorage"
    },
}

# --- the log: one line per record on stderr, JSON when asked -----------------------------------------------------------

#: what this process is, in each line of the log
PROCESS = os.environ.get("TRADINGDESK_PROCESS", Path(sys.argv[0]).stem or "python")
LOG_LEVEL = os.environ.get("TRADINGDESK_LOG_LEVEL", "INFO").upper()
LOG_IS_JSON = os.environ.get("TRADINGDESK_LOG") == "json"
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": "tradingdesk.log_lines.formatter", "process": PROCESS, "is_json": LOG_IS_JSON}},
    "filters": {"one_line_below_500": {"()": "tradingdesk.log_lines.OneLineBelow500"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        "django": {"handlers": [], "level": "INFO", "propagate": True},
        "django.request": {"filters": ["one_line_below_500"]},
        "django.server": {"handlers": [], "level": "WARNING", "propagate": True},
        # the link to the layer says itself when it is down
        "daphne": {"level": "WARNING"},
        "celery.beat": {"level": "WARNING"},
        "celery.worker.strategy": {"level": "WARNING"},
        "celery.app.trace": {"level": "WARNING"},
    },
}

# --- the desk ----------------------------------------------------------------------------------------------------------

#: every wait of the desk; TRADINGDESK_TIMING scales all of them (fault tests run at 0.1)
TIMING_SCALE = float(os.environ.get("TRADINGDESK_TIMING", "1"))
TIMING = Timing(**{name: max(1, round(getattr(Timing(), name) * TIMING_SCALE)) for name in Timing.__struct_fields__})

#: how long the engine's rows are kept; journal entries go only where a newer snapshot covers them
RETENTION_DAYS = {"journal": 90, "bars": 90, "bot_log": 90}
