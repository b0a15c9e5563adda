"""The simulated venue's own tables. brokers/simulated reads and writes them, and nobody else; they know the desk's rows by nothing but codes."""

from __future__ import annotations

from django.db import models

from risk.fields import DecimalText


class PaperOrder(models.Model):
    """An order at the simulated venue. Touched by brokers/simulated only."""

    account = models.CharField(max_length=40)
    order_id = models.CharField(max_length=32)
    cl_ord_id = models.CharField(max_length=18)
    replaced_as = models.CharField(max_length=18, blank=True, default="")
    symbol = models.CharField(max_length=32)
    side = models.CharField(max_length=4)
    ord_type = models.CharField(max_length=12)
    time_in_force = models.CharField(max_length=4)
    order_qty = DecimalText()
    cum_qty = DecimalText(default=0)
    prevented_qty = DecimalText(default=0)
    price = DecimalText(null=True)
    stop_px = DecimalText(null=True)
    reduce_only = models.BooleanField(default=False)
    post_only = models.BooleanField(default=False)
    is_triggered = models.BooleanField(default=False)
    ord_status = models.CharField(max_length=20)
    text = models.CharField(max_length=200, blank=True, default="")
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["account", "cl_ord_id"], name="paper_client_id_once"),
            models.UniqueConstraint(fields=["account", "order_id"], name="paper_order_id_once"),
        ]
        indexes = [models.Index(fields=["account", "ord_status"], name="paper_order_open")]

    def __str__(self) -> str:
        return self.order_id


class PaperReplace(models.Model):
    """The id that a replace gave an order at the simulated venue, and the id the order came with. Touched by brokers/simulated only."""

    account = models.CharField(max_length=40)
    cl_ord_id = models.CharField(max_length=18)
    orig_cl_ord_id = models.CharField(max_length=18)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "cl_ord_id"], name="paper_replace_once")]

    def __str__(self) -> str:
        return self.cl_ord_id


class PaperFill(models.Model):
    """A fill at the simulated venue. Touched by brokers/simulated only."""

    account = models.CharField(max_length=40)
    exec_id = models.CharField(max_length=32)
    order_id = models.CharField(max_length=32)
    cl_ord_id = models.CharField(max_length=18)
    symbol = models.CharField(max_length=32)
    side = models.CharField(max_length=4)
    last_qty = DecimalText()
    last_px = DecimalText()
    fee = DecimalText()
    fee_currency = models.CharField(max_length=8)
    liquidity = models.CharField(max_length=8)
    transact_at = models.DateTimeField()
    exec_type = models.CharField(max_length=16, default="TRADE")
    exec_ref_id = models.CharField(max_length=32, blank=True, default="")
    booked_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "exec_id"], name="paper_exec_id_once")]
        indexes = [models.Index(fields=["account", "booked_at"], name="paper_fill_time")]

    def __str__(self) -> str:
        return self.exec_id


class PaperAdjustment(models.Model):
    """What the simulated venue moved without a trade. Touched by brokers/simulated only."""

    account = models.CharField(max_length=40)
    adjustment_id = models.CharField(max_length=60)
    kind = models.CharField(max_length=8)
    symbol = models.CharField(max_length=32)
    amount = DecimalText()
    new_units = DecimalText(default=1)
    old_units = DecimalText(default=1)
    transact_at = models.DateTimeField()
    booked_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "adjustment_id"], name="paper_adjustment_once")]

    def __str__(self) -> str:
        return self.adjustment_id


class PaperBalance(models.Model):
    """Cash or position at the simulated venue: asset is the currency code, or the symbol for a position. Touched by brokers/simulated only."""

    account = models.CharField(max_length=40)
    asset = models.CharField(max_length=32)
    qty = DecimalText(default=0)
    cost = DecimalText(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "asset"], name="one_paper_balance")]

    def __str__(self) -> str:
        return f"{self.asset} {self.qty}"
