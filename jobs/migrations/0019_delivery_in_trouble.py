from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("jobs", "0018_removals")]

    operations = [
        migrations.AddIndex(
            model_name="delivery",
            index=models.Index(
                fields=["-id"],
                condition=Q(status="failed") | Q(status="pending", attempts__gt=0),
                name="delivery_in_trouble",
            ),
        ),
    ]
