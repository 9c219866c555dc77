"""Django's users and groups, in the look of the rest."""

from django.contrib import admin
from django.contrib.auth.models import Group, User

from jobs.admin.look import GroupAdmin, UserAdmin

admin.site.unregister(User)
admin.site.unregister(Group)
admin.site.register(User, UserAdmin)
admin.site.register(Group, GroupAdmin)
