"""What the forms of the console carry."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from django import forms

from execution.core.messages import KillChoice, StopMode
from risk.core.units import Scope, ScopeKind
from risk.core.verdict import HaltMode

#: a choice that moves or strips what protects takes its own word
TYPED = {KillChoice.CANCEL_FLATTEN: "flatten", KillChoice.CANCEL_ALL: "unprotect"}


#: scope → the field that says which one
KEYS: Final[dict[str, str]] = {
    ScopeKind.ACCOUNT: "account_key",
    ScopeKind.BOT: "bot_key",
    ScopeKind.INSTRUMENT: "symbol_key",
}


class ScopeForm(forms.Form):
    """FIRM, or a kind with the key that its own select carries."""

    scope = forms.ChoiceField(choices=[(kind.value, kind.value) for kind in ScopeKind])
    account_key = forms.CharField(required=False, max_length=40)
    bot_key = forms.CharField(required=False, max_length=40)
    symbol_key = forms.CharField(required=False, max_length=40)
    reason = forms.CharField(required=False, max_length=300)
    seen = forms.CharField(required=False, max_length=300)

    def clean(self) -> dict[str, Any]:
        found: dict[str, Any] = super().clean() or {}
        kind = ScopeKind(found["scope"]) if "scope" in found else None
        if kind is None:
            return found
        name = KEYS.get(kind)
        key = found.get(name, "") if name else ""
        if name and not key:
            raise forms.ValidationError("Choose which one.")
        found["at"] = Scope(kind, key)
        return found


class KillForm(ScopeForm):
    choice = forms.ChoiceField(choices=[(choice.value, choice.value) for choice in KillChoice], initial=KillChoice.CANCEL)
    typed = forms.CharField(required=False, max_length=40)

    def clean(self) -> dict[str, Any]:
        found = super().clean()
        choice = KillChoice(found["choice"]) if found.get("choice") else KillChoice.CANCEL
        word = self._word(choice, found.get("at"))
        if word and found.get("typed", "").strip().lower() != word:
            raise forms.ValidationError(f"Type “{word}” to do that. Block and cancel needs no word.")
        return found

    @staticmethod
    def _word(choice: KillChoice, at: Scope | None) -> str:
        """Flattening one bot, symbol or account takes no word; flattening the firm and stripping protection do."""
        is_firm = at is not None and at.kind is ScopeKind.FIRM
        return TYPED.get(choice, "") if is_firm or choice is KillChoice.CANCEL_ALL else ""


class HaltForm(ScopeForm):
    mode = forms.ChoiceField(choices=[(mode.value, mode.value) for mode in HaltMode], initial=HaltMode.REDUCE_ONLY)


class ClearForm(forms.Form):
    reason = forms.CharField(max_length=300, error_messages={"required": "Say why: it is kept in the audit."})
    phrase = forms.CharField(required=False, max_length=80)
    keeps_baseline = forms.BooleanField(required=False)


class StopForm(forms.Form):
    mode = forms.ChoiceField(choices=[(mode.value, mode.value) for mode in StopMode], initial=StopMode.NOW)
    reason = forms.CharField(required=False, max_length=300)


class PriceField(forms.DecimalField):
    """A price as people type it: digits and a point. Whether it can be used is the Desk's to say."""

    default_error_messages: ClassVar[dict[str, Any]] = {
        "required": "Give a price.",
        "invalid": "That is not a price: write it with digits and a point, like 60100.5.",
        "min_value": "A price is above zero.",
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_digits=36, decimal_places=18, **kwargs)

    def validate(self, value: Any) -> None:
        super().validate(value)
        if value is not None and value <= 0:
            raise forms.ValidationError(self.error_messages["min_value"])


class MoveForm(forms.Form):
    price = PriceField()


class ArmForm(forms.Form):
    stop_px = PriceField(required=False)
    target_px = PriceField(required=False)

    def clean(self) -> dict[str, Any]:
        found: dict[str, Any] = super().clean() or {}
        if not self.errors and found.get("stop_px") is None and found.get("target_px") is None:
            raise forms.ValidationError("Give a stop, a target or both.")
        return found
