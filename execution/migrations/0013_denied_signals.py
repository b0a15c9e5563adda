from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("execution", "0012_feed_gap")]

    operations = [
        migrations.AddIndex(
            model_name="signal",
            index=models.Index(fields=["account", "last_at"], name="signal_denied", condition=~models.Q(reason="")),
        ),
    ]
