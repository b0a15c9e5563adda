"""The one settings file. Every environment variable is read here and nowhere else. Importing it writes nothing."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from execution.core.messages import Timing

BASE_DIR = Path(__file__).resolve().parent.parent
#: everything written at run time lives here
VAR_DIR = Path(os.environ.get("TRADINGDESK_VAR", BASE_DIR / "var"))

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


SECRET_KEY = _secret("SECRET_KEY", VAR_DIR / "secret_key") or ("only-for-tests" if IS_TEST else "")
ALLOW_LIVE = os.environ.get("TRADINGDESK_ALLOW_LIVE") == "1"

# --- where the desk is reached -----------------------------------------------------------------------------------------

DESK_URL = os.environ.get("DESK_URL", "http://127.0.0.1:8000").rstrip("/")
_desk = urlsplit(DESK_URL)
_hosts = {_desk.hostname or "127.0.0.1"}
if _hosts & {"127.0.0.1", "localhost", "::1"}:
    _hosts |= {"127.0.0.1", "localhost", "[::1]"}
ALLOWED_HOSTS = sorted(_hosts) + (["testserver"] if IS_TEST else [])
CSRF_TRUSTED_ORIGINS = [DESK_URL]
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
    "servestatic.middleware.ServeStaticMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
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
        "TEST": {"NAME": os.environ.get("TEST_SQLITE", str(VAR_DIR / "test.sqlite3"))},
    }


DATABASES = {"default": _database(os.environ.get("DATABASE_URL", ""))}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SESSION_ENGINE = "django.contrib.sessions.backends.db"

# --- Redis or Valkey ---------------------------------------------------------------------------------------------------


def _redis_url() -> str:
    """REDIS_URL, else the private Valkey that the running `desk` wrote down; empty for none."""
    if url := os.environ.get("REDIS_URL"):
        return url
    try:
        socket = json.loads((VAR_DIR / "desk.json").read_text())["valkey_socket"]
    except (OSError, ValueError, KeyError):
        return ""
    return f"unix://{socket}"


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
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_SERIALIZER = "json"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TIMEZONE = "UTC"

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
STATIC_ROOT = VAR_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG or IS_TEST
        else "servestatic.storage.CompressedManifestStaticFilesStorage"
    },
}

# --- the desk ----------------------------------------------------------------------------------------------------------

#: every wait of the desk; TRADINGDESK_TIMING scales all of them (fault tests run at 0.1)
TIMING_SCALE = float(os.environ.get("TRADINGDESK_TIMING", "1"))
TIMING = Timing(**{name: max(1, round(getattr(Timing(), name) * TIMING_SCALE)) for name in Timing.__struct_fields__})
