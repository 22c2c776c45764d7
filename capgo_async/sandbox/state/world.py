"""The server's state and its rules; moments are microseconds, `now` is epoch seconds (contract H2)."""

from hashlib import blake2b, sha256

from msgspec.structs import replace

from ..timestamps import micros
from .access import Binding, Caller, Key, Session
from .apps import UNKNOWN_ID, App, Bundle
from .audit import AuditLog, Line, Operation, Row
from .channels import Channel, Rollout
from .keys import Keyring, digest
from .organizations import SUPER_ADMIN, Organization, Organizations, User


class World:
    """All state of one server."""

    def __init__(self) -> None:
        """Start empty; the first numbers are reserved for the placeholder bundles of the seed era.

        While `device_store_readable` is false, no query shows a device, and while `links_readable` is false, none shows a link
        (contract C7). `unsubscribed` holds the ids of organizations that do not pay: keys cannot read their statistics.
        """
        self.apps: dict[str, App] = {}
        self.device_store_readable = True
        self.links_readable = True
        self.unsubscribed: set[str] = set()
        self.organizations = Organizations()
        self.keys = Keyring()
        self.audit = AuditLog()
        self._sessions: dict[str, str] = {}
        self._last_id = UNKNOWN_ID
        self._last_moment = 0

    def add_app(self, app_id: str, *, org_id: str, user_id: str, now: float) -> App:
        """Create an app; its id must be unique among all customers."""
        if app_id in self.apps:
            message = f"app {app_id} exists"
            raise ValueError(message)
        app = App(
            app_id=app_id,
            id=uuid_like("app", app_id),
            name=app_id,
            owner_org=org_id,
            user_id=user_id,
            created_at=self.moment(now),
        )
        self.apps[app_id] = app
        return app

    def delete_app(self, app: App) -> None:
        """Delete an app with everything in it, and the roles of keys in it."""
        del self.apps[app.app_id]
        for key in list(self.keys):
            left = tuple(binding for binding in key.bindings if binding.app_id != app.app_id)
            if left != key.bindings:
                self.keys.replace(key, replace(key, bindings=left))

    def add_channel(self, app: App, name: str, *, now: float, public: bool = False) -> Channel:
        """Create a channel; its name must be unique within the app."""
        if name in app.channels:
            message = f"channel {name} exists in {app.app_id}"
            raise ValueError(message)
        moment = self.moment(now)
        channel = Channel(
            id=self.number(),
            name=name,
            created_at=moment,
            updated_at=moment,
            created_by=app.user_id,
            rollout=Rollout(id=uuid_like("rollout", app.app_id, name)),
            public=public,
        )
        app.channels[name] = channel
        return channel

    def add_bundle(self, app: App, name: str, *, now: float, external_url: str | None = None) -> Bundle:
        """Register a bundle; its name must be unique within the app, deleted ones included."""
        if any(bundle.name == name for bundle in app.bundles.values()):
            message = f"bundle {name} exists in {app.app_id}"
            raise ValueError(message)
        moment = self.moment(now)
        bundle = Bundle(
            id=self.number(),
            name=name,
            created_at=moment,
            updated_at=moment,
            user_id=app.user_id,
            checksum=sha256(f"{app.app_id} {name}".encode()).hexdigest(),
            external_url=external_url or f"https://bundles.example.com/{app.app_id}/{name}.zip",
        )
        app.bundles[bundle.id] = bundle
        app.last_version = name
        return bundle

    def add_organization(self, name: str, *, owner: User, now: float, org_id: str | None = None) -> Organization:
        """Create an organization with its first super admin."""
        made = org_id or uuid_like("org", self.number())
        moment = self.moment(now)
        organization = Organization(
            id=made,
            created_by=owner.id,
            created_at=moment,
            updated_at=moment,
            name=name,
            management_email=owner.email,
            customer_id=f"pending_{made}",
        )
        organization.join(owner, SUPER_ADMIN)
        return self.organizations.add(organization)

    def delete_organization(self, org_id: str) -> None:
        """Delete an organization with its apps, members, audit log, and the roles of keys in it."""
        self.organizations.remove(org_id)
        for app_id in [app.app_id for app in self.apps.values() if app.owner_org == org_id]:
            del self.apps[app_id]
        self.keys.unbind(org_id)
        self.audit.forget(org_id)

    def add_user(self, email: str, *, user_id: str | None = None) -> User:
        user = User(id=user_id or uuid_like("user", email), email=email)
        self.organizations.users[email] = user
        return user

    def add_session(self, token: str, user_id: str) -> None:
        """Sign a user in with a JWT, or anything that stands for one: any text but a UUID."""
        self._sessions[token] = user_id

    def session_of(self, token: str, now: float, *, bare: bool = False) -> Session | None:
        """Return the user signed in with a JWT, with the current roles."""
        user_id = self._sessions.get(token)
        if user_id is None:
            return None
        return Session(user_id=user_id, bindings=self.organizations.bindings_of(user_id, now), bare=bare)

    def add_key(  # noqa: PLR0913 -- the columns of a row, each with a default
        self,
        secret: str,
        *bindings: Binding,
        user_id: str,
        expires_at: float | None = None,
        hashed: bool = False,
        name: str = "",
        global_permissions: tuple[str, ...] = (),
        now: float | None = None,
    ) -> Key:
        """Create an API key; of a hashed one only the SHA-256 is stored. `now` dates it."""
        number = self.number()
        moment = self._last_moment if now is None else self.moment(now)
        key = Key(
            key_id=number,
            secret=digest(secret) if hashed else secret,
            user_id=user_id,
            bindings=bindings,
            name=name or f"key {number}",
            created_at=moment,
            updated_at=moment,
            rbac_id=uuid_like("rbac", number),
            expires_at=expires_at,
            hashed=hashed,
            global_permissions=global_permissions,
        )
        self.keys.add(key)
        return key

    def record(  # noqa: PLR0913, PLR0917 -- the columns of a row
        self,
        org_id: str,
        table: str,
        operation: Operation,
        record_id: str,
        old: Row | None,
        new: Row | None,
        *,
        key: Caller | None = None,
        now: float,
    ) -> None:
        """Record a change in the audit log, made by a key, a session or, without either, the system."""
        user = None if key is None else self.organizations.user_numbered(key.user_id)
        self.audit.write(
            Line(
                number=self.audit.number(),
                moment=micros(now),
                org_id=org_id,
                table=table,
                operation=operation,
                record_id=record_id,
                old=old,
                new=new,
                actor=key,
                actor_email=None if user is None else user.email,
            )
        )

    def app_permitting(self, key: Caller, permission: str, app_id: str) -> App | None:
        """Return the app if it exists and the caller has the permission; the server does not say which failed."""
        app = self.apps.get(app_id)
        if app is None or not key.permits(permission, org_id=app.owner_org, app_id=app_id):
            return None
        return app

    def number(self) -> int:
        """Take the next id; ids only grow."""
        self._last_id += 1
        return self._last_id

    def leave_numbers(self, last: int) -> None:
        """Reserve all numbers up to `last`."""
        self._last_id = max(self._last_id, last)

    def moment(self, now: float) -> int:
        """Return a creation time later than every one before."""
        self._last_moment = max(micros(now), self._last_moment + 1)
        return self._last_moment


def uuid_like(*parts: object) -> str:
    """Return an id in the form of a UUID that depends only on its parts."""
    digest = blake2b(" ".join(map(str, parts)).encode(), digest_size=16).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-8{digest[17:20]}-{digest[20:]}"
