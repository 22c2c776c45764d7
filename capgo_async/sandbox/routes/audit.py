"""GET /organization/audit (contract C3)."""

from collections.abc import Mapping
from itertools import islice
from typing import Final

from ..exchange import Refusal, bad_range
from ..state.access import Key, Session
from ..state.audit import KEPT, Line
from ..timestamps import micros, row_format
from ..validation import Rule, number_or_digits, optional, text, validate
from .call import Call, invalid_organization

_LOOK: Final[Mapping[str, Rule]] = {
    "orgId": text(),
    "tableName": optional(text()),
    "operation": optional(text()),
    "page": optional(number_or_digits),
    "limit": optional(number_or_digits),
}
_MOST: Final = 100


def read_audit(call: Call) -> object:
    """Return a page of an organization's audit log, newest first, with the total number of matches."""
    asked = validate(call.parameters, _LOOK)
    org_id = asked["orgId"]
    organization = call.organization("org.read_audit", org_id, invalid_organization(org_id))
    page, limit = (int(str(asked.get(name, default)).partition(".")[0]) for name, default in (("page", 0), ("limit", 50)))
    limit = min(limit, _MOST)
    if page < 0 or limit < 0:
        more = {"error": bad_range(f"invalid offset: {page * limit}")}
        raise Refusal(400, "cannot_get_audit_logs", "Cannot get audit logs", more)
    table, operation = asked.get("tableName"), asked.get("operation")
    found = [
        line
        for line in call.world.audit.newest_first(organization.id, micros(call.now - KEPT))
        if table in {None, line.table} and operation in {None, line.operation} and not call.blind
    ]
    rows = [_row(line) for line in islice(found, page * limit, (page + 1) * limit)]
    return {"data": rows, "total": len(found), "page": page, "limit": limit}


def _row(line: Line) -> dict[str, object]:
    actor = line.actor
    key = actor if isinstance(actor, Key) else None
    user_id = None if actor is None else actor.user_id
    kind = "system" if actor is None else "user" if isinstance(actor, Session) else "apikey"
    return {
        "id": line.number,
        "created_at": row_format(line.moment),
        "table_name": line.table,
        "record_id": line.record_id,
        "operation": line.operation,
        "user_id": user_id,
        "org_id": line.org_id,
        "old_record": line.old,
        "new_record": line.new,
        "changed_fields": line.changed_fields(),
        "actor_type": kind,
        "actor_user_id": user_id,
        "actor_user_email": line.actor_email,
        "actor_apikey_id": None if key is None else key.key_id,
        "actor_apikey_name": None if key is None else key.name,
    }
